"""What calendars, policies, stand-ins and the ladder of a district's file must agree on, each fault at its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from cloud.dispatch.checking import loops
from cloud.dispatch.domain import fits
from cloud.district.schemas import DistrictFile, PolicyEntry, RuleEntry, UnitEntry
from common.runtime.config import Wrong
from common.runtime.settings import Location, nearest, texts, twice
from common.wire.categories import BY_CODE

#: Stands where a calendar's name does and means the hours of whichever unit owns the ticket.
UNIT_HOURS = "unit"
_STEPS = ("acknowledge", "arrive", "resolve")


def clock_disagreements(file: DistrictFile) -> Iterator[Wrong]:
    """All of them; the parts that are wrong in themselves hide nothing else."""
    names = list(texts(calendar.name for calendar in file.calendars))
    yield from twice((("calendars", number, "name"), name) for number, name in names)
    days = {
        name: file.calendars[number].calendar().day_s
        for number, name in names
        if file.calendars[number].right("hours", "days", "name")
    }
    known = {name for _, name in names}
    units = dict(reversed([(code, file.units[at]) for at, code in texts(unit.code for unit in file.units)]))
    yield from _hours_of_units(file.units, known, units)
    yield from _places_and_times(file.routing, known, units)
    yield from _ladder(file, units)
    steps = {name for _, name in texts(one.name for one in file.ladder)} or {"street", "district", "head"}
    yield from policy_faults(file.policies, ("policies",), known, days, steps)
    if file.storm is not None:
        yield from policy_faults(file.storm.policies, ("storm", "policies"), known, days, steps)
        yield from _storm(file)


def _known(at: Location, name: object, known: set[str]) -> Iterator[Wrong]:
    if isinstance(name, str) and name not in known:
        yield Wrong(at, f"no calendar {name!r}{nearest(name, known)}")


def _hours_of_units(
    units: Sequence[UnitEntry], known: set[str], by_code: Mapping[str, UnitEntry]
) -> Iterator[Wrong]:
    stand_ins = {}
    for number, unit in enumerate(units):
        if unit.right("hours"):
            yield from _known(("units", number, "hours"), unit.hours, known)
        other = unit.after_hours
        if other is None or not unit.right("after_hours"):
            continue
        if other not in by_code:
            yield Wrong(("units", number, "after_hours"), f"no unit {other!r}{nearest(other, by_code)}")
        else:
            stand_ins[unit.code] = other
    index = {code: number for number, code in texts(unit.code for unit in units)}
    yield from (
        Wrong(("units", index[circle[0]], "after_hours"), circle_of(circle)) for circle in loops(stand_ins)
    )


def circle_of(circle: Sequence[str]) -> str:
    """A loop of stand-ins in words."""
    return f"a routing loop: {' → '.join(circle)}; outside their hours nobody would take anything"


def _places_and_times(
    rules: Sequence[RuleEntry], known: set[str], units: Mapping[str, UnitEntry]
) -> Iterator[Wrong]:
    for number, rule in enumerate(rules):
        for field in ("during", "outside"):
            if rule.right(field):
                yield from _known(("routing", number, field), getattr(rule, field), known)
        for index, code in texts(rule.place):
            if code not in units:
                yield Wrong(("routing", number, "place", index), f"no unit {code!r}{nearest(code, units)}")


def _ladder(file: DistrictFile, units: Mapping[str, UnitEntry]) -> Iterator[Wrong]:
    names = texts(one.name for one in file.ladder)
    yield from twice((("ladder", number, "name"), name) for number, name in names)
    for number, one in enumerate(file.ladder):
        code = one.unit.removeprefix("unit:") if one.right("unit") else ""
        if code and code != one.unit and code not in units:
            yield Wrong(("ladder", number, "unit"), f"no unit {code!r}{nearest(code, units)}")


def policy_faults(
    policies: Sequence[PolicyEntry],
    at: Location,
    calendars: set[str],
    days: Mapping[str, int],
    steps: set[str],
) -> Iterator[Wrong]:
    """What policies say against each other, against calendars and the ladder.

    Args:
        policies: in order.
        at: where the first of them stands, without its number.
        calendars: the names there are.
        days: the working seconds of a day of each calendar that is right.
        steps: the names of the ladder's steps.
    """
    for number, policy in enumerate(policies):
        if policy.right("hours") and policy.hours != UNIT_HOURS:
            yield from _known((*at, number, "hours"), policy.hours, calendars)
        for index, one in enumerate(policy.escalate):
            if one.right("to") and one.to is not None and one.to not in steps:
                said = f"no step of the ladder is called {one.to!r}{nearest(one.to, steps)}"
                yield Wrong((*at, number, "escalate", index, "to"), said)
        if policy.right(*_STEPS, "hours"):
            for earlier, later in pairwise(_STEPS):
                if _times(policy, days)[earlier] > _times(policy, days)[later]:
                    said = (
                        f"expected {earlier} ≤ {later} under {policy.hours!r}, where a day is a working day"
                    )
                    if getattr(policy, earlier) <= getattr(policy, later):  # else the policy says so itself
                        yield Wrong((*at, number, later), said)
    yield from overlaps(policies, at, days)


def overlaps(policies: Sequence[PolicyEntry], at: Location, days: Mapping[str, int]) -> Iterator[Wrong]:
    """Policies that overlap so that a graver matter gets more time than a lighter one of its category."""
    judged = [
        (number, policy)
        for number, policy in enumerate(policies)
        if policy.right("category", "min_severity", "hours", *_STEPS)
    ]
    told = set()
    for code in BY_CODE:
        chosen = [
            next((one for one in judged if one[1].min_severity <= severity and fits(one[1].category, code)), None)
            for severity in range(1, 5)
        ]  # fmt: skip
        for severity, (light, grave) in enumerate(pairwise(chosen), start=1):
            if light is None or grave is None or light[0] == grave[0]:
                continue
            worse = _slower(light[1], grave[1], days)
            if worse and (light[0], grave[0]) not in told:
                told.add((light[0], grave[0]))
                first, second = sorted((light[0], grave[0]))
                yield Wrong(
                    (*at, second),
                    f"overlaps the one {{other}}: {code} has {worse} at severity {severity + 1} by"
                    f" {grave[1].name!r} than at {severity} by {light[1].name!r}; order them by who is to win",
                    (*at, first),
                )


def _times(policy: PolicyEntry, days: Mapping[str, int]) -> dict[str, int]:
    day_s = days.get(policy.hours or "", 86_400)
    return {step: getattr(policy, step).under(day_s) for step in _STEPS}


def _slower(light: PolicyEntry, grave: PolicyEntry, days: Mapping[str, int]) -> str:
    if grave.hours != light.hours:
        return "" if grave.hours is None else "other hours" if light.hours else "only working hours"
    before, after = _times(light, days), _times(grave, days)
    return next((f"more time to {step}" for step in _STEPS if after[step] > before[step]), "")


def _storm(file: DistrictFile) -> Iterator[Wrong]:
    assert file.storm is not None
    patterns: list[tuple[Location, str]] = [
        (("storm", "categories", index), name) for index, name in texts(file.storm.categories)
    ]
    if file.storm.rule is not None:
        named = texts(file.storm.rule.categories)
        patterns += [(("storm", "rule", "categories", index), name) for index, name in named]
    patterns += [
        (("storm", "policies", index, "category"), name)
        for index, name in texts(policy.category for policy in file.storm.policies)
    ]
    own = texts(policy.name for policy in file.storm.policies)
    yield from twice((("storm", "policies", number, "name"), name) for number, name in own)
    for at, name in patterns:
        if not any(fits(name, code) for code in BY_CODE):
            yield Wrong(at, f"no category is called {name!r}{nearest(name, BY_CODE)}")
    names = {name for _, name in texts(policy.name for policy in file.policies)}
    for number, policy in enumerate(file.storm.policies):
        if policy.name in names:
            yield Wrong(
                ("storm", "policies", number, "name"), f"{policy.name!r} is an ordinary policy's name"
            )
