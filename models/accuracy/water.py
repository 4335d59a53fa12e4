"""The water model on compositions over roads it never saw, and on everything dry that is at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.accuracy.figures import Figure, bootstrapped
from models.accuracy.water_shown import (
    ROADS,
    SEGMENTER,
    Shown,
    dressed,
    flooded,
    footage,
    places,
)
from models.data.water_split import roads_of
from models.manifest import WaterManifest
from models.standing import standing
from models.store import open_as
from models.water import WaterSegmenter

NAME: Final = "water"
DATA: Final = Path("data")
"""Below the directory of shared data; the road segmenter stands beside it."""
ALARM: Final = 0.08
"""Share of the drivable area in one single look that counts as a false alarm here: what starts a condition, but
without waiting for a second look to agree."""
EXTENT: Final = 0.3
"""Around sure cells, what reaches so much is water."""
_LEAST_IOU: Final = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Pictures with what the model made of them: maps of probabilities, stacked; ``usual`` is of the dry pictures."""

    shown: list[Shown]
    probability: NDArray[np.float32]
    usual: NDArray[np.float32]

    def where(self, wanted: Callable[[Shown], bool]) -> Answered:
        """Those that are wanted."""
        kept = [place for place, one in enumerate(self.shown) if wanted(one)]
        return Answered([self.shown[place] for place in kept], self.probability[kept], self.usual[kept])

    def called(self, threshold: float, *, known: bool) -> NDArray[np.bool_]:
        """What the scene takes for water; ``known`` on a camera that was shown its dry road."""
        found = [
            standing(seen, one.ground, threshold, min(EXTENT, threshold), usual=usual if known else 0.0)
            for one, seen, usual in zip(self.shown, self.probability, self.usual, strict=True)
        ]
        return np.stack(found)

    def shares(self, threshold: float, *, known: bool = False) -> NDArray[np.float64]:
        """By picture, the share of the drivable area that is called water."""
        areas = np.array([max(int(one.ground.sum()), 1) for one in self.shown])
        return np.asarray(self.called(threshold, known=known).sum((1, 2)) / areas, np.float64)

    def overlap(self, threshold: float, rounds: int = 1000, *, known: bool = False) -> Figure:
        """Intersection over union of all water cells of the drivable area together, with its interval by group."""
        called = self.called(threshold, known=known)
        meant = np.stack([(one.water > 0.5) & one.ground for one in self.shown])
        both = (called & meant).sum((1, 2)).astype(np.float64)
        either = (called | meant).sum((1, 2)).astype(np.float64)

        def measure(at: NDArray[np.intp]) -> float:
            return float(both[at].sum() / either[at].sum()) if either[at].sum() else float("nan")

        return bootstrapped([one.group for one in self.shown], measure, rounds)


def ask(shown: Sequence[Shown], segmenter: WaterSegmenter) -> Answered:
    """Ask the model about every picture, and about the dry pictures of its place."""
    usual: dict[int, NDArray[np.float32]] = {}
    for one in shown:
        if one.dry and id(one.dry) not in usual:
            maps = [segmenter.probability(picture) for picture in one.dry]
            usual[id(one.dry)] = np.asarray(np.max(maps, axis=0), np.float32)
    found = [segmenter.probability(one.picture) for one in shown]
    nothing = np.zeros_like(found[0])
    return Answered(
        list(shown), np.stack(found), np.stack([usual.get(id(one.dry), nothing) for one in shown])
    )


