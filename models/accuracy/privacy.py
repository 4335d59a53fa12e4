"""The privacy model on photos it never saw: which heads and plates it hides, and how much besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.accuracy.figures import Figure, bootstrapped
from models.data.privacy import Labelled, read_labelled
from models.data.riders import read_picture
from models.manifest import PrivacyManifest
from models.privacy import Mask, PrivacyFinder
from models.store import open_as

NAME: Final = "privacy"
DATA: Final = Path("data/helmet-riders")
"""Below the directory of shared data."""
SMALLEST: Final = 16.0
"""Pixels across and down: heads and plates that are counted."""
HIDDEN: Final = 0.9
"""Share of a head (the ellipse in its box) or of a plate (its box) that has to be hidden."""
_LEAST_RECALL: Final = 0.95
_MOST_EXCESS: Final = 2.5


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """What was hidden in one photo.

    Attributes:
        group: near-duplicates share it.
        shares: of each counted head or plate, the share hidden.
        area: pixels hidden.
        meant: pixels of all labelled boxes, the small ones too.
    """

    group: str
    shares: NDArray[np.float64]
    area: float
    meant: float


def count(group: str, boxes: NDArray[np.float64], mask: Mask, *, round_: bool) -> Hidden:
    """Compare what is hidden with the labels.

    Args:
        group: of the photo.
        boxes: float64 ``(N, 4)``, shares of the picture.
        mask: what is hidden.
        round_: whether an ellipse fills the box, as a head does.
    """
    height, width = mask.shape
    pixels = np.clip(boxes, 0, 1) * (width, height, width, height)
    meant = np.zeros((height, width), np.uint8)
    shares = []
    for left, top, right, bottom in pixels.tolist():
        cv2.rectangle(meant, (round(left), round(top)), (round(right) - 1, round(bottom) - 1), 1, -1)
        if min(right - left, bottom - top) < SMALLEST:
            continue
        shape = np.zeros((height, width), np.uint8)
        if round_:
            middle = (round((left + right) * 8), round((top + bottom) * 8))
            axes = (round((right - left) * 8), round((bottom - top) * 8))
            cv2.ellipse(shape, middle, axes, 0, 0, 360, 1, -1, shift=4)
        else:
            cv2.rectangle(shape, (round(left), round(top)), (round(right) - 1, round(bottom) - 1), 1, -1)
        shares.append(float(mask[shape > 0].mean()))
    return Hidden(group, np.array(shares), float(mask.sum()), float(meant.sum()))


@dataclass(frozen=True, slots=True)
class HiddenFigures:
    """Of heads, or of plates.

    Attributes:
        many, photos, groups: how many were counted.
        recall: share of them of which at least nine tenths are hidden.
        excess: pixels hidden for each pixel of a labelled box.
    """

    many: int
    photos: int
    groups: int
    recall: Figure
    excess: Figure


def figures(hidden: Sequence[Hidden], rounds: int = 1000) -> HiddenFigures:
    """Count over photos, with intervals by group."""
    done = np.array([float((one.shares >= HIDDEN).sum()) for one in hidden])
    many = np.array([float(len(one.shares)) for one in hidden])
    area, meant = np.array([one.area for one in hidden]), np.array([one.meant for one in hidden])

    def recall(at: NDArray[np.intp]) -> float:
        return float(done[at].sum() / many[at].sum()) if many[at].sum() else float("nan")

    def excess(at: NDArray[np.intp]) -> float:
        return float(area[at].sum() / meant[at].sum()) if meant[at].sum() else float("nan")

    groups = [one.group for one in hidden]
    return HiddenFigures(
        int(many.sum()),
        len(hidden),
        len(set(groups)),
        bootstrapped(groups, recall, rounds),
        bootstrapped(groups, excess, rounds),
    )


def hide(photos: Sequence[Labelled], finder: PrivacyFinder) -> Iterator[tuple[Hidden, Hidden]]:
    """Heads and plates of each photo."""
    for photo in photos:
        found = finder.find(read_picture(photo.picture))
        yield (
            count(photo.group, photo.heads, found.heads, round_=True),
            count(photo.group, photo.plates, found.plates, round_=False),
        )


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """What was measured."""

    manifest: PrivacyManifest
    heads: HiddenFigures
    plates: HiddenFigures

    def figures(self) -> dict[str, object]:
        """What `--json` prints."""
        return {"heads": asdict(self.heads), "plates": asdict(self.plates)}

    def shortfalls(self) -> list[str]:
        """Of the limits that a release has to keep, on heads."""
        limits = (
            (
                self.heads.recall.value >= _LEAST_RECALL,
                f"recall {self.heads.recall.value:.3f} < {_LEAST_RECALL}",
            ),
            (
                self.heads.excess.value <= _MOST_EXCESS,
                f"excess {self.heads.excess.value:.2f} > {_MOST_EXCESS}",
            ),
        )
        return [said for kept, said in limits if not kept]

    def table(self) -> str:
        """As Markdown."""
        thresholds = self.manifest.thresholds
        rows = (
            (
                "counted (in photos of groups)",
                *(f"{one.many} ({one.photos} of {one.groups})" for one in self._both()),
            ),
            (
                "hidden to nine tenths (limit for heads: at least .95)",
                *(str(one.recall) for one in self._both()),
            ),
            (
                "pixels hidden for each labelled one (limit for heads: at most 2.5)",
                *(str(one.excess) for one in self._both()),
            ),
        )
        lines = [
            f"Held-out heads and plates of at least {SMALLEST:.0f} px across and down; hidden from {thresholds.head} and "
            f"{thresholds.plate} on.",
            f"The model alone, without the street detector's persons. Weights: sha256 {self.manifest.sha256[:16]}….",
            "",
            "| | heads | plates |",
            "|---|---|---|",
            *(f"| {name} | {heads} | {plates} |" for name, heads, plates in rows),
        ]
        return "\n".join(lines)

    def _both(self) -> tuple[HiddenFigures, HiddenFigures]:
        return self.heads, self.plates


def measure(
    data: Path, directory: Path | None = None, *, everything: bool = False, rounds: int = 1000
) -> PrivacyReport:
    """Open the model, let it hide what it finds in the held-out photos, and count.

    Args:
        data: the folder ``helmet-riders``, or one like it.
        directory: where another ``privacy`` lies than the one that ships.
        everything: all photos there are: for data that no training has seen.
        rounds: of the bootstrap.

    Raises:
        InvalidError: ``dataset.missing`` or what ``open_as`` raises.
    """
    model = open_as(PrivacyManifest, NAME, directory)
    photos = read_labelled(data) if everything else read_labelled(data, "judged")
    hidden = list(hide(photos, PrivacyFinder(model, threads=2)))
    heads, plates = (figures([pair[place] for pair in hidden], rounds) for place in range(2))
    return PrivacyReport(model.manifest, heads, plates)
