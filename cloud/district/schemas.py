"""A district's file: units, routing, policies and what is drawn on its map."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from cloud.district.domain import MapFeature, UnitKind
from cloud.district.geometry import Ring
from common.runtime.config import Settings, Wrong

UnitCode = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
Name = Annotated[str, Field(min_length=1, max_length=60)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Pattern = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?)$")]
Severity = Annotated[int, Field(ge=1, le=4)]

_PART = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(value: object) -> object:
    """``45s``, ``15m``, ``4h``, ``3d``, ``1h30m`` as seconds."""
    if not isinstance(value, str) or not re.fullmatch(r"(\d{1,6}[smhd])+", value):
        raise ValueError("expected a time such as 45s, 15m, 4h, 3d or 1h30m")
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(value))


Duration = Annotated[int, BeforeValidator(_seconds), Field(gt=0, le=366 * 86_400)]


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


class PolicyEntry(Settings):
    """How soon a matter is acknowledged, reached and resolved, counted from its opening."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
    category: Pattern
    min_severity: Severity = 1
    acknowledge: Duration
    arrive: Duration
    resolve: Duration

    def cross_faults(self) -> Iterator[Wrong]:
        """Each clock runs at least as long as the one before it."""
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


class DistrictFile(Settings):
    """The whole file."""

    units: Annotated[list[UnitEntry], Field(min_length=1)]
    routing: Annotated[list[RuleEntry], Field(min_length=1)]
    policies: Annotated[list[PolicyEntry], Field(min_length=1)]
    features: Annotated[list[FeatureEntry], Field(default_factory=list)]
