"""The water model on compositions over roads it never saw, and on everything dry that is at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.accuracy.figures import Figure, bootstrapped
from models.data.flames import read_scenes
from models.data.riders import held_out_groups
from models.data.roads import frames_of, read_roads
from models.data.water import Weather, composed
from models.data.water_split import HEIGHT, WIDTH, Background, roads_of, small_pictures
from models.data.water_views import by_another_camera, cells, seen_elsewhere
from models.manifest import WaterManifest
from models.store import open_as
from models.water import WaterSegmenter

NAME: Final = "water"
DATA: Final = Path("data")
"""Below the directory of shared data; the road segmenter stands beside it."""
ROADS: Final = Path("helmet-riders")
OTHERS: Final = Path("fire-smoke")
SEGMENTER: Final = Path("../models/road_seg_adas_0001.onnx")
ALARM: Final = 0.08
"""Share of the drivable area in one single look that counts as a false alarm here: what starts a condition, but
without the camera's dry reference and without waiting for a second look to agree."""
_LEAST_IOU: Final = 0.6
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
    """

    picture: NDArray[np.uint8]
    water: NDArray[np.float32]
    ground: NDArray[np.bool_]
    group: str
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Pictures with what the model made of them: maps of probabilities, stacked."""

    shown: list[Shown]
    probability: NDArray[np.float32]

    def of(self, *kinds: str) -> Answered:
        """Those of some kinds."""
        kept = [place for place, one in enumerate(self.shown) if one.kind in kinds]
        return Answered([self.shown[place] for place in kept], self.probability[kept])

    def shares(self, threshold: float) -> NDArray[np.float64]:
        """By picture, the share of the drivable area that is called water."""
        called = self.probability >= threshold
        return np.array(
            [
                float(mask[one.ground].mean()) if one.ground.any() else 0.0
                for mask, one in zip(called, self.shown, strict=True)
            ]
        )

    def overlap(self, threshold: float, rounds: int = 1000) -> Figure:
        """Intersection over union of all water cells together, with its interval by group."""
        called = self.probability >= threshold
        meant = np.stack([one.water for one in self.shown]) > 0.5
        both = (called & meant).sum((1, 2)).astype(np.float64)
        either = (called | meant).sum((1, 2)).astype(np.float64)

        def measure(at: NDArray[np.intp]) -> float:
            return float(both[at].sum() / either[at].sum()) if either[at].sum() else float("nan")

        return bootstrapped([one.group for one in self.shown], measure, rounds)


def ask(shown: Sequence[Shown], segmenter: WaterSegmenter) -> Answered:
    """Ask the model about every picture."""
    return Answered(list(shown), np.stack([segmenter.probability(one.picture) for one in shown]))


def flooded(roads: Sequence[Background]) -> Iterator[Shown]:
    """Held-out roads under composed water, each by day and by night, dry and wet around it."""
    rng = np.random.default_rng(_SEED)
    for one in roads:
        for weather in _FLOODS:
            shown = _composed(one, weather, rng, "flood by night" if weather.night else "flood by day")
            if shown.water.max() > 0.5:
                yield shown


def dressed(roads: Sequence[Background]) -> Iterator[Shown]:
    """Held-out roads without water in every weather; the first of each as the camera saw it."""
    rng = np.random.default_rng(_SEED + 1)
    for one in roads:
        for weather in _DRY:
            night = "composed night" if weather.night else "composed day"
            kind = f"{night}, wet" if weather.wet else f"{night}, dry"
            yield _composed(one, weather, rng, kind)
        yield Shown(
            one.road.picture, _nothing(), _ground(one.road.road), one.group, "held-out roads as they are"
        )


def footage(data: Path) -> Iterator[Shown]:
    """Frames of every video and photo at hand that shows no standing water, and the same at night."""
    rng = np.random.default_rng(_SEED + 2)
    everywhere = np.ones(cells(np.zeros((1, 1), np.bool_)).shape, np.bool_)
    for name, every in _VIDEOS:
        path = data / name
        for file in sorted(path.glob("*.mp4")) if path.is_dir() else [path]:
            for frame in frames_of(file, every):
                yield Shown(frame, _nothing(), everywhere, name, name)
                yield Shown(_darkened(frame, rng), _nothing(), everywhere, name, f"{name}, darkened")
    for picture in small_pictures(judged_others(data / OTHERS)):
        yield Shown(picture, _nothing(), everywhere, OTHERS.name, "fire-smoke, held-out videos")
    photos = sorted((data / "photos" / "coco100").glob("*.jpg"))
    # A photo may show the sea: only its roads are known to be dry.
    for road in read_roads(photos, data / SEGMENTER, WIDTH, HEIGHT):
        yield Shown(road.picture, _nothing(), _ground(road.road), road.name, "coco100, roads")


def judged_others(data: Path) -> list[Path]:
    """Frames of fires that no training of this model sees: whole videos."""
    scenes = read_scenes(data)
    held_out = held_out_groups((scene.group for scene in scenes), 0.3, 7)
    return [scene.picture for scene in scenes if scene.group in held_out][::3]


