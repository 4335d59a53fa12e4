"""Who owns a matter: ordered rules by place, category and time, the first that fits. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cloud.calendar.domain import WorkingCalendar


def fits(pattern: str, category: str) -> bool:
    """Whether a category pattern covers a category: a code, a beginning with ``*`` after it, or ``*``."""
    if pattern.endswith("*"):
        return category.startswith(pattern[:-1])
    return pattern == category


@dataclass(frozen=True, slots=True)
class Rule:
    """One routing rule.

    Attributes:
        position: its place in the order, from 1.
        category: a code, a family or ``*``.
        min_severity: from this severity up.
        target: ``department:<unit_code>`` or ``level:<kind of unit>``.
        call: departments whistled onto it at once.
        place: units; only for what lies in one of them. Empty: everywhere.
        during, outside: the name of a calendar; only in its hours, or only outside them.
    """

    position: int
    category: str
    min_severity: int
    target: str
    call: tuple[str, ...] = ()
    place: tuple[str, ...] = ()
    during: str = ""
    outside: str = ""


@dataclass(frozen=True, slots=True)
class StandIn:
    """Outside a unit's hours another one takes what comes."""

    hours: WorkingCalendar
    unit_code: str


@dataclass(frozen=True, slots=True)
class Book:
    """What a district decides by.

    Attributes:
        rules: in order of position.
        units: all unit codes there are.
        calendars: by name.
        stand_ins: by the unit they stand in for.
    """

    rules: Sequence[Rule]
    units: frozenset[str]
    calendars: Mapping[str, WorkingCalendar] = field(default_factory=dict)
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Matter:
    """What is to be given to somebody.

    Attributes:
        category, severity: of the matter.
        place: kind of unit → its code, for the grid that owns the place and everything above it; without
            ``grid`` when the place lies outside every grid.
        at: when; None: rules and stand-ins that depend on the time do not count.
    """

    category: str
    severity: int
    place: Mapping[str, str]
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that was tried."""

    rule: Rule
    fits: bool
    because: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where a ticket goes.

    Attributes:
        unit_code: the owner, or None when nobody could be named.
        called: departments whistled onto it at once.
        because: the reason in words, for the history.
    """

    unit_code: str | None
    called: tuple[str, ...]
    because: str


def route(
    rules: Sequence[Rule],
    category: str,
    severity: int,
    place: Mapping[str, str],
    units: frozenset[str],
) -> Route:
    """The owner by rules that do not ask for the time; ``decide`` says the whole."""
    return decide(Book(rules, units), Matter(category, severity, place))


def decide(book: Book, matter: Matter) -> Route:
    """The owner by the first rule that fits.

    Returns:
        A route; without an owner when no rule fits or its target does not exist at this place. A later rule
        is not tried then: an order of rules that silently falls through is one nobody can read.
    """
    for rule in book.rules:
        if why_not(book, rule, matter) is None:
            return _owner(book, rule, matter)
    return Route(None, (), f"no rule covers {matter.category} at severity {matter.severity}")


def trace(book: Book, matter: Matter) -> tuple[list[Step], Route]:
    """The same, with every rule that was tried on the way."""
    steps = []
    for rule in book.rules:
        wrong = why_not(book, rule, matter)
        steps.append(Step(rule, wrong is None, wrong or "everything it asks for is so"))
        if wrong is None:
            break
    return steps, decide(book, matter)


def why_not(book: Book, rule: Rule, matter: Matter) -> str | None:
    """Why a rule does not fit, or None when it does."""
    if not fits(rule.category, matter.category):
        return f"it is for {rule.category}"
    if matter.severity < rule.min_severity:
        return f"it is from severity {rule.min_severity} up"
    if rule.place and not set(rule.place) & set(matter.place.values()):
        return f"it is for {', '.join(rule.place)}"
    return _wrong_time(book, rule, matter.at)


def _wrong_time(book: Book, rule: Rule, at: datetime | None) -> str | None:
    for name, wanted in ((rule.during, True), (rule.outside, False)):
        if not name:
            continue
        hours = book.calendars.get(name)
        if hours is None:
            return f"it asks for the calendar {name!r}, which there is not"
        if at is None:
            return f"it depends on the time ({name})"
        if hours.is_open(at) is not wanted:
            return f"it is only {'within' if wanted else 'outside'} the hours of {name}"
    return None


def _owner(book: Book, rule: Rule, matter: Matter) -> Route:
    called = tuple(code for code in rule.call if code in book.units)
    kind, _, name = rule.target.partition(":")
    owner = matter.place.get(name) if kind == "level" else name if name in book.units else None
    if owner is None:
        what = f"no {name} at this place" if kind == "level" else f"no unit {name!r}"
        return Route(None, called, f"rule {rule.position} names {rule.target}: {what}")
    taker, why = stand_in_for(book, owner, matter.at)
    because = f"rule {rule.position}: {rule.target}" + (f"; {why}" if why else "")
    return Route(taker, tuple(code for code in called if code != taker), because)


def stand_in_for(book: Book, unit_code: str, at: datetime | None) -> tuple[str | None, str]:
    """Who takes what comes to a unit at an instant, and why another one does; None in a loop of stand-ins."""
    seen, why = [unit_code], []
    while at is not None and (standing := book.stand_ins.get(unit_code)) is not None:
        if standing.hours.is_open(at):
            break
        why.append(f"outside the hours of {unit_code} {standing.unit_code} stands in")
        unit_code = standing.unit_code
        if unit_code in seen:
            return None, f"the stand-ins go in a circle: {' → '.join([*seen, unit_code])}"
        seen.append(unit_code)
    return unit_code, "; ".join(why)
