"""What a district's file says of matters: what is one, how grave it is, and where acts keep happening."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, get_args

from pydantic import Field

from cloud.calendar.schemas import CalendarEntry, HoursOfDay, Weekday
from cloud.district.fields import Duration, Latitude, Longitude, Name, Pattern, Span, UnitCode
from cloud.incidents.domain import Family
from cloud.recurring.domain import Band, RecurringRule, Stretch
from cloud.severity.domain import ASKED, PlaceKind, SeverityRule, VulnerablePlace
from common.runtime.config import Settings, Wrong
from common.runtime.settings import one_of, texts, twice

RuleName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}$", max_length=64)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_EVERY_DAY: list[Weekday] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_IN_FILE = {"lasts_s": "lasts"}


class FamilyEntry(Settings):
    """Categories that tell of one matter where they are near each other in place and time."""

    name: RuleName
    categories: Annotated[
        list[Code], Field(min_length=2, max_length=10, description="the leading one, which names it, first")
    ]
    radius_m: Annotated[float, Field(gt=0, le=5000)] = 50.0
    rejoin: Annotated[Duration, Field(description="what comes back within this time is the same incident")]
    stale: Annotated[Duration, Field(description="what was over longer ago opens no ticket")] = Span(3600)

    def cross_faults(self) -> Iterator[Wrong]:
        """Each category once."""
        yield from twice((("categories", number), code) for number, code in texts(self.categories))

    def family(self) -> Family:
        """As fusion takes it."""
        return Family(self.name, tuple(self.categories), self.radius_m, float(self.rejoin), float(self.stale))


class VulnerableEntry(Settings):
    """A school, a hospital, an underpass, a metro entrance: where harm comes sooner."""

    name_zh: Name
    name_en: Name
    kind: PlaceKind
    lon: Longitude
    lat: Latitude
    radius_m: Annotated[float, Field(gt=0, le=5000)] = 100.0
    categories: Annotated[list[Pattern], Field(min_length=1, description="by which matters")]

    def place(self) -> VulnerablePlace:
        """As the rules take it."""
        return VulnerablePlace(
            self.kind, self.name_zh, self.name_en, self.lon, self.lat, self.radius_m, tuple(self.categories)
        )


class SeverityEntry(Settings):
    """What raises a matter; all that it asks for must be so."""

    name: RuleName
    category: Pattern
    raise_to: Annotated[int, Field(ge=2, le=4)]
    lasts: Annotated[Duration | None, Field(description="it goes on for so long")] = None
    observations: Annotated[_Count | None, Field(description="so many observations of it")] = None
    devices: Annotated[_Count | None, Field(description="so many devices see it")] = None
    reports: Annotated[_Count | None, Field(description="so many people tell of it")] = None
    level: Annotated[float | None, Field(description="a value reaches this, in the unit of the reading")] = (
        None
    )
    near: Annotated[
        tuple[str, ...], Field(description="a vulnerable place of one of these kinds is near")
    ] = ()

    def cross_faults(self) -> Iterator[Wrong]:
        """It asks for something, of kinds that there are."""
        kinds = get_args(PlaceKind)
        for number, kind in texts(self.near):
            if kind not in kinds:
                yield Wrong(("near", number), one_of(kind, kinds))
        asked = [_IN_FILE.get(name, name) for name in ASKED]
        if (
            self.right(*asked, "near")
            and not self.near
            and all(getattr(self, name) is None for name in asked)
        ):
            yield Wrong((), f"asks for nothing: expected one of {', '.join(asked)}, near")

    def rule(self, position: int) -> SeverityRule:
        """As the domain takes it."""
        return SeverityRule(
            position,
            self.name,
            self.category,
            self.raise_to,
            None if self.lasts is None else int(self.lasts),
            self.observations,
            self.devices,
            self.reports,
            self.level,
            self.near,
        )


class BandEntry(Settings):
    """Hours of the day that are compared with each other, such as the morning's rush."""

    name: RuleName
    name_zh: Name
    name_en: Name
    days: Annotated[
        list[Weekday], Field(default_factory=lambda: list(_EVERY_DAY), min_length=1, max_length=7)
    ]
    hours: Annotated[list[HoursOfDay], Field(min_length=1, max_length=8)]

    def cross_faults(self) -> Iterator[Wrong]:
        """Hours in order and apart, each day once; "day" is the whole one."""
        if self.right("hours"):
            for number, (one, other) in enumerate(pairwise(self.hours), start=1):
                if other.split("-")[0] <= one.split("-")[1]:
                    yield Wrong(("hours", number), f"expected hours in order and apart, got {one} before it")
        if self.right("days") and len(set(self.days)) < len(self.days):
            yield Wrong(("days",), "expected each day once")
        if self.name == "day":
            yield Wrong(("name",), "'day' stands for the whole day; choose another name")

    def band(self) -> Band:
        """As the domain takes it."""
        calendar = CalendarEntry(name=self.name, days=self.days, hours=self.hours, holidays=False).calendar()
        return Band(self.name, self.name_zh, self.name_en, tuple(sorted(calendar.days)), calendar.hours)


class StretchEntry(Settings):
    """A part of a road; a camera that no stretch takes is one of its own."""

    code: UnitCode
    name_zh: Name
    name_en: Name
    points: Annotated[
        list[tuple[Longitude, Latitude]],
        Field(default_factory=list, max_length=1000, description="its line; cameras near it watch it"),
    ]
    within_m: Annotated[float, Field(gt=0, le=1000)] = 60.0
    cameras: Annotated[
        list[str], Field(default_factory=list, max_length=200, description="site/device, wherever they stand")
    ]

    def cross_faults(self) -> Iterator[Wrong]:
        """It has a line or cameras."""
        if self.right("points", "cameras") and not self.points and not self.cameras:
            yield Wrong((), "expected points or cameras, or nothing watches it")

    def stretch(self) -> Stretch:
        """As the domain takes it."""
        return Stretch(
            self.code, self.name_zh, self.name_en, tuple(self.points), self.within_m, tuple(self.cameras)
        )


class RecurringEntry(Settings):
    """From which rate on a stretch is a recurring place, and how it is measured again."""

    category: Code
    bands: Annotated[
        list[RuleName],
        Field(default_factory=list, max_length=24, description="each for itself; none: all day"),
    ]
    per_hour: Annotated[float, Field(gt=0, le=100_000, description="acts in an hour that one camera looked")]
    over: Annotated[Duration, Field(description="counted over so long")] = Span(7 * 86_400)
    least_acts: Annotated[int, Field(ge=1, le=1_000_000, description="fewer say nothing")] = 20
    least_looked: Annotated[Duration, Field(description="a rate of less is none")] = Span(2 * 3600)
    verify_looked: Annotated[
        Duration, Field(description="so much must be looked after a claim, in the same band")
    ] = Span(4 * 3600)
    verify_within: Annotated[Duration, Field(description="and in so long, or else a person must")] = Span(
        14 * 86_400
    )

    def rule(self) -> RecurringRule:
        """As the domain takes it."""
        return RecurringRule(
            self.category,
            tuple(self.bands),
            self.per_hour,
            int(self.over),
            self.least_acts,
            int(self.least_looked),
            int(self.verify_looked),
            int(self.verify_within),
        )
