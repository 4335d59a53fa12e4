"""Batches grow with what waits, never beyond their caps, and nothing is lost, doubled or reordered on the way."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.clock import Clock, ManualClock, SystemClock
from gateway.backlog import Backlog, Batch, Turns
from gateway.decode import RawMessage, Rejected
from gateway.intake import Delivery
from gateway.lease import LeaseLostError


def batch(first: int, rows: list[int]) -> Batch:
    """Messages numbered from ``first`` on, of so many rows each."""
    made = Batch()
    for number, count in enumerate(rows, first):
        raw = RawMessage(str(number), b"", False, 0, 0)
        made.add(Rejected("not_json", "", raw), Delivery(raw, 0, number, 1), count)
    return made


def numbers(taken: Batch | None) -> list[int]:
    """Which messages these are."""
    assert taken is not None
    assert [item.raw.topic for item in taken.items] == [str(one.message_id) for one in taken.deliveries]
    assert len(taken.items) == len(taken.rows)
    return [one.message_id for one in taken.deliveries]


def backlog(
    most_rows: int = 100, most_messages: int = 1000, linger_s: float = 0.0, clock: Clock | None = None
) -> Backlog:
    """One without lingering, unless asked for."""
    return Backlog(
        most_rows=most_rows, most_messages=most_messages, linger_s=linger_s, clock=clock or SystemClock()
    )


def take(waiting: Backlog, timeout_s: float) -> Batch | None:
    """What a committer takes; None when nothing came."""
    return waiting.take() if waiting.wait(timeout_s) else None


@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), max_size=12),
    st.integers(1, 60),
    st.integers(1, 10),
    st.data(),
)
def test_every_message_is_taken_once_in_order_and_no_batch_is_above_its_caps(
    parts: list[list[int]], most_rows: int, most_messages: int, data: st.DataObject
) -> None:
    waiting = backlog(most_rows, most_messages)
    given_out: list[int] = []
    first = 0

    def take_next() -> None:
        taken = take(waiting, 0.0)
        found = numbers(taken)
        assert taken is not None
        assert len(found) <= most_messages
        assert sum(taken.rows) <= most_rows or len(found) == 1, "one message cannot be divided"
        given_out.extend(found)

    for rows in parts:
        while not waiting.put(batch(first, rows), 0.0):
            take_next()
        first += len(rows)
        if waiting.waiting() and data.draw(st.booleans()):
            take_next()
    while waiting.waiting():
        take_next()
    assert given_out == list(range(first))
    assert take(waiting, 0.0) is None


def test_what_came_while_the_last_batch_was_committed_is_the_next_batch() -> None:
    waiting = backlog()
    waiting.put(batch(0, [1]), 0.0)
    assert numbers(take(waiting, 0.0)) == [0]
    for number in range(1, 6):
        waiting.put(batch(number, [1]), 0.0)
    assert numbers(take(waiting, 0.0)) == [1, 2, 3, 4, 5]


def test_there_is_room_until_a_full_batch_waits() -> None:
    waiting = backlog(most_rows=10)
    assert waiting.put(batch(0, [9]), 0.0)
    assert waiting.put(batch(1, [9]), 0.0)
    assert not waiting.put(batch(2, [1]), 0.0)
    assert numbers(take(waiting, 0.0)) == [0]
    assert waiting.put(batch(2, [1]), 0.0)
    assert numbers(take(waiting, 0.0)) == [1, 2]


def test_a_single_message_is_given_a_moments_company() -> None:
    waiting = backlog(linger_s=2.0)
    waiting.put(batch(0, [1]), 0.0)
    late = threading.Timer(0.05, lambda: waiting.put(batch(1, [1]), 1.0))
    late.start()
    assert numbers(take(waiting, 1.0)) == [0, 1]
    late.join()


def test_a_message_that_has_waited_already_is_not_kept_waiting() -> None:
    clock = ManualClock()
    waiting = backlog(linger_s=1000.0, clock=clock)
    waiting.put(batch(0, [1]), 0.0)
    clock.advance(1001.0)
    assert numbers(take(waiting, 1.0)) == [0]


def test_nothing_lingers_once_a_batch_is_full() -> None:
    waiting = backlog(most_rows=10, linger_s=60.0)
    waiting.put(batch(0, [4, 6, 1]), 0.0)
    assert numbers(take(waiting, 1.0)) == [0, 1]


def test_whoever_waits_for_a_batch_is_woken_by_it_and_whoever_waits_for_room_by_a_take() -> None:
    waiting = backlog(most_rows=5)
    taken: list[Batch | None] = []
    taker = threading.Thread(target=lambda: taken.append(take(waiting, 30.0)))
    taker.start()
    assert waiting.put(batch(0, [5]), 0.0)
    taker.join(10)
    assert numbers(taken[0]) == [0]
    waiting.put(batch(1, [5]), 0.0)
    put: list[bool] = []
    putter = threading.Thread(target=lambda: put.append(waiting.put(batch(2, [5]), 30.0)))
    putter.start()
    assert numbers(take(waiting, 0.0)) == [1]
    putter.join(10)
    assert put == [True]
    assert numbers(take(waiting, 0.0)) == [2]


def test_a_batch_waits_for_its_turn_as_long_as_its_oldest_message_can_wait() -> None:
    clock = ManualClock()
    waiting = backlog(clock=clock)
    waiting.put(batch(0, [1]), 0.0)
    clock.advance(0.05)
    waiting.put(batch(1, [1]), 0.0)
    taken = waiting.take()
    waiting.put(batch(2, [1]), 0.0)
    assert waiting.patience_s(taken) == pytest.approx(0.05), "of the oldest, whatever came behind"


def test_one_works_after_the_other_not_beside_it() -> None:
    turns, order = Turns(), list[str]()

    def work() -> None:
        with turns.turn(60.0):
            order.append("second")

    with turns.turn(0.0):
        other = threading.Thread(target=work)
        other.start()
        other.join(0.05)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_a_batch_that_is_old_enough_or_has_a_full_one_behind_it_is_written_beside_the_other() -> None:
    clock, turns = ManualClock(), Turns()
    waiting = backlog(most_rows=10, clock=clock)
    waiting.put(batch(0, [1]), 0.0)
    taken = waiting.take()
    waiting.put(batch(1, [9]), 0.0)
    assert waiting.patience_s(taken) == pytest.approx(0.1)
    waiting.put(batch(2, [1]), 0.0)
    assert waiting.patience_s(taken) == 0.0, "a full one waits"
    taken = waiting.take()
    clock.advance(0.101)
    assert waiting.patience_s(taken) == 0.0, "it is old"
    with turns.turn(0.0), turns.turn(waiting.patience_s(taken)):
        assert numbers(taken) == [1, 2]


def test_a_turn_is_given_back_when_the_work_fails() -> None:
    turns = Turns()
    with suppress(LeaseLostError), turns.turn(0.0):
        raise LeaseLostError("default", 1)
    worked = threading.Event()

    def work() -> None:
        with turns.turn(60.0):
            worked.set()

    threading.Thread(target=work, daemon=True).start()
    assert worked.wait(10)
