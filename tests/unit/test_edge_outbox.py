"""The outbox on a real disk: power cuts, clones, full and broken files."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.runtime.clock import ManualClock
from common.runtime.errors import DrumtowerError
from common.wire.codec import decode_packet
from common.wire.messages import Abandoned
from edge.database import FILE_NAME, Database, DatabaseInUseError, DiskFullError, open_read_only
from edge.outbox import SqliteOutbox, read_stats
from edge.packets import PacketId
from tests.fixtures.edge_memory_outbox import MemoryOutbox
from tests.fixtures.edge_messages import ADDRESS, events, readings, receipt

REPOSITORY = Path(__file__).parents[2]

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

WRITE_UNTIL_FULL = """
import resource, signal, sys
from pathlib import Path
from common.runtime.clock import SystemClock
from edge.database import Database, DiskFullError
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import ADDRESS, readings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
outbox = SqliteOutbox(Database(Path(sys.argv[1])), ADDRESS, SystemClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
accepted = refused = 0
for n in range(1000):
    try:
        outbox.append(readings(n, count=100))
        accepted += 1
    except DiskFullError as error:
        code = error.code
        refused += 1
stats = outbox.stats()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
outbox.append(readings())
print(accepted, refused, stats.numbered, stats.unreceipted, stats.abandoned)
"""


ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from common.runtime.clock import SystemClock
from edge.database import Database
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import ADDRESS, events, readings
directory, mounted = Path(sys.argv[1]), "mounted" in sys.argv
for opening in range(2):
    database = Database(directory, max_bytes=None if mounted else 3_000_000)
    outbox = SqliteOutbox(database, ADDRESS, SystemClock())
    alarm = outbox.append(events(opening))
    for n in range(3000):
        outbox.append(readings(n, count=100))
    assert outbox.payload(alarm) is not None
    if mounted and opening:
        subprocess.run(["mount", "-o", "remount,size=40m", directory], check=True)
        outbox.trim()
        before = outbox.stats().abandoned
        for n in range(3000):
            outbox.append(readings(n, count=100))
        assert outbox.stats().abandoned == before
    stats = outbox.stats()
    database.close()
print(stats.numbered, stats.unreceipted, stats.abandoned)
"""
#: A file system of 6 MB where a mount is allowed; elsewhere SQLite's own bound stands for the disk's.
MOUNTED = 'mount -t tmpfs -o size=6m tmpfs "$0" && exec "$@" "$0" mounted'
NOT_MOUNTED = 'exec "$@" "$0"'


def make(directory: Path, clock: ManualClock | None = None, **limits: Any) -> tuple[Database, SqliteOutbox]:
    database = Database(directory)
    return database, SqliteOutbox(database, ADDRESS, clock or ManualClock(), **limits)


def start(script: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(directory)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )


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


def test_a_broken_file_is_moved_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 1000)
    database, outbox = make(tmp_path)
    assert database.moved_aside == tmp_path / f"{FILE_NAME}.corrupt-1"
    assert database.moved_aside.read_bytes().startswith(b"no database")
    assert outbox.append(readings()).seq == 1
    database.close()


