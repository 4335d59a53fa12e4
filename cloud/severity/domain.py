"""What raises a matter's severity: how long, how many, how high, and who is near. Pure.

Rules stand with the gravest first, and the first that fits and raises decides. Everything a rule asks for only grows, so
in whatever order a matter's observations come, the same rules fit in the end; and nothing is ever lowered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cloud.dispatch.domain import fits
from cloud.geometry import distance_m

PlaceKind = Literal["school", "hospital", "care_home", "underpass", "metro", "market"]
#: What a rule may ask for; a rule asks for at least one of them.
ASKED: Final = ("lasts_s", "observations", "devices", "reports", "level")


@dataclass(frozen=True, slots=True)
class VulnerablePlace:
    """Where harm comes sooner: within ``radius_m`` of it (WGS-84), by matters of these categories."""

    kind: PlaceKind
    name_zh: str
    name_en: str
    lon: float
    lat: float
    radius_m: float
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeverityRule:
    """One rule; all that it asks for must be so. None and empty: it does not ask.

    Attributes:
        position: its place in the order, from 1.
        name: what the history calls it.
        category: a code, a beginning with ``*`` after it, or ``*``.
        raise_to: the severity that it raises to.
        lasts_s: it goes on, or went on, for so many seconds.
        observations, devices, reports: at least so many.
        level: the highest value of a reading, in the reading's unit.
        near: a vulnerable place of one of these kinds is near.
    """

    position: int
    name: str
    category: str
    raise_to: int
    lasts_s: int | None = None
    observations: int | None = None
    devices: int | None = None
    reports: int | None = None
    level: float | None = None
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What devices saw of a matter in one incident and under one category.

    Attributes:
        duration_s: from the first capture to the last.
        devices: who.
        level: the highest value, in ``unit``; None where nothing is measured.
    """

    category: str
    duration_s: float
    observations: int
    devices: frozenset[int]
    level: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a matter.

    Attributes:
        category: of its ticket; reports are told under it.
        seen: what devices saw.
        reports: how many people told of it.
        places: the vulnerable places that it lies at, each with its distance in metres.
    """

    category: str
    seen: tuple[Seen, ...] = ()
    reports: int = 0
    places: tuple[tuple[VulnerablePlace, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Raised:
    """By which rule a severity rises, and what it went by."""

    rule: SeverityRule
    facts: Mapping[str, Any]

    def told(self, before: int) -> dict[str, Any]:
        """As the history says it."""
        told = {"from": before, "to": self.rule.raise_to}
        return told | {"because": "rule", "rule": self.rule.name, "facts": dict(self.facts)}


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that was tried, and why it does not fit; empty: it does."""

    rule: SeverityRule
    wrong: str


def places_near(
    places: Iterable[VulnerablePlace], categories: Iterable[str], lon: float, lat: float
) -> tuple[tuple[VulnerablePlace, float], ...]:
    """The vulnerable places that a matter at a point lies at, the nearest first, each with its distance in metres."""
    codes = set(categories)
    measured = [
        (place, distance_m(lon, lat, place.lon, place.lat))
        for place in places
        if any(fits(pattern, code) for pattern in place.categories for code in codes)
    ]
    near = [one for one in measured if one[1] <= one[0].radius_m]
    return tuple(sorted(near, key=lambda one: (one[1], one[0].name_zh)))


def decide(rules: Sequence[SeverityRule], facts: Facts, severity: int) -> Raised | None:
    """The first rule that fits and raises above where the matter stands; None: it stays."""
    for rule in rules:
        if rule.raise_to > severity and not why_not(rule, facts):
            return Raised(rule, dict(_reached(rule, facts)))
    return None


def trace(rules: Sequence[SeverityRule], facts: Facts) -> list[Step]:
    """Every rule, with why it does not fit."""
    return [Step(rule, why_not(rule, facts)) for rule in rules]


def why_not(rule: SeverityRule, facts: Facts) -> str:
    """Why a rule does not fit; empty when it does."""
    codes = {facts.category, *(one.category for one in facts.seen)}
    if not any(fits(rule.category, code) for code in codes):
        return f"it is for {rule.category}"
    known = measured(facts, rule.category)
    for name in ASKED:
        wanted, found = getattr(rule, name), known[name]
        if wanted is not None and (found is None or found < wanted):
            return f"it asks for {name} of {wanted:g}, known is {'none' if found is None else f'{found:g}'}"
    if rule.near and not any(place.kind in rule.near for place, _ in facts.places):
        return f"it asks for {' or '.join(rule.near)} near, and there is none"
    return ""


def measured(facts: Facts, pattern: str) -> dict[str, float | None]:
    """What is known of the part of a matter that a pattern covers, by what a rule may ask for."""
    seen = [one for one in facts.seen if fits(pattern, one.category)]
    return {
        "lasts_s": max((one.duration_s for one in seen), default=0.0),
        "observations": sum(one.observations for one in seen),
        "devices": len(frozenset[int]().union(*(one.devices for one in seen))),
        "reports": facts.reports if fits(pattern, facts.category) else 0,
        "level": max((one.level for one in seen if one.level is not None), default=None),
    }


def _reached(rule: SeverityRule, facts: Facts) -> Iterator[tuple[str, Any]]:
    """What the history says of a rule that fits: only what the rule asks for."""
    known = measured(facts, rule.category)
    for name in ASKED:
        if getattr(rule, name) is not None:
            value = known[name]
            yield name, round(value) if name == "lasts_s" and value is not None else value
    if rule.level is not None:
        units = [one.unit for one in facts.seen if one.level is not None and one.level == known["level"]]
        yield "unit", min(units, default="")
    if rule.near:
        place, away = next(one for one in facts.places if one[0].kind in rule.near)
        yield (
            "near",
            {"kind": place.kind, "name_zh": place.name_zh, "name_en": place.name_en, "metres": round(away)},
        )


def asks_less(early: SeverityRule, late: SeverityRule) -> bool:
    """Whether a rule fits wherever a later one of narrower or equal category does."""
    for name in ASKED:
        wanted, other = getattr(early, name), getattr(late, name)
        if wanted is not None and (other is None or other < wanted):
            return False
    return not early.near or (bool(late.near) and set(late.near) <= set(early.near))
