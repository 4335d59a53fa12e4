"""The configuration of scenes. Coordinates are shares of the picture: 0, 0 is its upper left corner.

They hold for pictures of any size. One outside 0..1 is no fault of the whole box but of its camera alone, which then does
not look; see ``outside``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from common.runtime.config import Settings, Wrong
from common.runtime.settings import Location, one_of
from edge.vision.detections import STREET_LABELS
from models import burning

Point = tuple[float, float]
SceneId = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$")]


def _encloses(points: tuple[Point, ...]) -> tuple[Point, ...]:
    around = zip(points, points[1:] + points[:1], strict=True)
    area = abs(math.fsum(x * next_y - next_x * y for (x, y), (next_x, next_y) in around)) / 2
    if area < 1e-4:
        raise ValueError("expected corners that enclose an area, in order around it")
    return points


def _known(label: str) -> str:
    if label not in STREET_LABELS:
        raise ValueError(one_of(label, STREET_LABELS))
    return label


def _points_somewhere(direction: tuple[float, float]) -> tuple[float, float]:
    if math.hypot(*direction) < 1e-6:
        raise ValueError("expected a direction, got no length")
    return direction


Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=64), AfterValidator(_encloses)]
Labels = Annotated[tuple[Annotated[str, AfterValidator(_known)], ...], Field(min_length=1)]


class ZoneConfig(Settings):
    """A zone that is occupied or crowded: a condition that starts, goes on and ends.

    It starts once at least ``limit`` objects have stood inside for ``enter_s`` and ends once there have
    been fewer for ``exit_s``; while it lasts it is said again every ``update_s``.
    """

    scene: Literal["zone"]
    id: SceneId
    category: Literal["camera.zone_crowded", "camera.zone_occupied"] = "camera.zone_occupied"
    zone: Polygon
    labels: Labels = ("person",)
    limit: Annotated[int, Field(ge=1, le=1000)] = 1
    enter_s: Annotated[float, Field(gt=0, le=3600)] = 3.0
    exit_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    update_s: Annotated[float, Field(ge=1, le=3600)] = 10.0


class WrongWayConfig(Settings):
    """A lane and the way along it: who goes against it is a passing act, said once for each.

    ``direction`` is the way allowed, as a vector in the picture (x to the right, y down, in shares of
    width and height). Going the wrong way means to have moved at least ``least_heights`` times one's own
    height in the picture within the lane, for at least ``least_s``, within ``widest_angle`` degrees of
    the opposite direction.
    """

    scene: Literal["wrong_way"]
    id: SceneId
    category: Literal["camera.wrong_way"] = "camera.wrong_way"
    lane: Polygon
    direction: Annotated[tuple[float, float], AfterValidator(_points_somewhere)]
    labels: Labels = ("person", "bicycle", "motorcycle", "car", "bus", "truck")
    least_heights: Annotated[float, Field(gt=0, le=50)] = 1.0
    least_s: Annotated[float, Field(gt=0, le=9)] = 1.5
    widest_angle: Annotated[float, Field(gt=0, lt=90)] = 45.0


class HelmetConfig(Settings):
    """Riders on two-wheelers who wear no helmet: a passing act, said once for each when he has passed.

    Of each rider the best looks at the head (sharp and large), at most ``most_looks`` and ``apart_s`` apart,
    vote together; fewer than ``least_looks`` say nothing. Whoever has not moved ``least_heights`` times his own
    height in the picture stands and does not ride. A detector takes most e-bikes for motorcycles; with
    ``bicycle`` among the vehicles, those who pedal are counted too.
    """

    scene: Literal["helmet"]
    id: SceneId
    category: Literal["camera.no_helmet"] = "camera.no_helmet"
    zone: Polygon = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    vehicles: Annotated[tuple[Literal["bicycle", "motorcycle"], ...], Field(min_length=1)] = ("motorcycle",)
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "helmet"
    most_looks: Annotated[int, Field(ge=1, le=20)] = 5
    least_looks: Annotated[int, Field(ge=1, le=20)] = 2
    apart_s: Annotated[float, Field(ge=0, le=5)] = 0.15
    least_heights: Annotated[float, Field(ge=0, le=50)] = 0.3

    def cross_faults(self) -> Iterator[Wrong]:
        """As many looks as are asked for can be kept."""
        if self.right("least_looks", "most_looks") and self.least_looks > self.most_looks:
            yield Wrong(
                ("least_looks",), f"expected at most most_looks, {self.most_looks}, got {self.least_looks}"
            )


class GaugeConfig(Settings):
    """A line in the picture along which water rises: a post, a wall, a painted staff; a cell of the map is coarse.

    ``foot`` stands on the ground, ``top`` is ``metres`` above it.
    """

    foot: Point
    top: Point
    metres: Annotated[float, Field(gt=0, le=10)]

    def cross_faults(self) -> Iterator[Wrong]:
        """The line has a length to read."""
        if self.right("foot", "top") and math.dist(self.foot, self.top) < 0.03:
            yield Wrong(("top",), "expected to lie at least 0.03 of the picture from foot")


class WaterConfig(Settings):
    """Water standing on the drivable area ``road``: a condition that starts, goes on and ends.

    Every ``every_s`` the segmenter looks, whether anything moves or not. It starts once ``enter_looks`` looks in a row
    show water on ``start_share`` of the road, or ``start_depth_m`` deep along ``gauge``; it ends once ``exit_looks``
    show less than ``stop_share`` and ``stop_depth_m``; while it lasts it is said again every ``update_s``. A cell
    counts only where it is ``above_dry`` more like water than it usually is: than in the pictures ``dry_pictures`` of
    the dry road, by day, by night and after rain (absolute paths, or relative to where the box was started), and than
    its mean over ``forget_days`` without an alarm. A camera with such pictures may have a lower ``threshold`` than
    the model's own, which has to do on every street without any. ``road_m2`` is the size of the road, if anybody measured it.
    """

    scene: Literal["water"]
    id: SceneId
    category: Literal["camera.standing_water"] = "camera.standing_water"
    road: Polygon
    gauge: GaugeConfig | None = None
    road_m2: Annotated[float, Field(gt=0, le=1e6)] | None = None
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "water"
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    dry_pictures: Annotated[tuple[Path, ...], Field(max_length=50)] = ()
    every_s: Annotated[float, Field(ge=1, le=3600)] = 20.0
    start_share: Annotated[float, Field(gt=0, le=1)] = 0.08
    stop_share: Annotated[float, Field(gt=0, le=1)] = 0.04
    start_depth_m: Annotated[float, Field(gt=0, le=10)] = 0.1
    stop_depth_m: Annotated[float, Field(gt=0, le=10)] = 0.05
    enter_looks: Annotated[int, Field(ge=1, le=100)] = 3
    exit_looks: Annotated[int, Field(ge=1, le=100)] = 5
    update_s: Annotated[float, Field(ge=1, le=86400)] = 300.0
    above_dry: Annotated[float, Field(ge=0, le=1)] = 0.2
    forget_days: Annotated[float, Field(ge=1, le=365)] = 7.0

    def cross_faults(self) -> Iterator[Wrong]:
        """What ends it lies below what starts it."""
        if self.right("start_share", "stop_share") and self.stop_share > self.start_share:
            yield Wrong(
                ("stop_share",), f"expected at most start_share, {self.start_share}, got {self.stop_share}"
            )
        if self.right("start_depth_m", "stop_depth_m") and self.stop_depth_m > self.start_depth_m:
            yield Wrong(
                ("stop_depth_m",),
                f"expected at most start_depth_m, {self.start_depth_m}, got {self.stop_depth_m}",
            )


class FireConfig(Settings):
    """Open fire, or smoke, in ``zone``: a condition that starts, goes on and ends. One scene watches for one of both.

    Every ``every_s`` the segmenter looks, whether anything moves or not. It starts once ``enter_looks`` looks in a row
    show it in the same place on ``start_share`` of the zone, and it lives: from each of them to the next the brightness
    there changes by ``least_stir`` grey levels, or the smoke's area grows ``least_growth`` times; fire has to be brighter
    than what is around it. It ends once ``exit_looks`` looks show less than ``stop_share``; while it lasts it is said
    again every ``update_s``. ``least_growth`` is for smoke alone, and the usual unless given: what only grows, and does
    not flicker, is no open fire. Looks more than three times ``every_s`` apart are not in a row, unless pictures come no
    faster: uploaded ones agree at their own pace, up to one in ten minutes. ``threshold`` is the model's own unless
    given. Leave out of the zone what burns or steams rightly: a chimney, a kitchen's vent.
    """

    scene: Literal["fire"]
    id: SceneId
    category: Literal["camera.fire", "camera.smoke"] = "camera.fire"
    zone: Polygon = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "fire"
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    every_s: Annotated[float, Field(ge=0.5, le=600)] = 2.0
    start_share: Annotated[float, Field(gt=0, le=1)] = burning.START_SHARE
    stop_share: Annotated[float, Field(gt=0, le=1)] = burning.STOP_SHARE
    enter_looks: Annotated[int, Field(ge=2, le=100)] = burning.Rule().looks
    exit_looks: Annotated[int, Field(ge=1, le=1000)] = burning.EXIT_LOOKS
    least_stir: Annotated[float, Field(ge=0, le=255)] = burning.Rule().least_stir
    least_growth: Annotated[float, Field(ge=1, le=100)] | None = None
    update_s: Annotated[float, Field(ge=1, le=86400)] = 60.0

    @property
    def rule(self) -> burning.Rule:
        """When looks agree."""
        growth = burning.LEAST_GROWTH if self.least_growth is None else self.least_growth
        rule = burning.Rule(self.enter_looks, self.least_stir, growth)
        return rule.of_flames() if self.category == "camera.fire" else rule

    def cross_faults(self) -> Iterator[Wrong]:
        """What ends it lies below what starts it, and nothing is asked for that would not count."""
        if (
            self.right("category", "least_growth")
            and self.category == "camera.fire"
            and self.least_growth is not None
        ):
            yield Wrong(
                ("least_growth",),
                f"expected with category camera.smoke alone, got {self.least_growth} with camera.fire: open fire has to "
                "flicker (least_stir) and to outshine what is around it, however it grows",
            )
        if self.right("start_share", "stop_share") and self.stop_share > self.start_share:
            yield Wrong(
                ("stop_share",), f"expected at most start_share, {self.start_share}, got {self.stop_share}"
            )


SceneConfig = Annotated[
    ZoneConfig | WrongWayConfig | HelmetConfig | WaterConfig | FireConfig, Field(discriminator="scene")
]


def outside(scenes: Sequence[object]) -> Iterator[Wrong]:
    """Whatever of a camera's scenes is drawn outside its picture; scenes that are wrong otherwise may be among them."""
    for number, scene in enumerate(scenes):
        for name in ("zone", "lane", "road"):
            corners = getattr(scene, name, ())
            for place, corner in enumerate(corners if isinstance(corners, tuple | list) else ()):
                yield from _beyond(corner, ("scenes", number, name, place))
        if isinstance(gauge := getattr(scene, "gauge", None), GaugeConfig):
            yield from _beyond(gauge.foot, ("scenes", number, "gauge", "foot"))
            yield from _beyond(gauge.top, ("scenes", number, "gauge", "top"))


def _beyond(point: object, at: Location) -> Iterator[Wrong]:
    for axis, share in enumerate(point if isinstance(point, tuple | list) else ()):
        if isinstance(share, float) and math.isfinite(share) and not 0 <= share <= 1:
            size = ("width", "height")[min(axis, 1)]
            said = f"expected a share of the picture's {size}, 0 to 1, got {share:g}"
            yield Wrong((*at, axis), f"{said}{f'; divide pixels by its {size}' if share > 1 else ''}")
