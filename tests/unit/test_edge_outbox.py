"""The outbox on a real disk: power cuts, clones, older images."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from common.runtime.clock import ManualClock
from common.wire.codec import decode_packet
from edge.database import Database, DatabaseInUseError, open_read_only
from edge.outbox import read_stats
from edge.packets import PacketId
from tests.fixtures.edge_messages import ADDRESS, readings, receipt
from tests.fixtures.edge_outboxes import make, start

APPENDER = """
import sys
import tempfile
from pathlib import Path
from common.runtime.clock import SystemClock
from edge.database import Database
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import ADDRESS, readings
outbox = SqliteOutbox(Database(Path(sys.argv[1])), ADDRESS, SystemClock())
value = 0.0
while True:
    value += 1
    packet = outbox.append(readings(value))
    print(packet.epoch, packet.seq, value, flush=True)
"""


def test_every_append_that_was_reported_is_there_after_a_sigkill(tmp_path: Path) -> None:
    for _ in range(3):
        process = start(APPENDER, tmp_path)
        assert process.stdout is not None
        reported = [process.stdout.readline().split() for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        reported += [line.split() for line in process.stdout.read().splitlines()]
        process.wait()
        database, outbox = make(tmp_path)
        for epoch, seq, value in reported:
            held = outbox.payload(PacketId(int(epoch), int(seq)))
            assert held is not None
            assert decode_packet(held[1], ADDRESS).data == readings(float(value))
        database.close()


def test_each_opening_begins_a_new_epoch_and_old_packets_keep_their_names(tmp_path: Path) -> None:
    database, outbox = make(tmp_path)
    first = outbox.append(readings())
    database.close()
    database, outbox = make(tmp_path)
    second = outbox.append(readings())
    assert first.epoch != second.epoch
    assert second.seq == 1
    assert {packet.id for packet in outbox.pending(10)} == {first, second}
    assert outbox.stats().numbered == 2
    database.close()


def test_an_opening_that_numbered_nothing_leaves_no_trace(tmp_path: Path) -> None:
    for _ in range(5):
        database, _ = make(tmp_path)
        database.close()
    assert len(_epochs(tmp_path)) == 1


def _epochs(directory: Path) -> list[dict[str, int | str]]:
    connection = open_read_only(directory)
    try:
        return read_stats(connection).epochs
    finally:
        connection.close()


def test_a_cloned_card_numbers_in_an_epoch_of_its_own(tmp_path: Path) -> None:
    database, outbox = make(tmp_path / "card")
    common = [outbox.append(readings(n)) for n in range(3)]
    database.close()
    shutil.copytree(tmp_path / "card", tmp_path / "clone")
    original_database, original = make(tmp_path / "card")
    clone_database, clone = make(tmp_path / "clone")
    ours = {original.append(readings(n)) for n in range(3)}
    theirs = {clone.append(readings(n + 100)) for n in range(3)}
    assert not ours & theirs
    # What both hold from before is the same content under the same name: the store may drop either copy.
    for packet in common:
        assert original.payload(packet) == clone.payload(packet)
    original_database.close()
    clone_database.close()


def test_a_box_set_back_to_an_older_image_loses_nothing_though_its_epoch_went_on(tmp_path: Path) -> None:
    database, outbox = make(tmp_path / "box")
    epoch = outbox.epoch
    before = [outbox.append(readings(n)) for n in range(3)]
    shutil.copytree(tmp_path / "box", tmp_path / "image")
    for n in range(3, 8):
        outbox.append(readings(n))
    database.close()
    database, outbox = make(tmp_path / "image")
    new = [outbox.append(readings(100 + n)) for n in range(4)]
    # The store has the other life's 1 to 8; that says nothing about what we number now.
    changed = outbox.receipt(receipt(epoch, 8))
    assert (changed.packets, changed.forked) == (3, False)
    assert [packet.id for packet in outbox.pending(100)] == new
    assert before[0].epoch == epoch
    database.close()


def test_a_box_that_wakes_in_another_year_keeps_what_was_receipted(tmp_path: Path) -> None:
    """One without a clock of its own begins in the year of its image, also when nobody sees the clock being set."""
    clock = ManualClock(1_500_000_000_000)
    database, outbox = make(tmp_path, clock)
    packet = outbox.append(readings())
    outbox.receipt(receipt(outbox.epoch, 1))
    assert outbox.trim() == 0
    database.close()
    for _ in range(2):  # and it is not forgotten when the agent starts again
        clock = ManualClock(1_767_225_600_000)
        database, outbox = make(tmp_path, clock)
        outbox.append(readings())
        assert outbox.trim() == 0
        clock.advance(47 * 3600)
        assert outbox.trim() == 0
        assert outbox.payload(packet) is not None
        database.close()


def test_a_receipt_of_numbers_that_nobody_issues_is_taken_for_what_it_can_mean(tmp_path: Path) -> None:
    database, earlier = make(tmp_path)
    first, second = earlier.append(readings(1)), earlier.append(readings(2))
    database.close()
    database, outbox = make(tmp_path)
    outbox.append(readings(3))
    beyond = 1 << 70
    assert outbox.receipt(receipt((1 << 64) - 1, 1)).packets == 0
    told = receipt(first.epoch, 1, highest=beyond, gaps=[(-beyond, -1), (2, beyond), (beyond, beyond)])
    assert outbox.receipt(told).missed == ((2, 2),)
    assert outbox.stats().unreceipted == 2
    assert outbox.receipt(receipt(second.epoch, beyond)).packets == 1
    assert outbox.stats().unreceipted == 1
    database.close()


def test_two_agents_cannot_write_one_data_directory(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with pytest.raises(DatabaseInUseError) as refused:
        Database(tmp_path)
    assert refused.value.code == "database.in_use"
    database.close()
    Database(tmp_path).close()


def test_the_counts_can_be_read_while_the_box_runs(tmp_path: Path) -> None:
    database, outbox = make(tmp_path)
    outbox.append(readings())
    connection = open_read_only(tmp_path)
    assert read_stats(connection).numbered == 1
    with database.transaction():
        outbox.append(readings())
        assert read_stats(connection).numbered == 1
    assert read_stats(connection).numbered == 2
    connection.close()
    database.close()
    assert [epoch["numbered"] for epoch in _epochs(tmp_path)] == [2]
