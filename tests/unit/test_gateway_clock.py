"""The store's clock as a gateway shows it: right by the database, never back, whoever sets whichever clock."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.clock import ManualClock
from gateway.clock import MOST_AHEAD_MS, SLOWER, Course, StoreClock

HOUR_S = 3600.0
DAY_S = 86_400.0


@dataclass
class Machines:
    """A gateway's machine, and a database's with a clock of its own; both live through the same time."""

    gateway: ManualClock
    database: ManualClock
    clock: StoreClock

    @classmethod
    def apart(cls, seconds: float = 0.0) -> Machines:
        """The database's clock so far ahead of the gateway's."""
        gateway, database = ManualClock(), ManualClock()
        database.jump(seconds)
        return cls(gateway, database, StoreClock(gateway))

    def live(self, seconds: float) -> None:
        """Let time pass for both."""
        self.gateway.advance(seconds)
        self.database.advance(seconds)

    def ask(self, there_s: float = 0.0, back_s: float = 0.0) -> None:
        """A question to the database, and its answer."""
        asked_at = self.gateway.monotonic()
        self.live(there_s)
        said = self.database.now_ms()
        self.live(back_s)
        self.clock.told(float(said), asked_at)

    @property
    def ahead_s(self) -> float:
        """How far what is shown is ahead of the database."""
        return (self.clock.now_ms() - self.database.now_ms()) / 1000


def test_before_the_database_was_heard_it_is_the_machines_own_clock() -> None:
    machines = Machines.apart(5.0)
    machines.live(3.0)
    assert machines.clock.now_ms() == machines.gateway.now_ms()


@pytest.mark.parametrize("apart_s", [-3 * DAY_S, -HOUR_S, -0.2, 0.0, 0.2, HOUR_S, 3 * DAY_S])
def test_from_the_first_answer_on_it_is_the_databases(apart_s: float) -> None:
    machines = Machines.apart(apart_s)
    machines.ask()
    assert machines.ahead_s == pytest.approx(0.0, abs=0.002)
    machines.live(100.0)
    assert machines.ahead_s == pytest.approx(0.0, abs=0.002)


@pytest.mark.parametrize("step_s", [-400 * DAY_S, -HOUR_S, HOUR_S, 400 * DAY_S])
def test_whoever_sets_the_machines_clock_moves_nothing(step_s: float) -> None:
    machines = Machines.apart(0.5)
    machines.ask()
    machines.gateway.jump(step_s)
    machines.live(1.0)
    assert machines.ahead_s == pytest.approx(0.0, abs=0.002)
    machines.ask()
    assert machines.ahead_s == pytest.approx(0.0, abs=0.002)


def test_a_database_that_is_set_forward_is_followed_at_once() -> None:
    machines = Machines.apart()
    machines.ask()
    machines.database.jump(HOUR_S)
    machines.ask()
    assert machines.ahead_s == pytest.approx(0.0, abs=0.002)


def test_a_database_that_is_set_back_is_waited_for_at_nine_tenths_of_the_pace() -> None:
    machines = Machines.apart()
    machines.ask()
    before = machines.clock.now_ms()
    machines.database.jump(-HOUR_S)
    machines.ask()
    assert machines.clock.now_ms() >= before
    machines.live(HOUR_S)
    assert machines.ahead_s == pytest.approx(HOUR_S * (1 - SLOWER), abs=0.01)
    machines.live(HOUR_S / SLOWER - HOUR_S)
    assert machines.ahead_s == pytest.approx(0.0, abs=0.01)
    machines.live(HOUR_S)
    assert machines.ahead_s == pytest.approx(0.0, abs=0.01)


def test_a_database_that_was_set_back_by_mistake_and_is_put_right_is_right_at_once() -> None:
    machines = Machines.apart()
    machines.ask()
    machines.database.jump(-HOUR_S)
    machines.ask()
    machines.live(600.0)
    machines.database.jump(HOUR_S)
    machines.ask()
    assert machines.ahead_s == pytest.approx(0.0, abs=0.01)


def test_from_more_than_a_day_ahead_it_goes_back_at_once() -> None:
    machines = Machines.apart()
    machines.ask()
    machines.database.jump(-MOST_AHEAD_MS / 1000 - 10)
    machines.ask()
    assert machines.ahead_s == pytest.approx(0.0, abs=0.002)


steps = st.one_of(
    st.tuples(st.just("live"), st.floats(0.0, 10_000.0)),
    st.tuples(st.just("ask"), st.floats(0.0, 30.0)),
    st.tuples(st.just("set the gateway's"), st.floats(-1e8, 1e8)),
    st.tuples(st.just("set the database's"), st.floats(-DAY_S / 4, DAY_S / 4)),
)


@given(st.floats(-1e8, 1e8), st.lists(steps, max_size=30))
def test_whatever_is_set_what_comes_later_is_never_dated_earlier(
    apart_s: float, done: list[tuple[str, float]]
) -> None:
    machines = Machines.apart(apart_s)
    machines.ask()
    shown = machines.clock.now_ms()
    back_s = 0.0
    for what, seconds in done:
        if what == "live":
            machines.live(seconds)
        elif what == "ask":
            machines.ask(seconds / 2, seconds / 2)
        elif what == "set the gateway's":
            machines.gateway.jump(seconds)
        elif back_s - min(seconds, 0.0) < MOST_AHEAD_MS / 1000 - 100:
            back_s -= min(seconds, 0.0)
            machines.database.jump(seconds)
        now = machines.clock.now_ms()
        assert now >= shown, (what, seconds)
        shown = now


@given(
    st.floats(-1e8, 1e8),
    st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 5.0), st.floats(0.0, 100.0)), min_size=1),
)
def test_it_is_off_by_no_more_than_its_quickest_answer_took(
    apart_s: float, asked: list[tuple[float, float, float]]
) -> None:
    machines = Machines.apart(apart_s)
    for there_s, back_s, later_s in asked:
        machines.ask(there_s, back_s)
        machines.live(later_s)
    machines.live(10.0 / SLOWER)  # the longest of them is made up by then
    quickest = min(there_s + back_s for there_s, back_s, _ in asked)
    assert abs(machines.ahead_s) <= quickest + 0.01


@given(st.floats(0.0, 1e6), st.floats(1e12, 2e12), st.floats(0.0, MOST_AHEAD_MS), st.floats(0.0, 1e7))
def test_a_course_is_never_ahead_for_longer_than_its_pace_makes_up(
    at_s: float, shown_ms: float, ahead_ms: float, later_s: float
) -> None:
    course = Course(at_s, shown_ms, ahead_ms)
    assert course.right(at_s + later_s) <= course.shown(at_s + later_s) + 0.01
    caught_up = at_s + ahead_ms / 1000 / SLOWER
    assert course.shown(caught_up) == pytest.approx(course.right(caught_up), abs=1.0)
    assert course.shown(at_s - later_s) == shown_ms, "what was before it began is not known to it"
