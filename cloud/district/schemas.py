"""A district's file: units, routing, policies and what is drawn on its map."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from cloud.calendar.schemas import CalendarEntry, CalendarName
from cloud.district.domain import MapFeature, UnitKind
from cloud.district.fields import (
    Duration,
    Latitude,
    LevelName,
    Longitude,
    Name,
    Pattern,
    Severity,
    UnitCode,
)
from cloud.district.geometry import Ring
from cloud.district.matters import (
    BandEntry,
    FamilyEntry,
    RecurringEntry,
    SeverityEntry,
    StretchEntry,
    VulnerableEntry,
)
from cloud.duty.domain import MAIL_ADDRESS
from common.runtime.config import Settings, Wrong
from common.runtime.settings import texts, twice


class UnitEntry(Settings):
    """One unit; ``area`` is its corners, longitude and latitude in WGS-84 degrees."""

    code: UnitCode
    kind: UnitKind
    parent: UnitCode | None = None
    name_zh: Name
    name_en: Name
    area: Annotated[list[tuple[Longitude, Latitude]], Field(min_length=3, max_length=5000)] | None = None
    lead: Annotated[str, Field(max_length=60)] = ""
    phone: Annotated[str, Field(max_length=40)] = ""
    email: Annotated[str, Field(pattern=MAIL_ADDRESS, max_length=254)] = ""
    hours: Annotated[CalendarName | None, Field(description="the calendar of its working hours")] = None
    after_hours: Annotated[UnitCode | None, Field(description="who stands in for it outside them")] = None
    duty: Annotated[bool, Field(description="somebody must always be on duty")] = False

    def cross_faults(self) -> Iterator[Wrong]:
        """Who stands in outside the hours needs hours."""
        if self.after_hours is not None and self.hours is None and self.right("hours", "after_hours"):
            yield Wrong(("after_hours",), "expected hours as well: it is outside them that another stands in")

    @property
    def ring(self) -> Ring | None:
        """Its area as the geometry takes it."""
        return tuple(self.area) if self.area is not None else None


class RuleEntry(Settings):
    """Who owns a kind of matter, and whom it calls at once."""

    category: Pattern
    min_severity: Severity = 1
    target: Annotated[str, Field(pattern=r"^(department:[a-z0-9-]+|level:(centre|street|community|grid))$")]
    call: Annotated[list[UnitCode], Field(default_factory=list)]
    place: Annotated[tuple[UnitCode, ...], Field(description="only in these units")] = ()
    during: Annotated[CalendarName | None, Field(description="only in the hours of this calendar")] = None
    outside: Annotated[CalendarName | None, Field(description="only outside them")] = None

    def cross_faults(self) -> Iterator[Wrong]:
        """Within one calendar's hours or outside them, not both."""
        if self.during is not None and self.during == self.outside:
            yield Wrong(("outside",), f"never: within and outside the hours of {self.during!r}")


class EscalateEntry(Settings):
    """What a missed clock leads to."""

    clock: Literal["assign", "ack", "arrive", "resolve"]
    to: Annotated[LevelName | None, Field(description="a step of the ladder; none: the next one up")] = None
    after: Annotated[Duration | None, Field(description="so long after it was missed; none: at once")] = None
    again: Annotated[Duration | None, Field(description="and one step more each time so much later")] = None