def choose_threshold(dry: Answered) -> float:
    """The least, in hundredths and from .3 on, at which no dry picture is an alarm."""
    for hundredths in range(30, 100):
        if dry.shares(hundredths / 100).max() < ALARM:
            return hundredths / 100
    return 0.99


@dataclass(frozen=True, slots=True)
class WaterFigures:
    """What was counted at the shipped threshold.

    Attributes:
        overlap, by_day, by_night: IoU over flooded compositions.
        floods, groups: how many of these, over how many backgrounds.
        dry: by kind of dry picture, how many there are, how many are alarms, and the largest share called water.
    """

    overlap: Figure
    by_day: Figure
    by_night: Figure
    floods: int
    groups: int
    dry: dict[str, tuple[int, int, float]]

    @property
    def alarms(self) -> int:
        """On all that is dry."""
        return sum(alarms for _, alarms, _ in self.dry.values())


def figures(floods: Answered, dry: Answered, threshold: float, rounds: int = 1000) -> WaterFigures:
    """Count what was said."""
    kinds = list(dict.fromkeys(one.kind for one in dry.shown))
    shares = {kind: dry.of(kind).shares(threshold) for kind in kinds}
    return WaterFigures(
        floods.overlap(threshold, rounds),
        floods.of("flood by day").overlap(threshold, rounds),
        floods.of("flood by night").overlap(threshold, rounds),
        len(floods.shown),
        len({one.group for one in floods.shown}),
        {
            kind: (len(found), int((found >= ALARM).sum()), round(float(found.max()), 4))
            for kind, found in shares.items()
        },
    )


@dataclass(frozen=True, slots=True)
class WaterReport:
    """What was measured."""

    manifest: WaterManifest
    counted: WaterFigures

    def figures(self) -> dict[str, object]:
        """What `--json` prints."""
        return asdict(self.counted) | {"alarms": self.counted.alarms}

    def shortfalls(self) -> list[str]:
        """Of the limits that a release has to keep."""
        counted = self.counted
        said = []
        if not counted.overlap.value >= _LEAST_IOU:
            said.append(f"IoU {counted.overlap.value:.3f} < {_LEAST_IOU}")
        said += [f"{alarms} alarms on {kind}" for kind, (_, alarms, _) in counted.dry.items() if alarms]
        return said

    def table(self) -> str:
        """As Markdown."""
        counted = self.counted
        lines = [
            f"Water from {self.manifest.thresholds.water} on, the least threshold at which nothing dry below is an "
            f"alarm: {ALARM:.0%} of",
            "the drivable area (of the picture, where no road is known) in a single look. Weights: sha256 "
            f"{self.manifest.sha256[:16]}….",
            "",
            "| composed water on held-out roads | |",
            "|---|---|",
            f"| pictures of backgrounds | {counted.floods} of {counted.groups} |",
            f"| IoU (limit: at least .6) | {counted.overlap} |",
            f"| by day | {counted.by_day} |",
            f"| by night | {counted.by_night} |",
            "",
            "| dry | pictures | alarms (limit: none) | largest share called water |",
            "|---|---|---|---|",
            *(
                f"| {kind} | {pictures} | {alarms} | {most:.1%} |"
                for kind, (pictures, alarms, most) in counted.dry.items()
            ),
        ]
        return "\n".join(lines)


def measure(
    data: Path, directory: Path | None = None, *, everything: bool = False, rounds: int = 1000
) -> WaterReport:
    """Open the model, flood the held-out roads, look at all that is dry, and count.

    Args:
        data: the folder that holds ``helmet-riders``, ``fire-smoke``, ``video`` and ``photos``.
        directory: where another ``water`` lies than the one that ships.
        everything: both sides of the split: for roads that no training has seen.
        rounds: of the bootstrap.

    Raises:
        InvalidError: ``dataset.missing`` or what ``open_as`` raises.
    """
    model = open_as(WaterManifest, NAME, directory)
    segmenter = WaterSegmenter(model, threads=2)
    roads = roads_of(data / ROADS, data / SEGMENTER, judged=True)
    if everything:
        roads += roads_of(data / ROADS, data / SEGMENTER, judged=False)
    floods = ask(list(flooded(roads)), segmenter)
    dry = ask([*dressed(roads), *footage(data)], segmenter)
    return WaterReport(model.manifest, figures(floods, dry, model.manifest.thresholds.water, rounds))


def _composed(one: Background, weather: Weather, rng: np.random.Generator, kind: str) -> Shown:
    picture, road = seen_elsewhere(one.road.picture, one.road.road, rng)
    picture, water = composed(picture, road, rng, weather)
    return Shown(by_another_camera(picture, rng), cells(water), cells(road) > 0.5, one.group, kind)


def _darkened(frame: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    nowhere = np.zeros(frame.shape[:2], np.bool_)
    picture, nowhere = seen_elsewhere(frame, nowhere, rng)
    return composed(picture, nowhere, rng, Weather(night=True, rain=bool(rng.random() < 0.5)))[0]


def _nothing() -> NDArray[np.float32]:
    return np.zeros_like(cells(np.zeros((1, 1), np.bool_)))


def _ground(road: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cells(road) > 0.5
