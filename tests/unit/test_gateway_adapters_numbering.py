"""Counters that wrap, restart and miss numbers; times that repeat: what is new, what is a repeat."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.wire.topics import Address
from gateway.adapters.channel import Channel, Numbering
from gateway.adapters.numbering import UNNUMBERED, Seen, take
from gateway.streams import SequenceSet

BYTE = Numbering(256, 32)
TIMES = Numbering(0, 16)


class Stream:
    """A stream as the store keeps it: the set goes through its text between batches."""

    def __init__(self, numbering: Numbering = BYTE, *, remembers: bool = True) -> None:
        self.numbering = numbering
        self.received = SequenceSet()
        self.seen = Seen()
        self._remembers = remembers

    def take(self, number: int, content: object = None) -> bool | None:
        """Whether a message is new; None when it is kept without a number."""
        self.received = SequenceSet.parse(str(self.received))
        newer = Seen(self.seen)
        at, new = take(self.numbering, self.received, number, hash((number, content)), newer)
        if self._remembers:
            self.seen.add(newer, self.numbering.window)
        return None if at == UNNUMBERED else new


def test_a_message_delivered_twice_is_new_once() -> None:
    stream = Stream()
    assert [stream.take(n) for n in (0, 0, 1, 1, 0, 2)] == [True, False, True, False, False, True]


def test_a_counter_goes_on_through_its_wrap() -> None:
    stream = Stream()
    assert all(stream.take(n % 256, n) for n in range(250, 1000))
    assert stream.received.range_count == 1
    assert not any(stream.take(n % 256, n) for n in range(970, 1000))


def test_a_counter_that_starts_again_is_no_repeat() -> None:
    stream = Stream()
    assert all(stream.take(n, "first life") for n in range(100))
    assert all(stream.take(n, "second life") for n in range(100))
    assert not stream.take(99, "second life")


def test_a_counter_that_starts_again_at_once_is_told_by_what_it_says() -> None:
    stream = Stream()
    for life in range(20):
        assert [stream.take(n, life) for n in range(3)] == [True] * 3
        assert [stream.take(n, life) for n in range(3)] == [False] * 3


def test_without_a_memory_a_known_number_is_a_repeat() -> None:
    stream = Stream(remembers=False)
    assert [stream.take(5, "one"), stream.take(5, "other")] == [True, False]


def test_late_messages_within_the_window_are_new_once() -> None:
    stream = Stream()
    assert [stream.take(n) for n in (10, 8, 9, 8)] == [True, True, True, False]


def test_what_is_missing_behind_the_window_is_closed() -> None:
    stream = Stream(Numbering(1 << 16, 32))
    for n in range(0, 10_000, 2):
        assert stream.take(n)
        assert stream.received.range_count <= 17


@given(st.lists(st.integers(0, 255), max_size=300))
def test_whatever_a_counter_does_its_stream_stays_short_and_a_repeat_is_a_repeat(numbers: list[int]) -> None:
    stream = Stream()
    for life, number in enumerate(numbers):
        assert stream.take(number, life)
        assert not stream.take(number, life)
        assert stream.received.range_count <= BYTE.window
        assert len(stream.seen) <= BYTE.window


@given(st.integers(0, 255), st.lists(st.integers(1, 100), max_size=100), st.data())
def test_every_message_counts_once_however_often_and_late_it_comes(
    first: int, steps: list[int], data: st.DataObject
) -> None:
    """Losses of up to 100 in a row, most messages twice, delayed by up to five others; the counter wraps."""
    numbers = [first]
    for step in steps:
        numbers.append(numbers[-1] + step)
    copies = [(n, n) for n in range(len(numbers))]
    copies += [(n, n + data.draw(st.integers(0, 5))) for n in range(len(numbers)) if data.draw(st.booleans())]
    order = [n for n, _ in sorted(copies, key=lambda copy: copy[1])]
    stream = Stream(Numbering(1 << 12, 32))
    assert [n for n in order if stream.take(numbers[n] % (1 << 12), n)] == list(dict.fromkeys(order))


def test_times_are_new_once_in_any_order() -> None:
    stream = Stream(TIMES)
    assert [stream.take(t) for t in (1000, 3000, 2000, 3000, 1000)] == [True, True, True, False, False]


def test_another_message_of_the_same_instant_is_kept_without_a_number() -> None:
    stream = Stream(TIMES)
    assert stream.take(1000, "a")
    assert stream.take(1000, "b") is None
    assert stream.take(1000, "a") is False


def test_a_time_from_before_the_window_is_kept_without_a_number() -> None:
    stream = Stream(TIMES)
    assert all(stream.take(t) for t in range(10_000, 200_000, 1000))
    assert stream.received.range_count <= 2 * TIMES.window
    assert stream.take(5_000) is None
    assert stream.take(199_000) is False


@given(st.lists(st.integers(0, 2**41), max_size=200))
def test_no_time_is_lost(times: list[int]) -> None:
    stream = Stream(TIMES)
    first: set[int] = set()
    for t in times:
        assert stream.take(t) is not False or t in first
        first.add(t)
        assert stream.received.range_count <= 2 * TIMES.window


def test_streams_of_foreign_devices_never_meet_those_of_boxes() -> None:
    channel = Channel("m", "a/b", Address("s", "d"), (("x", "temperature"),))
    other = Channel("m", "a/c", Address("s", "d"), (("x", "temperature"),))
    epochs = {channel.epoch(session) for session in ("", "1", "2")} | {other.epoch("")}
    assert len(epochs) == 4
    assert all(-(1 << 62) <= epoch < 0 for epoch in epochs)
    assert channel.epoch("1") == Channel("m", "a/b", Address("t", "e"), ()).epoch("1")