def choose_threshold(dry: Answered, *, known: bool = False) -> float:
    """The least, in hundredths and from .3 on, at which no dry picture is an alarm.

    On a camera that was shown its dry road (``known``) only pictures count of which it was shown any.
    """
    asked = dry.where(lambda one: bool(one.dry)) if known else dry
    for hundredths in range(round(EXTENT * 100), 100):
        if asked.shares(hundredths / 100, known=known).max() < ALARM:
            return hundredths / 100
    return 0.99


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted at one threshold.

    Attributes:
        overlap, by_day, by_night: IoU over flooded compositions.
        reported: share of these with water on ``ALARM`` of the road where a single look finds as much.
        dry: by kind of dry picture, how many there are, how many are alarms, and the largest share called water.
    """

    overlap: Figure
    by_day: Figure
    by_night: Figure
    reported: float
    dry: dict[str, tuple[int, int, float]]

    @property
    def alarms(self) -> int:
        """On all that is dry."""
        return sum(alarms for _, alarms, _ in self.dry.values())


@dataclass(frozen=True, slots=True)
class WaterFigures:
    """What was counted at the shipped thresholds.

    Attributes:
        shown: on cameras that were shown their dry road.
        unseen: on cameras that nobody showed anything.
        floods, groups: how many flooded compositions, over how many backgrounds.
    """

    shown: Counted
    unseen: Counted
    floods: int
    groups: int


def count(floods: Answered, dry: Answered, threshold: float, *, known: bool, rounds: int = 1000) -> Counted:
    """Count what was said at one threshold."""
    asked = dry.where(lambda one: bool(one.dry)) if known else dry
    kinds = list(dict.fromkeys(one.kind for one in asked.shown))
    shares = {
        kind: asked.where(lambda one, kind=kind: one.kind == kind).shares(threshold, known=known)  # type: ignore[misc]
        for kind in kinds
    }
    areas = np.array([max(int(one.ground.sum()), 1) for one in floods.shown])
    meant = np.array([int(((one.water > 0.5) & one.ground).sum()) for one in floods.shown]) / areas
    enough = meant >= ALARM
    return Counted(
        floods.overlap(threshold, rounds, known=known),
        floods.where(lambda one: one.kind == "flood by day").overlap(threshold, rounds, known=known),
        floods.where(lambda one: one.kind == "flood by night").overlap(threshold, rounds, known=known),
        float((floods.shares(threshold, known=known)[enough] >= ALARM).mean()),
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
        return asdict(self.counted)

    def shortfalls(self) -> list[str]:
        """Of the limits that a release has to keep."""
        shown, unseen = self.counted.shown, self.counted.unseen
        said = []
        for where, counted in (("shown its dry road", shown), ("shown nothing", unseen)):
            if not counted.overlap.value >= _LEAST_IOU:
                said.append(f"IoU {counted.overlap.value:.3f} < {_LEAST_IOU}, {where}")
        said += [f"{alarms} alarms on {kind}" for kind, (_, alarms, _) in unseen.dry.items() if alarms]
        said += [f"{alarms} alarms on {kind}, shown" for kind, (_, alarms, _) in shown.dry.items() if alarms]
        return said

    def table(self) -> str:
        """As Markdown."""
        shown, unseen, limits = self.counted.shown, self.counted.unseen, self.manifest.thresholds
        lines = [
            f"The model is sure of water from {limits.known} on where a camera was shown its dry road by day, by night "
            "and",
            f"wet, from {limits.water} on elsewhere; around that water is from {limits.extent or limits.water} on. The "
            "thresholds are the least at which",
            f"nothing dry below is an alarm: {ALARM:.0%} of the drivable area (of the picture, where no road is known) in "
            "a single",
            f"look. Weights: sha256 {self.manifest.sha256[:16]}….",
            "",
            "| composed water on held-out roads | shown its dry road | shown nothing |",
            "|---|---|---|",
            f"| pictures of backgrounds | {self.counted.floods} of {self.counted.groups} | the same |",
            f"| IoU within the drivable area (limit: at least .6) | {shown.overlap} | {unseen.overlap} |",
            f"| by day | {shown.by_day} | {unseen.by_day} |",
            f"| by night | {shown.by_night} | {unseen.by_night} |",
            f"| floods of {ALARM:.0%} and more that a single look finds | {shown.reported:.0%} | "
            f"{unseen.reported:.0%} |",
            "",
            "| dry | shown its dry road: pictures | alarms (limit: none) | largest share | shown nothing: pictures | "
            "alarms (limit: none) | largest share |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {kind} | {_row(shown.dry.get(kind))} | {_row(counted)} |"
                for kind, counted in unseen.dry.items()
            ),
        ]
        return "\n".join(lines)


def _row(counted: tuple[int, int, float] | None) -> str:
    if counted is None:
        return "– | – | –"
    pictures, alarms, most = counted
    return f"{pictures} | {alarms} | {most:.1%}"


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
    hung = places(roads)
    floods = ask(list(flooded(hung)), segmenter)
    dry = ask([*dressed(hung), *footage(data)], segmenter)
    limits = model.manifest.thresholds
    return WaterReport(
        model.manifest,
        WaterFigures(
            count(floods, dry, limits.known, known=True, rounds=rounds),
            count(floods, dry, limits.water, known=False, rounds=rounds),
            len(floods.shown),
            len({one.group for one in floods.shown}),
        ),
    )
