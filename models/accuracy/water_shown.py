"""What the water model is asked about: held-out roads, flooded and dry in every weather, and dry footage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.flames import read_scenes
from models.data.riders import held_out_groups
from models.data.roads import frames_of, read_roads
from models.data.water import Weather, composed
from models.data.water_split import HEIGHT, WIDTH, Background, small_pictures
from models.data.water_views import HEIGHT as VIEW_HEIGHT
from models.data.water_views import WIDTH as VIEW_WIDTH
from models.data.water_views import by_another_camera, cells, seen_elsewhere

ROADS: Final = Path("helmet-riders")
OTHERS: Final = Path("fire-smoke")
SEGMENTER: Final = Path("../models/road_seg_adas_0001.onnx")
_SEED: Final = 5
#: Videos, and how many frames lie between two that are looked at.
_VIDEOS: Final = (
    ("video/vtest.avi", 40),
    ("video/bikes.mp4", 10),
    ("video/intel/car-detection.mp4", 25),
    ("video/intel/one-by-one-person-detection.mp4", 50),
    ("video/intel/person-bicycle-car-detection.gif", 25),
    ("video/furg-fire", 60),
)
#: What is composed onto each held-out road: with water, and without.
_FLOODS: Final = (
    Weather(flood=True),
    Weather(flood=True, wet=True, rain=True),
    Weather(flood=True, night=True, wet=True),
    Weather(flood=True, night=True, wet=True, rain=True, patches=True),
)
_SHOWN_DRY: Final = (
    Weather(),
    Weather(wet=True),
    Weather(night=True),
    Weather(night=True, wet=True),
)
"""In what weather a camera is shown its road."""
_DRY: Final = (
    Weather(),
    Weather(wet=True, rain=True),
    Weather(shade=True, patches=True),
    Weather(night=True),
    Weather(night=True, wet=True),
    Weather(night=True, wet=True, rain=True),
    Weather(wet=True, glare=True),
    Weather(snow=True),
)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One picture that the model is asked about.

    Attributes:
        picture: uint8 BGR.
        water: share of each cell that is water.
        ground: cells of the drivable area; all of them where nobody knows it.
        group: of its background.
        kind: in which row of the report it counts.
        dry: pictures of the same place while it was dry, as a camera is shown them; empty where there are none.
    """

    picture: NDArray[np.uint8]
    water: NDArray[np.float32]
    ground: NDArray[np.bool_]
    group: str
    kind: str
    dry: tuple[NDArray[np.uint8], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A held-out road as one camera hangs before it: one part of the picture, one sensor, dry pictures of it."""

    view: NDArray[np.uint8]
    road: NDArray[np.bool_]
    group: str
    camera: int
    dry: tuple[NDArray[np.uint8], ...]

    def composed(self, weather: Weather, rng: np.random.Generator, kind: str) -> Shown:
        """The place in that weather, flooded if it says so."""
        picture, water = composed(self.view, self.road, rng, weather)
        picture = by_another_camera(picture, np.random.default_rng(self.camera))
        return Shown(picture, cells(water), self.ground, self.group, kind, self.dry)

    @property
    def ground(self) -> NDArray[np.bool_]:
        """Cells of the drivable area."""
        return cells(self.road) > 0.5


def places(roads: Sequence[Background]) -> list[Place]:
    """Each road behind a camera, which is shown the road dry: by day, wet, by night, and wet by night."""
    rng = np.random.default_rng(_SEED)
    hung = []
    for number, one in enumerate(roads):
        view, road = seen_elsewhere(one.road.picture, one.road.road, rng)
        bare = Place(view, road, one.group, number, ())
        dry = tuple(bare.composed(weather, rng, "").picture for weather in _SHOWN_DRY)
        hung.append(replace(bare, dry=dry))
    return hung


def flooded(hung: Sequence[Place]) -> Iterator[Shown]:
    """Held-out roads under composed water, each by day and by night, dry and wet around it."""
    rng = np.random.default_rng(_SEED + 3)
    for place in hung:
        for weather in _FLOODS:
            shown = place.composed(weather, rng, "flood by night" if weather.night else "flood by day")
            if shown.water.max() > 0.5:
                yield shown


def dressed(hung: Sequence[Place]) -> Iterator[Shown]:
    """Held-out roads without water in every weather; the first of each as the camera saw it."""
    rng = np.random.default_rng(_SEED + 1)
    for place in hung:
        for weather in _DRY:
            night = "composed night" if weather.night else "composed day"
            yield place.composed(weather, rng, f"{night}, wet" if weather.wet else f"{night}, dry")
        yield Shown(place.view, _nothing(), place.ground, place.group, "held-out roads as they are")


def footage(data: Path) -> Iterator[Shown]:
    """Frames of every video and photo at hand that shows no standing water, and the same at night.

    Of a video the first frame, as it is and at night, is what the camera is shown; the others are asked about.
    """
    rng = np.random.default_rng(_SEED + 2)
    everywhere = np.ones(cells(np.zeros((1, 1), np.bool_)).shape, np.bool_)
    for name, every in _VIDEOS:
        path = data / name
        for file in sorted(path.glob("*.mp4")) if path.is_dir() else [path]:
            first, *others = frames_of(file, every)
            dry = (first, _darkened(first, rng))
            for frame in others:
                yield Shown(frame, _nothing(), everywhere, name, name, dry)
                yield Shown(_darkened(frame, rng), _nothing(), everywhere, name, f"{name}, darkened", dry)
    for picture in small_pictures(judged_others(data / OTHERS)):
        yield Shown(picture, _nothing(), everywhere, OTHERS.name, "fire-smoke, held-out videos")
    photos = sorted((data / "photos" / "coco100").glob("*.jpg"))
    # A photo may show the sea: only its roads are known to be dry.
    for road in read_roads(photos, data / SEGMENTER, WIDTH, HEIGHT):
        yield Shown(road.picture, _nothing(), cells(road.road) > 0.5, road.name, "coco100, roads")


def judged_others(data: Path) -> list[Path]:
    """Frames of fires that no training of this model sees: whole videos."""
    scenes = read_scenes(data)
    held_out = held_out_groups((scene.group for scene in scenes), 0.3, 7)
    return [scene.picture for scene in scenes if scene.group in held_out][::3]


def _darkened(frame: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    small = np.asarray(cv2.resize(frame, (VIEW_WIDTH, VIEW_HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
    nowhere = np.zeros(small.shape[:2], np.bool_)
    return composed(small, nowhere, rng, Weather(night=True, rain=bool(rng.random() < 0.5)))[0]


def _nothing() -> NDArray[np.float32]:
    return np.zeros_like(cells(np.zeros((1, 1), np.bool_)))