def test_a_file_damaged_in_the_middle_is_noticed(tmp_path: Path) -> None:
    database, outbox = make(tmp_path)
    for n in range(200):
        outbox.append(readings(n, count=50))
    database.close()
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    for page in range(8, len(content) // 4096, 3):
        content[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    (tmp_path / FILE_NAME).write_bytes(content)
    database, outbox = make(tmp_path)
    assert database.moved_aside is not None
    assert outbox.stats().numbered == 0
    database.close()


def test_a_directory_that_cannot_be_written_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DrumtowerError) as refused:
        Database(tmp_path / "file" / "box")
    assert refused.value.code == "database.unusable"


def test_a_file_of_another_release_is_refused_not_moved(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(DrumtowerError) as refused:
        Database(tmp_path)
    assert refused.value.code == "database.layout"


def test_a_full_disk_gives_up_old_readings_to_accept_new_ones_and_says_which(tmp_path: Path) -> None:
    database = Database(tmp_path, max_bytes=1_000_000)
    outbox = SqliteOutbox(database, ADDRESS, ManualClock(), max_bytes=100_000_000)
    alarm = outbox.append(events())
    for n in range(1000):
        outbox.append(readings(n, count=100))
    stats = outbox.stats()
    waiting = {packet.id for packet in outbox.pending(10_000)}
    assert alarm in waiting
    assert stats.abandoned > 0
    said: set[int] = set()
    for packet in waiting:
        held = outbox.payload(packet)
        assert held is not None
        data = decode_packet(held[1], ADDRESS).data
        if isinstance(data, Abandoned):
            said |= {seq for first, last in data.ranges for seq in range(first, last + 1)}
    assert said | {packet.seq for packet in waiting} == set(range(1, stats.numbered + 1))
    database.close()


def test_a_group_that_finds_the_disk_full_is_not_accepted_and_the_outbox_goes_on(tmp_path: Path) -> None:
    database = Database(tmp_path, max_bytes=400_000)
    outbox = SqliteOutbox(database, ADDRESS, ManualClock(), max_bytes=100_000_000)
    before = outbox.append(readings()).seq

    def append_too_many() -> None:
        with outbox.group():
            for n in range(1000):
                outbox.append(readings(n, count=100))

    with pytest.raises(DiskFullError) as refused:
        append_too_many()
    assert refused.value.code == "outbox.disk_full"
    assert outbox.append(readings()).seq == before + 1
    database.close()


def test_a_disk_that_refuses_to_grow_files_neither_crashes_the_box_nor_loses_what_was_accepted(
    tmp_path: Path,
) -> None:
    process = start(WRITE_UNTIL_FULL, tmp_path)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    accepted, refused, numbered, unreceipted, abandoned = map(int, out.split()[-5:])
    assert accepted + refused == 1000
    assert abandoned > 0
    assert numbered >= accepted
    assert numbered == unreceipted + abandoned
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1_000_000


def small_disk(directory: Path) -> list[str]:
    """What runs a command with the directory as its last argument, in which there is room for 6 MB."""
    for alone in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        tried = [*alone, "sh", "-c", 'mount -t tmpfs tmpfs "$0"', str(directory)]
        if (
            shutil.which("unshare")
            and subprocess.run(tried, capture_output=True, check=False).returncode == 0
        ):
            return [*alone, "sh", "-c", MOUNTED, str(directory)]
    return ["sh", "-c", NOT_MOUNTED, str(directory)]


def test_a_box_on_a_full_disk_goes_on_by_giving_up_what_is_missed_least_until_there_is_room(
    tmp_path: Path,
) -> None:
    """The log could not even be carried over on a full disk, so nothing could be given up: hence the reserve."""
    ran = subprocess.run(
        [*small_disk(tmp_path), sys.executable, "-c", ON_A_SMALL_DISK],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    numbered, unreceipted, abandoned = map(int, ran.stdout.split()[-3:])
    assert abandoned > 0
    assert numbered == unreceipted + abandoned


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


def test_looking_where_no_box_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(DrumtowerError) as missing:
        open_read_only(tmp_path)
    assert missing.value.code == "database.missing"
    (tmp_path / FILE_NAME).write_bytes(b"nonsense" * 999)
    with pytest.raises(DrumtowerError) as broken:
        open_read_only(tmp_path)
    assert broken.value.code == "database.corrupt"


class OutboxesAgree(RuleBasedStateMachine):
    """Whatever happens, the outbox on disk says what the plain one in memory says."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.temporary = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.temporary.name))
        self.real = SqliteOutbox(self.database, ADDRESS, self.clock, keep_receipted_s=300)
        self.plain = MemoryOutbox(ADDRESS, self.clock, keep_receipted_s=300)
        self.store = "store-1"

    @rule(alarm=st.booleans(), value=st.floats(-1e6, 1e6))
    def append(self, alarm: bool, value: float) -> None:
        data = events(1) if alarm else readings(value)
        assert self.real.append(data).seq == self.plain.append(data).seq

    @rule(upto=st.integers(0, 12), beyond=st.integers(0, 6), data=st.data())
    def receipt(self, upto: int, beyond: int, data: st.DataObject) -> None:
        issued = self.plain.stats().numbered
        upto = min(upto, issued)
        highest = min(upto + beyond, issued)
        gaps = []
        if highest > upto + 1:
            first = data.draw(st.integers(upto + 1, highest))
            gaps = [(first, data.draw(st.integers(first, highest)))]
        ours, theirs = (
            outbox.receipt(receipt(outbox.epoch, upto, highest=highest, gaps=gaps, incarnation=self.store))
            for outbox in (self.real, self.plain)
        )
        assert (ours.packets, ours.forked, ours.restored) == (theirs.packets, theirs.forked, theirs.restored)
        assert ours.missed == theirs.missed

    @rule()
    def restore_the_store(self) -> None:
        self.store += "x"

    @rule()
    def find_a_fork(self) -> None:
        for outbox in (self.real, self.plain):
            outbox.receipt(receipt(outbox.epoch, 10_000, incarnation=self.store))

    @rule(every=st.booleans())
    def unsettle(self, every: bool) -> None:
        epochs = (None, None) if every else (self.real.epoch, self.plain.epoch)
        assert self.real.unsettle(epochs[0]) == self.plain.unsettle(epochs[1])

    @rule(seconds=st.sampled_from([1, 50, 100, 400]), jump=st.sampled_from([0, 0, 0, 59, 5000]))
    def wait(self, seconds: float, jump: float) -> None:
        self.clock.advance(seconds)
        self.clock.jump(jump)
        assert self.real.trim() == self.plain.trim()

    @invariant()
    def they_agree(self) -> None:
        ours, theirs = self.real.stats(), self.plain.stats()
        assert (ours.numbered, ours.receipted, ours.unreceipted, ours.abandoned) == (
            theirs.numbered,
            theirs.receipted,
            theirs.unreceipted,
            theirs.abandoned,
        )
        assert ours.oldest_unreceipted_ms == theirs.oldest_unreceipted_ms
        assert [(packet.id.seq, packet.fresh) for packet in self.real.pending(1000)] == [
            (packet.id.seq, packet.fresh) for packet in self.plain.pending(1000)
        ]

    def teardown(self) -> None:
        self.database.close()
        self.temporary.cleanup()


TestOutboxesAgree = OutboxesAgree.TestCase
TestOutboxesAgree.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
