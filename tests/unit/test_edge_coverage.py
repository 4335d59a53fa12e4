"""Every second of a camera is booked once, and every camera has its turn."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.wire.metrics import UNIT_OF
from edge.camera.retry import Patience
from edge.camera.source import CameraLostError, CameraRefusedError
from edge.coverage import SLICE_MS, STATES, Coverage, State
from edge.turns import Turns

NOW = 1_767_225_600_000


@given(st.lists(st.tuples(st.sampled_from(STATES), st.floats(0, 400)), max_size=60))
def test_the_seconds_of_all_slices_are_all_the_seconds_there_were(notes: list[tuple[State, float]]) -> None:
    coverage, now = Coverage(NOW, 0.0), 0.0
    wanted: dict[State, float] = {}
    pages: list[Mapping[State, float]] = []
    for state, apart in notes:
        now += apart
        wanted[state] = wanted.get(state, 0.0) + apart
        over = coverage.note(state, NOW + round(now * 1000), now)
        pages.append(over or {})
    pages.append(coverage.close() or {})
    booked = {one: sum(page.get(one, 0.0) for page in pages) for one in STATES}
    for state, seconds in wanted.items():
        assert seconds - 0.1001 <= booked[state] <= seconds + 1e-3
    assert all(value >= 0 for page in pages for value in page.values())
    assert all("looked" in page for page in pages if page)


@given(
    st.lists(st.tuples(st.sampled_from(STATES), st.floats(1, 90)), min_size=1, max_size=30), st.floats(0, 299)
)
def test_the_slices_of_an_hour_come_to_3600_whatever_the_states(
    notes: list[tuple[State, float]], begins_s: float
) -> None:
    """Those told from five minutes past one hour to the next: each is told when it is over, a little late."""
    coverage, now, told = Coverage(NOW + round(begins_s * 1000), begins_s), begins_s, [0.0, 0.0, 0.0]
    for state, apart in itertools.cycle(notes):
        now += apart
        if now > 2.05 * 3600:
            break
        for value in (coverage.note(state, NOW + round(now * 1000), now) or {}).values():
            told[int((now - 300) // 3600) + 1] += value
    # The first hour begins with the box, and the last is not over.
    assert told[1] == pytest.approx(3600 - begins_s, abs=1.5)


def test_a_slice_ends_at_whole_five_minutes_and_says_that_nothing_was_looked_at() -> None:
    coverage = Coverage(NOW + 250_000, 0.0)
    assert coverage.note("lost", NOW + 299_000, 49.0) is None
    assert coverage.note("lost", NOW + SLICE_MS, 50.0) == {"lost": 50.0, "looked": 0.0}
    assert coverage.close() is None


def test_a_clock_that_is_set_changes_no_duration() -> None:
    coverage = Coverage(NOW, 0.0)
    over = coverage.note("looked", NOW + 86_400_000, 1.0)
    assert over == {"looked": 1.0}
    assert coverage.note("looked", NOW, 2.0) == {"looked": 1.0}


def test_every_state_has_a_metric_in_seconds() -> None:
    assert {UNIT_OF[f"coverage_{state}"] for state in STATES} == {"s"}


@given(st.integers(1, 12), st.integers(1, 200), st.floats(0.001, 2.0))
def test_who_always_has_something_to_show_has_as_many_turns_as_the_next(
    cameras: int, turns: int, takes_s: float
) -> None:
    schedule: Turns[int] = Turns()
    had = Counter(schedule.next(range(cameras), n * takes_s) for n in range(turns))
    counts = [had[one] for one in range(cameras)]
    assert max(counts) - min(counts) <= 1


@given(st.lists(st.sets(st.integers(0, 5)), max_size=100))
def test_nobody_with_something_to_show_is_passed_over_twice_for_the_same_other(
    rounds: list[set[int]],
) -> None:
    schedule: Turns[int] = Turns()
    waits: dict[int, list[int]] = {}
    for n, ready in enumerate(rounds):
        chosen = schedule.next(ready, float(n))
        assert (chosen is None) == (not ready)
        for one in list(waits):
            if one not in ready or one == chosen:
                del waits[one]
        for one in ready - {chosen}:
            assert chosen is not None
            waits.setdefault(one, []).append(chosen)
            assert max(Counter(waits[one]).values()) <= 1


def test_who_waited_longer_than_the_deadline_is_late() -> None:
    schedule: Turns[str] = Turns(deadline_s=0.5)
    assert schedule.next(["a", "b"], 0.0) == "a"
    assert schedule.next(["a", "b"], 0.4) == "b"
    assert schedule.next(["a", "b"], 1.0) == "a"
    assert (schedule.late("a"), schedule.late("b")) == (1, 0)
    assert schedule.next([], 1.1) is None


def test_a_lost_camera_is_tried_less_and_less_often_and_a_refusing_one_seldom() -> None:
    lost = CameraLostError("camera.lost", "", "")
    patience = Patience()
    waits = [patience.after(lost) for _ in range(10)]
    assert all(
        0.5 <= wait / most <= 1.0
        for wait, most in zip(waits, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30], strict=True)
    )
    patience.reset()
    assert patience.after(lost) <= 1.0
    assert patience.after(CameraRefusedError("camera.refused", "", "")) >= 700
    assert len({Patience().after(lost) for _ in range(20)}) == 20
