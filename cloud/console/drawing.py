"""The district as a drawing: WGS-84 degrees to the units of an SVG. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloud.district import geometry
from cloud.district.domain import MapFeature, Unit
from cloud.district.geometry import Point, Ring

WIDTH = 1000.0
_MARGIN = 16.0
#: Half of a name with its count below, and half of a marker beside it.
_LABEL = (105.0, 52.0)
#: Where nothing is drawn yet: about a city block around nowhere, so that the page still stands.
_EMPTY: Ring = ((119.0, 26.0), (119.01, 26.01))


@dataclass(frozen=True, slots=True)
class Projection:
    """Degrees to drawing units; east-west is shortened by the latitude, so shapes keep their looks."""

    west: float
    north: float
    scale_x: float
    scale_y: float
    height: float

    @classmethod
    def around(cls, places: Iterable[Point]) -> Projection:
        """One that shows all of these."""
        west, south, east, north = geometry.box(list(places) or _EMPTY)
        shrink = math.cos(math.radians((south + north) / 2))
        span = max((east - west) * shrink, 1e-6)
        scale = (WIDTH - 2 * _MARGIN) / span
        return cls(west, north, scale * shrink, scale, (north - south) * scale + 2 * _MARGIN)

    def at(self, lon: float, lat: float) -> Point:
        """A place in the drawing, to a tenth of a unit."""
        return (
            round((lon - self.west) * self.scale_x + _MARGIN, 1),
            round((self.north - lat) * self.scale_y + _MARGIN, 1),
        )

    def path(self, ring: Sequence[Point], *, closed: bool = True) -> str:
        """The ``d`` of a path."""
        corners = (self.at(lon, lat) for lon, lat in ring)
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in corners) + ("Z" if closed else "")


@dataclass(frozen=True, slots=True)
class Shape:
    """A unit as drawn: its outline and where its name stands."""

    unit: Unit
    path: str
    x: float
    y: float
    tint: int


@dataclass(frozen=True, slots=True)
class DrawnFeature:
    """A river, a road or a park as drawn."""

    feature: MapFeature
    path: str


@dataclass(frozen=True, slots=True)
class DistrictDrawing:
    """What of the map does not move."""

    projection: Projection
    streets: tuple[Shape, ...]
    communities: tuple[Shape, ...]
    grids: tuple[Shape, ...]
    features: tuple[DrawnFeature, ...]

    @property
    def view_box(self) -> str:
        """For the SVG."""
        return f"0 0 {WIDTH:g} {self.projection.height:.0f}"


def draw(units: Sequence[Unit], features: Sequence[MapFeature]) -> DistrictDrawing:
    """The drawing of a district; each street has its own tint."""
    projection = Projection.around(place for unit in units for place in unit.area or ())
    parents = {unit.unit_code: unit.parent_code for unit in units}
    streets = [unit.unit_code for unit in units if unit.kind == "street"]

    def shapes(kind: str) -> tuple[Shape, ...]:
        drawn = []
        for unit in units:
            if unit.kind == kind and unit.area:
                x, y = projection.at(*geometry.centroid(unit.area))
                tint = _street_index(unit.unit_code, parents, streets)
                drawn.append(Shape(unit, projection.path(unit.area), x, y, tint))
        return tuple(drawn)

    return DistrictDrawing(
        projection,
        shapes("street"),
        shapes("community"),
        shapes("grid"),
        tuple(_feature(one, projection) for one in features if one.points),
    )


def _street_index(code: str, parents: Mapping[str, str | None], streets: Sequence[str]) -> int:
    above: str | None = code
    while above is not None and above not in streets:
        above = parents.get(above)
    return streets.index(above) % 4 if above is not None else 0


def _feature(feature: MapFeature, projection: Projection) -> DrawnFeature:
    return DrawnFeature(feature, projection.path(feature.points, closed=feature.kind == "park"))


@dataclass(frozen=True, slots=True)
class Label:
    """Where a unit's name stands."""

    unit: Unit
    x: float
    y: float


def place_labels(drawing: DistrictDrawing, obstacles: Sequence[Point]) -> list[Label]:
    """The communities' names, away from what must not be hidden (devices, where tickets come up).

    In the middle of the community if nothing is there, else in the freest of its grids.
    """
    labels = []
    for community in drawing.communities:
        places = [(community.x, community.y)]
        places += [
            (grid.x, grid.y) for grid in drawing.grids if grid.unit.parent_code == community.unit.unit_code
        ]
        x, y = max(places, key=lambda place: (min(_room(place, obstacles), 1.0), place == places[0]))
        labels.append(Label(community.unit, x, y))
    return labels


def _room(place: Point, obstacles: Sequence[Point]) -> float:
    """How far the nearest obstacle is, in sizes of a label."""
    x, y = place
    return min(
        (
            max(abs(x - other_x) / _LABEL[0], abs(y + 13 - other_y) / _LABEL[1])
            for other_x, other_y in obstacles
        ),
        default=math.inf,
    )


def spread(places: Sequence[Point], distance: float) -> list[Point]:
    """Markers moved apart where several stand in one place: around it, the first in its middle.

    Args:
        places: where they belong, in drawing units.
        distance: between neighbours.
    """
    seen: Counter[tuple[int, int]] = Counter()
    moved = []
    for x, y in places:
        cell = (round(x / distance), round(y / distance))
        out, angle = _honeycomb(seen[cell])
        seen[cell] += 1
        moved.append(
            (round(x + out * distance * math.cos(angle), 1), round(y + out * distance * math.sin(angle), 1))
        )
    return moved


def _honeycomb(count: int) -> tuple[int, float]:
    """Which ring around the middle the next marker stands in, and at which angle; ring n holds 6 n."""
    ring = math.ceil((math.sqrt(1 + 4 * count / 3) - 1) / 2)
    if ring == 0:
        return 0, 0.0
    return ring, 2 * math.pi * (count - 3 * ring * (ring - 1) - 1) / (6 * ring)
