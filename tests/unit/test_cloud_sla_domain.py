"""Clocks: promised times, stopped and resumed, missed once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.calendar.domain import WorkingCalendar, worked_s
from cloud.calendar.files import shipped_years
from cloud.sla.domain import FALLBACK_POLICY, Clock, Clocks, Policy, cancel, meet, miss, resume, start, stop

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
POLICY = Policy("test", 60, 120, 600, position=3)
WEEK = WorkingCalendar("office", frozenset({1, 2, 3, 4, 5}), ((9 * 3600, 17 * 3600),), holidays=True)
OFFICE = WEEK.keeping(shipped_years())


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def only(clocks: Clocks, name: str, number: int = 1) -> Clock:
    (found,) = [clock for clock in clocks if clock.name == name and clock.round == number]
    return found


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5000)), max_size=6))
def test_the_time_of_suspensions_does_not_count(pauses: list[tuple[int, int]]) -> None:
    clocks, now, worked = start((), ["resolve"], POLICY, NOON), NOON, 0
    for work_s, pause_s in pauses:
        now += timedelta(seconds=work_s)
        worked += work_s
        clocks = stop(clocks, now)
        assert miss(only(clocks, "resolve"), now + timedelta(days=9)) is None
        now += timedelta(seconds=pause_s)
        clocks = resume(clocks, now)
    assert (only(clocks, "resolve").due_at - now).total_seconds() == 600 - worked


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 500_000)), max_size=5),
)
def test_in_working_hours_the_time_of_suspensions_does_not_count_either(
    opened: datetime, pauses: list[tuple[int, int]]
) -> None:
    policy = replace(POLICY, resolve_s=20 * 3600, calendar=OFFICE)
    clocks, now, worked = start((), ["resolve"], policy, opened), opened, 0.0
    for run_s, pause_s in pauses:
        until = min(now + timedelta(seconds=run_s), only(clocks, "resolve").due_at)
        worked += worked_s(OFFICE, now, until)
        clocks = stop(clocks, until, OFFICE)
        now = until + timedelta(seconds=pause_s)
        clocks = resume(clocks, now, OFFICE)
    due = only(clocks, "resolve").due_at
    assert worked + worked_s(OFFICE, now, due) == pytest.approx(20 * 3600, abs=1e-5)


def test_a_clock_is_missed_when_it_is_due_and_only_once() -> None:
    clock = only(start((), ["ack"], POLICY, NOON), "ack")
    assert miss(clock, after(59.999)) is None
    missed = miss(clock, after(60))
    assert missed is not None
    assert (missed.state, missed.missed_at, missed.version) == ("missed", after(60), 2)
    assert miss(missed, after(1000)) is None


def test_a_missed_clock_stays_missed_and_says_when_it_was_met_late() -> None:
    missed = miss(only(start((), ["ack"], POLICY, NOON), "ack"), after(61))
    assert missed is not None
    late = only(meet((missed,), ["ack"], after(90)), "ack")
    assert (late.state, late.met_at) == ("missed", after(90))
    assert meet((late,), ["ack"], after(95)) == (late,)


def test_a_clock_met_in_time_does_not_fire() -> None:
    met = only(meet(start((), ["ack"], POLICY, NOON), ["ack"], after(30)), "ack")
    assert (met.state, met.met_at) == ("met", after(30))
    assert miss(met, after(1000)) is None


def test_another_round_cancels_what_runs_and_keeps_what_was() -> None:
    first = start((), ["ack", "arrive"], POLICY, NOON)
    met = meet(first, ["ack"], after(10))
    second = start(met, ["ack", "arrive"], POLICY, after(20))
    assert [(c.name, c.round, c.state) for c in second] == [
        ("ack", 1, "met"),
        ("arrive", 1, "cancelled"),
        ("ack", 2, "running"),
        ("arrive", 2, "running"),
    ]
    assert only(second, "arrive", 2).due_at == after(140)


def test_an_overdue_clock_that_is_stopped_is_due_at_once_when_resumed() -> None:
    clocks = resume(stop(start((), ["ack"], POLICY, NOON), after(100)), after(5000))
    assert only(clocks, "ack").due_at == after(5000)


def test_a_suspended_clock_can_be_cancelled() -> None:
    assert only(cancel(stop(start((), ["ack"], POLICY, NOON), after(5))), "ack").remaining_s is None


def test_every_change_counts_up_the_version() -> None:
    clocks = start((), ["ack"], POLICY, NOON)
    for change in (stop(clocks, after(1)), meet(clocks, ["ack"], after(1)), cancel(clocks)):
        assert only(change, "ack").version == 2


def test_a_policy_survives_being_frozen() -> None:
    assert Policy.from_snapshot(POLICY.snapshot()) == POLICY
    assert Policy.from_snapshot(FALLBACK_POLICY.snapshot()) == FALLBACK_POLICY
