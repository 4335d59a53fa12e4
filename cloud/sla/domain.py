"""Clocks without a clock: pure functions from clocks and an instant to clocks.

``ack`` and ``arrive`` run from the dispatch, ``resolve`` from the opening, ``assign`` while nobody owns the
ticket. A missed clock stays missed and notes when it was met late. Suspension stops what runs and keeps the
rest of its time. A round is one try: handing on starts another of ack and arrive, reopening of all three.
Time runs in the policy's working calendar, or always where it names none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any, Literal, get_args

from cloud.calendar.domain import WorkingCalendar, due_at, worked_s

ClockName = Literal["assign", "ack", "arrive", "resolve"]
ClockState = Literal["running", "stopped", "met", "missed", "cancelled"]
CLOCK_NAMES: tuple[ClockName, ...] = get_args(ClockName)


@dataclass(frozen=True, slots=True)
class Escalate:
    """What a missed clock leads to.

    Attributes:
        clock: which.
        to: the level by name; empty for the next one up.
        after_s: so long after it was missed, unless it is met before.
        again_s: and one level higher each time so much later; None: that was all.
    """

    clock: ClockName
    to: str = ""
    after_s: int = 0
    again_s: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a unit has, in seconds; ``name`` and ``position`` say which rule it was.

    Attributes:
        calendar: in whose working time the seconds count; None: in all time.
        storm: it holds while a storm lasts.
        escalate: what missed clocks lead to; without any, each leads one level up at once.
    """

    name: str
    ack_s: int
    arrive_s: int
    resolve_s: int
    position: int | None = None
    calendar: WorkingCalendar | None = None
    storm: bool = False
    escalate: tuple[Escalate, ...] = ()

    def seconds(self, clock: ClockName) -> int:
        """The time a clock gives; an unassigned ticket must find its owner within the time to acknowledge."""
        return {
            "assign": self.ack_s,
            "ack": self.ack_s,
            "arrive": self.arrive_s,
            "resolve": self.resolve_s,
        }[clock]

    def escalation_of(self, clock: ClockName) -> Escalate | None:
        """What missing a clock leads to; None where the policy names others only."""
        if not self.escalate:
            return Escalate(clock)
        return next((one for one in self.escalate if one.clock == clock), None)

    def snapshot(self, since: date | None = None) -> dict[str, Any]:
        """As it is frozen in a ticket of a day, with the calendar as it was known then."""
        frozen: dict[str, Any] = {
            "name": self.name,
            "position": self.position,
            "ack_s": self.ack_s,
            "arrive_s": self.arrive_s,
            "resolve_s": self.resolve_s,
        }
        if self.calendar is not None:
            frozen["calendar"] = self.calendar.snapshot(since or date.min)
        if self.storm:
            frozen["storm"] = True
        if self.escalate:
            frozen["escalate"] = [asdict(one) for one in self.escalate]
        return frozen

    @classmethod
    def from_snapshot(cls, snapshot: dict[str, Any]) -> Policy:
        """Back from a ticket."""
        calendar = snapshot.get("calendar")
        return cls(
            **snapshot
            | {
                "calendar": None if calendar is None else WorkingCalendar.from_snapshot(calendar),
                "escalate": tuple(Escalate(**one) for one in snapshot.get("escalate", ())),
            }
        )


#: Where the district names no policy for a category, work still has an end.
FALLBACK_POLICY = Policy("fallback", ack_s=900, arrive_s=1800, resolve_s=86400)


@dataclass(frozen=True, slots=True)
class Clock:
    """One promise of one round."""

    name: ClockName
    round: int
    state: ClockState
    started_at: datetime
    due_at: datetime
    remaining_s: float | None = None
    met_at: datetime | None = None
    missed_at: datetime | None = None
    version: int = 1


Clocks = tuple[Clock, ...]


def start(clocks: Clocks, names: Iterable[ClockName], policy: Policy, now: datetime) -> Clocks:
    """Begin another round of these; what runs of them is cancelled."""
    for name in names:
        clocks = cancel(clocks, [name])
        latest = max((clock.round for clock in clocks if clock.name == name), default=0)
        due = due_at(policy.calendar, now, policy.seconds(name))
        clocks = (*clocks, Clock(name, latest + 1, "running", now, due))
    return clocks


def meet(clocks: Clocks, names: Iterable[ClockName], now: datetime) -> Clocks:
    """What was promised has happened: in time, or late where the clock was already missed."""

    def met(clock: Clock) -> Clock:
        if clock.state == "missed":
            return clock if clock.met_at else _changed(clock, met_at=now)
        return _changed(clock, state="met", met_at=now, remaining_s=None)

    return _each_latest(clocks, names, {"running", "stopped", "missed"}, met)


def cancel(clocks: Clocks, names: Iterable[ClockName] = CLOCK_NAMES) -> Clocks:
    """Nobody waits for these any more."""
    return _each_latest(
        clocks,
        names,
        {"running", "stopped"},
        lambda clock: _changed(clock, state="cancelled", remaining_s=None),
    )


def stop(clocks: Clocks, now: datetime, calendar: WorkingCalendar | None = None) -> Clocks:
    """Suspend: what runs keeps the rest of its time (nothing, if it was due and not yet fired)."""
    return _each_latest(
        clocks,
        CLOCK_NAMES,
        {"running"},
        lambda clock: _changed(clock, state="stopped", remaining_s=worked_s(calendar, now, clock.due_at)),
    )


def resume(clocks: Clocks, now: datetime, calendar: WorkingCalendar | None = None) -> Clocks:
    """Go on with the rest of the time."""
    return _each_latest(
        clocks,
        CLOCK_NAMES,
        {"stopped"},
        lambda clock: _changed(
            clock,
            state="running",
            due_at=due_at(calendar, now, clock.remaining_s or 0.0),
            remaining_s=None,
        ),
    )


def moved_to(clocks: Clocks, promised: Clocks) -> Clocks:
    """The promises of an opening that was decided anew: what runs is due as promised now, or is waited for no more.

    What was met or missed stays.
    """
    by_name = {clock.name: clock for clock in promised}
    moved = tuple(
        clock
        if clock.state != "running"
        else _changed(clock, state="cancelled")
        if (now := by_name.get(clock.name)) is None
        else clock
        if clock.due_at == now.due_at
        else _changed(clock, due_at=now.due_at)
        for clock in clocks
    )
    known = {clock.name for clock in clocks}
    return (*moved, *(clock for clock in promised if clock.name not in known))


def miss(clock: Clock, now: datetime) -> Clock | None:
    """The clock as missed, or None when it is not due or does not run."""
    if clock.state != "running" or clock.due_at > now:
        return None
    return _changed(clock, state="missed", missed_at=now)


def _each_latest(
    clocks: Clocks, names: Iterable[ClockName], states: set[ClockState], change: Callable[[Clock], Clock]
) -> Clocks:
    wanted = set(names)
    latest = {name: max((c.round for c in clocks if c.name == name), default=0) for name in wanted}
    return tuple(
        change(clock)
        if clock.name in wanted and clock.round == latest[clock.name] and clock.state in states
        else clock
        for clock in clocks
    )


def _changed(clock: Clock, **values: Any) -> Clock:
    return replace(clock, version=clock.version + 1, **values)
