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
from models.data.privacy import Labelled, read_labelled, with_drawn_plates
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
        rows = slice(max(round(top) - 1, 0), min(round(bottom) + 2, height))
        columns = slice(max(round(left) - 1, 0), min(round(right) + 2, width))
        shape = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        x1, y1, x2, y2 = left - columns.start, top - rows.start, right - columns.start, bottom - rows.start
        if round_:
            middle = (round((x1 + x2) * 8), round((y1 + y2) * 8))
            axes = (round((x2 - x1) * 8), round((y2 - y1) * 8))
            cv2.ellipse(shape, middle, axes, 0, 0, 360, 1, -1, shift=4)
        else:
            cv2.rectangle(shape, (round(x1), round(y1)), (round(x2) - 1, round(y2) - 1), 1, -1)
        shares.append(float(mask[rows, columns][shape > 0].mean()))
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


def hide(
    photos: Sequence[Labelled], finder: PrivacyFinder
) -> Iterator[tuple[Hidden, Hidden, Hidden, Hidden]]:
    """Of each photo: heads, heads with those that are only suspected, plates; plates drawn over with Chinese ones."""
    nowhere = np.zeros((0, 4))
    for number, photo in enumerate(photos):
        picture = read_picture(photo.picture)
        found = finder.find(picture)
        heads, suspected = (
            count(photo.group, photo.heads, mask, round_=True) for mask in (found.heads, found.perhaps)
        )
        plates = count(photo.group, photo.plates, found.plates, round_=False)
        rng = np.random.default_rng(number)
        drawn = with_drawn_plates(picture, photo.plates, nowhere, rng, over=1.0)
        again = finder.find(picture).plates if len(drawn) else found.plates
        yield heads, suspected, plates, count(photo.group, drawn, again, round_=False)


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """What was measured of the model alone; the limits of issue and release are of what the whole box hides."""

    manifest: PrivacyManifest
    heads: HiddenFigures
    suspected: HiddenFigures
    plates: HiddenFigures
    drawn: HiddenFigures

    def figures(self) -> dict[str, object]:
        """What `--json` prints."""
        named = {"heads": self.heads, "suspected": self.suspected, "plates": self.plates, "drawn": self.drawn}
        return {name: asdict(one) for name, one in named.items()}

    def shortfalls(self) -> list[str]:
        """Without which no box could keep its limits: heads not even suspected, and too much hidden everywhere."""
        recall, excess = self.suspected.recall.value, self.heads.excess.value
        limits = (
            (recall >= _LEAST_RECALL, f"recall of suspected heads {recall:.3f} < {_LEAST_RECALL}"),
            (excess <= _MOST_EXCESS, f"excess {excess:.2f} > {_MOST_EXCESS}"),
        )
        return [said for kept, said in limits if not kept]

    def table(self) -> str:
        """As Markdown."""
        thresholds = self.manifest.thresholds
        every = (self.heads, self.suspected, self.plates, self.drawn)
        rows = (
            (
                "counted (in photos of groups)",
                *(f"{one.many} ({one.photos} of {one.groups})" for one in every),
            ),
            ("hidden to nine tenths", *(str(one.recall) for one in every)),
            ("pixels hidden for each labelled one", *(str(one.excess) for one in every)),
        )
        lines = [
            f"Held-out heads and plates of at least {SMALLEST:.0f} px across and down, by the model alone. Heads are hidden anywhere",
            f"from {thresholds.head} on, suspected ones, from {thresholds.near or thresholds.head} on, where a detected person's head may be; plates from",
            f"{thresholds.plate} on. What a box hides by both is told under *blur*. Weights: sha256 {self.manifest.sha256[:16]}….",
            "",
            "| | heads | suspected heads | plates | the same plates, drawn over with Chinese ones |",
            "|---|---|---|---|---|",
            *(f"| {' | '.join(cells)} |" for cells in rows),
        ]
        return "\n".join(lines)


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
    parts = zip(*hide(photos, PrivacyFinder(model, threads=2)), strict=True)
    return PrivacyReport(model.manifest, *(figures(part, rounds) for part in parts))