class PolicyEntry(Settings):
    """How soon a matter is acknowledged, reached and resolved, counted from its opening."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
    category: Pattern
    min_severity: Severity = 1
    acknowledge: Duration
    arrive: Duration
    resolve: Duration
    hours: Annotated[
        CalendarName | None,
        Field(description="in whose working time they run, a day being its working day; unit: the owner's"),
    ] = None
    escalate: Annotated[list[EscalateEntry], Field(default_factory=list, max_length=4)]

    def cross_faults(self) -> Iterator[Wrong]:
        """Each clock runs at least as long as the one before it, and leads to one thing when it is missed."""
        yield from twice(
            (("escalate", number, "clock"), name)
            for number, name in texts(one.clock for one in self.escalate)
        )
        steps = ("acknowledge", "arrive", "resolve")
        for earlier, later in pairwise(step for step in steps if self.right(step)):
            if getattr(self, earlier) > getattr(self, later):
                yield Wrong((later,), f"expected acknowledge ≤ arrive ≤ resolve, got less than {earlier}")


class FeatureEntry(Settings):
    """A river, a road (lines) or a park (an area)."""

    kind: Literal["river", "road", "park"]
    name_zh: Name
    name_en: Name
    points: Annotated[list[tuple[Longitude, Latitude]], Field(min_length=2, max_length=5000)]

    def feature(self) -> MapFeature:
        """As the map takes it."""
        return MapFeature(self.kind, self.name_zh, self.name_en, tuple(self.points))


class LadderEntry(Settings):
    """A step of escalation, from the lowest up; the owner stands below the first."""

    name: LevelName
    name_zh: Name
    name_en: Name
    unit: Annotated[
        str, Field(pattern=r"^(unit:[a-z0-9-]+|level:(centre|street|community))$", description="who takes it")
    ]
    lead: Annotated[bool, Field(description="its lead in person, not whoever is on duty")] = False


class StormRule(Settings):
    """When a storm begins by itself, and ends."""

    categories: Annotated[list[Pattern], Field(min_length=1)]
    incidents: Annotated[int, Field(ge=1, le=10_000, description="so many in one area")]
    within: Duration
    area: Literal["centre", "street", "community"] = "centre"
    quiet: Annotated[Duration, Field(description="and none of them for so long ends it")]


class StormEntry(Settings):
    """What a storm does: policies that are tried first, and a severity below which nothing of it stays."""

    categories: Annotated[list[Pattern], Field(min_length=1, description="whose open tickets are raised")]
    raise_to: Severity = 3
    policies: Annotated[list[PolicyEntry], Field(default_factory=list)]
    rule: Annotated[StormRule | None, Field(description="none: by hand only")] = None


class PolicyBook(Settings):
    """The policies in force: the first that fits, and those of storms before them."""

    policies: Annotated[list[PolicyEntry], Field(min_length=1, max_length=500)]
    storm: StormEntry | None = None


class StandInEntry(Settings):
    """Outside a unit's hours another one takes what comes."""

    unit_code: UnitCode
    hours: CalendarName
    after_hours: UnitCode


class RoutingBook(Settings):
    """The rules in force, in order, and who stands in for whom."""

    rules: Annotated[list[RuleEntry], Field(min_length=1, max_length=1000)]
    stand_ins: Annotated[list[StandInEntry], Field(default_factory=list, max_length=2000)]

    def cross_faults(self) -> Iterator[Wrong]:
        """One stands in for a unit."""
        codes = texts(entry.unit_code for entry in self.stand_ins)
        yield from twice((("stand_ins", number, "unit_code"), code) for number, code in codes)


class DistrictFile(Settings):
    """The whole file."""

    units: Annotated[list[UnitEntry], Field(min_length=1)]
    routing: Annotated[list[RuleEntry], Field(min_length=1)]
    policies: Annotated[list[PolicyEntry], Field(min_length=1)]
    features: Annotated[list[FeatureEntry], Field(default_factory=list)]
    calendars: Annotated[list[CalendarEntry], Field(default_factory=list)]
    ladder: Annotated[list[LadderEntry], Field(default_factory=list, max_length=9)]
    storm: StormEntry | None = None
    fusion: Annotated[
        list[FamilyEntry],
        Field(default_factory=list, max_length=50, description="categories that make one matter"),
    ]
    severity: Annotated[
        list[SeverityEntry], Field(default_factory=list, max_length=200, description="the gravest first")
    ]
    vulnerable: Annotated[list[VulnerableEntry], Field(default_factory=list, max_length=5000)]
    bands: Annotated[list[BandEntry], Field(default_factory=list, max_length=24)]
    stretches: Annotated[list[StretchEntry], Field(default_factory=list, max_length=2000)]
    recurring: Annotated[list[RecurringEntry], Field(default_factory=list, max_length=50)]
