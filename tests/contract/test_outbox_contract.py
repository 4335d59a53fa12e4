"""What every outbox promises: one suite for the real one and for the one in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from common.runtime.clock import ManualClock
from common.runtime.errors import InvalidError
from common.wire.codec import decode_packet
from common.wire.messages import Abandoned, Events, Readings
from edge.database import Database
from edge.outbox import SqliteOutbox
from edge.packets import Outbox, PacketId
from tests.fixtures.edge_memory_outbox import MemoryOutbox
from tests.fixtures.edge_messages import ADDRESS, events, readings, receipt

Make = Callable[..., Outbox]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Make]:
    databases: list[Database] = []

    def build(**limits: float) -> Outbox:
        if request.param == "memory":
            return MemoryOutbox(ADDRESS, clock, **limits)  # type: ignore[arg-type]
        databases.append(Database(tmp_path / f"box-{len(databases)}"))
        return SqliteOutbox(databases[-1], ADDRESS, clock, **limits)  # type: ignore[arg-type]

    yield build
    for database in databases:
        database.close()


def waiting(outbox: Outbox) -> list[int]:
    return [packet.id.seq for packet in outbox.pending(10_000)]


def abandoned(outbox: Outbox) -> list[Abandoned]:
    found = []
    for packet in outbox.pending(10_000):
        held = outbox.payload(packet.id)
        assert held is not None
        data = decode_packet(held[1], ADDRESS).data
        if isinstance(data, Abandoned):
            found.append(data)
    return found


def test_packets_are_numbered_from_one_without_holes(make: Make) -> None:
    outbox = make()
    assert [outbox.append(readings(n)) for n in range(3)] == [PacketId(outbox.epoch, n) for n in (1, 2, 3)]
    assert outbox.stats().numbered == 3


def test_a_packet_is_kept_as_it_was_encoded(make: Make, clock: ManualClock) -> None:
    outbox = make()
    packet = outbox.append(readings(4.25))
    held = outbox.payload(packet)
    assert held is not None
    kind, payload = held
    decoded = decode_packet(payload, ADDRESS)
    assert (kind, decoded.epoch, decoded.seq, decoded.sent_at) == (
        "readings",
        packet.epoch,
        1,
        clock.now_ms(),
    )
    assert decoded.data == readings(4.25)


def test_what_cannot_be_encoded_uses_no_number(make: Make) -> None:
    outbox = make()
    with pytest.raises(InvalidError) as refused:
        outbox.append(readings(float("nan")))
    assert refused.value.code == "outbox.not_a_packet"
    assert outbox.append(readings()).seq == 1


def test_a_group_is_accepted_whole_or_not_at_all(make: Make) -> None:
    outbox = make()
    with suppress(ZeroDivisionError), outbox.group():
        outbox.append(readings())
        outbox.append(readings())
        raise ZeroDivisionError
    assert outbox.stats().numbered == 0
    with outbox.group():
        outbox.append(readings())
        outbox.append(readings())
    assert waiting(outbox) == [1, 2]


def test_fresh_alarms_go_first_then_older_alarms_then_fresh_readings_then_old_ones_newest_first(
    make: Make, clock: ManualClock
) -> None:
    outbox = make(fresh_s=60)
    for data in (readings(), events(1), readings(), events(2)):
        outbox.append(data)
    clock.advance(120)
    for data in (readings(), readings(), events(3), events(4)):
        outbox.append(data)
    order = outbox.pending(100)
    assert [packet.id.seq for packet in order] == [7, 8, 4, 2, 5, 6, 3, 1]
    assert [packet.fresh for packet in order] == [True, True, False, False, True, True, False, False]
    assert [packet.id.seq for packet in outbox.pending(3, {order[0].id})] == [8, 4, 2]
    assert [packet.id.seq for packet in outbox.pending(100, fresh_only=True)] == [7, 8, 5, 6]


def test_a_receipt_takes_what_is_below_it(make: Make) -> None:
    outbox = make()
    for n in range(5):
        outbox.append(readings(n))
    changed = outbox.receipt(receipt(outbox.epoch, 3))
    assert (changed.packets, changed.missed, changed.forked, changed.restored) == (3, (), False, False)
    assert waiting(outbox) == [4, 5]
    stats = outbox.stats()
    assert (stats.receipted, stats.unreceipted, stats.abandoned) == (3, 2, 0)


def test_what_the_store_has_above_a_gap_is_not_sent_again_and_not_let_go(
    make: Make, clock: ManualClock
) -> None:
    outbox = make(keep_receipted_s=1)
    for n in range(9):
        outbox.append(readings(n))
    # The gap 3 is told of; 6 may be one too, but too young to be told of.
    outbox.receipt(receipt(outbox.epoch, 2, highest=8, gaps=[(3, 3)]))
    assert waiting(outbox) == [3, 9]
    assert outbox.stats().unreceipted == 7
    clock.advance(10)
    outbox.trim()
    outbox.receipt(receipt(outbox.epoch, 5, highest=9, gaps=[(6, 6)]))
    assert waiting(outbox) == [6]
    outbox.receipt(receipt(outbox.epoch, 9))
    assert outbox.stats().unreceipted == 0


def test_what_counts_as_settled_waits_again_when_asked(make: Make) -> None:
    outbox = make()
    for n in range(5):
        outbox.append(readings(n))
    # 2 may be the gap itself, too young to be told of.
    outbox.receipt(receipt(outbox.epoch, 1, highest=4))
    assert waiting(outbox) == [5]
    assert outbox.unsettle(outbox.epoch + 1) == 0
    assert outbox.unsettle(outbox.epoch) == 3
    assert waiting(outbox) == [2, 3, 4, 5]
    outbox.receipt(receipt(outbox.epoch, 1, highest=4))
    assert (outbox.unsettle(), outbox.unsettle()) == (3, 0)
    assert waiting(outbox) == [2, 3, 4, 5]


def test_the_same_receipt_twice_changes_nothing(make: Make) -> None:
    outbox = make()
    outbox.append(readings())
    outbox.receipt(receipt(outbox.epoch, 1))
    assert outbox.receipt(receipt(outbox.epoch, 1)).packets == 0


def test_gaps_are_to_be_sent_again(make: Make) -> None:
    outbox = make()
    for n in range(6):
        outbox.append(readings(n))
    changed = outbox.receipt(receipt(outbox.epoch, 1, highest=6, gaps=[(2, 3), (5, 5)]))
    assert changed.missed == ((2, 3), (5, 5))
    assert waiting(outbox) == [2, 3, 5]


def test_receipted_packets_are_kept_for_a_while_and_then_let_go(make: Make, clock: ManualClock) -> None:
    outbox = make(keep_receipted_s=100)
    packet = outbox.append(readings())
    outbox.receipt(receipt(outbox.epoch, 1))
    clock.advance(99)
    assert outbox.trim() == 0
    assert outbox.payload(packet) is not None
    clock.advance(2)
    assert outbox.trim() == 1
    assert outbox.payload(packet) is None
    assert outbox.stats().receipted == 1


def test_what_is_receipted_is_kept_for_forty_eight_hours(make: Make, clock: ManualClock) -> None:
    outbox = make()
    packet = outbox.append(readings())
    outbox.receipt(receipt(outbox.epoch, 1))
    for _ in range(48):
        assert outbox.trim() == 0
        clock.advance(3600)
    assert outbox.payload(packet) is not None
    clock.advance(1)
    assert outbox.trim() == 1


@pytest.mark.parametrize("days", [-3000, -3, 3, 3000])
def test_a_clock_that_is_set_makes_nothing_so_old_that_it_is_let_go(
    make: Make, clock: ManualClock, days: int
) -> None:
    outbox = make()
    packets = [outbox.append(readings(n)) for n in range(3)]
    outbox.receipt(receipt(outbox.epoch, 2))
    outbox.trim()
    clock.advance(60)
    clock.jump(days * 86_400)
    assert outbox.trim() == 0
    outbox.receipt(receipt(outbox.epoch, 3))
    for _ in range(47):
        clock.advance(3600)
        assert outbox.trim() == 0
    assert all(outbox.payload(packet) is not None for packet in packets)
    if days > 0:
        clock.advance(2 * 3600)
        assert outbox.trim() == 3


def test_a_clock_that_time_keeping_moves_a_little_keeps_nothing_longer(
    make: Make, clock: ManualClock
) -> None:
    outbox = make(keep_receipted_s=600)
    outbox.append(readings())
    outbox.receipt(receipt(outbox.epoch, 1))
    for _ in range(9):
        clock.advance(60)
        clock.jump(0.03)
        assert outbox.trim() == 0
    clock.advance(70)
    assert outbox.trim() == 1


def test_unreceipted_packets_are_never_trimmed(make: Make, clock: ManualClock) -> None:
    outbox = make(keep_receipted_s=1)
    outbox.append(readings())
    clock.advance(10_000)
    assert outbox.trim() == 0
    assert waiting(outbox) == [1]


def test_a_restored_store_is_sent_everything_that_is_still_held(make: Make) -> None:
    outbox = make()
    for n in range(4):
        outbox.append(readings(n))
    outbox.receipt(receipt(outbox.epoch, 4))
    changed = outbox.receipt(receipt(outbox.epoch, 2, incarnation="store-b"))
    assert changed.restored
    assert waiting(outbox) == [3, 4]


def test_what_the_store_misses_and_nobody_holds_is_said_to_be_abandoned_once(
    make: Make, clock: ManualClock
) -> None:
    outbox = make(keep_receipted_s=1)
    for n in range(4):
        outbox.append(readings(n))
    outbox.receipt(receipt(outbox.epoch, 4))
    clock.advance(10)
    outbox.trim()
    outbox.append(readings())
    restored = receipt(outbox.epoch, 1, highest=5, gaps=[(2, 4)], incarnation="store-b")
    outbox.receipt(restored)
    outbox.receipt(restored)
    (said,) = abandoned(outbox)
    assert (said.epoch, said.ranges) == (f"{outbox.epoch:x}", [(2, 4)])
    assert outbox.stats().abandoned == 3


def test_a_full_outbox_gives_up_receipted_packets_first_and_says_nothing(make: Make) -> None:
    outbox = make(max_bytes=20_000)
    for n in range(20):
        outbox.append(readings(n))
    outbox.receipt(receipt(outbox.epoch, 20))
    while outbox.stats().held_bytes + 1000 < 20_000:
        outbox.append(readings())
    before = waiting(outbox)
    for _ in range(5):
        outbox.append(readings())
    assert waiting(outbox)[: len(before)] == before
    assert outbox.stats().abandoned == 0
    assert outbox.stats().held_bytes <= 20_000


def test_a_full_outbox_gives_up_old_readings_before_alarms_and_says_which(make: Make) -> None:
    outbox = make(max_bytes=20_000)
    alarms = [outbox.append(events(n)).seq for n in range(4)]
    for n in range(100):
        outbox.append(readings(n))
    stats = outbox.stats()
    assert stats.held_bytes <= 20_000
    assert set(alarms) <= set(waiting(outbox))
    said = {
        seq for packet in abandoned(outbox) for first, last in packet.ranges for seq in range(first, last + 1)
    }
    assert said
    assert len(said) == stats.abandoned
    assert sorted(said | set(waiting(outbox))) == list(range(1, stats.numbered + 1))
    assert stats.numbered == stats.unreceipted + stats.abandoned + stats.receipted


def test_alarms_alone_may_fill_an_outbox_and_then_the_oldest_alarm_goes(make: Make) -> None:
    outbox = make(max_bytes=20_000)
    for n in range(100):
        outbox.append(events(n))
    assert outbox.stats().held_bytes <= 20_000
    said = {
        n for packet in abandoned(outbox) for first, last in packet.ranges for n in range(first, last + 1)
    }
    assert sorted(said | set(waiting(outbox))) == list(range(1, outbox.stats().numbered + 1))
    assert outbox.stats().unreceipted + outbox.stats().abandoned == outbox.stats().numbered


def test_a_receipt_for_numbers_never_issued_begins_a_new_epoch_and_issues_everything_anew(make: Make) -> None:
    outbox = make()
    for n in range(4):
        outbox.append(readings(n))
    outbox.receipt(receipt(outbox.epoch, 2))
    before = outbox.epoch
    assert outbox.receipt(receipt(before, 9)).forked
    assert outbox.epoch != before
    packets = outbox.pending(100)
    assert [packet.id for packet in packets] == [PacketId(outbox.epoch, n) for n in (1, 2, 3, 4)]
    contents = []
    for packet in packets:
        held = outbox.payload(packet.id)
        assert held is not None
        data = decode_packet(held[1], ADDRESS).data
        assert isinstance(data, Readings)
        contents.append(data.series[0].value[0])
    assert contents == [0, 1, 2, 3]
    assert outbox.receipt(receipt(before, 99)).packets == 0
    assert outbox.stats().numbered == 4


def test_a_receipt_of_an_unknown_epoch_changes_nothing(make: Make) -> None:
    outbox = make()
    outbox.append(readings())
    assert outbox.receipt(receipt(12345, 100)) == outbox.receipt(receipt(54321, 100))
    assert waiting(outbox) == [1]


def test_events_and_readings_are_told_apart(make: Make) -> None:
    outbox = make()
    packet = outbox.append(events())
    held = outbox.payload(packet)
    assert held is not None
    assert held[0] == "events"
    assert isinstance(decode_packet(held[1], ADDRESS).data, Events)
