"""A fine-tuned segmenter's figures on pictures whose cells are labelled; with onnxruntime alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.accuracy.figures import Figure, bootstrapped
from models.manifest import FireManifest, WaterManifest
from models.maps import MapModel

Segmenter = FireManifest | WaterManifest
"""Those that scenes look at; see ``models.manifest.MAPPED``."""
UNKNOWN: Final = 255
"""In a mask: nobody says what is there."""


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """One picture.

    Attributes:
        picture: uint8 BGR.
        group: near-duplicates share it.
        mask: uint8, of the picture's height and width: a number of a class, or ``UNKNOWN``.
    """

    picture: NDArray[np.uint8]
    group: str
    mask: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CellFigures:
    """Of one label, over the cells of all pictures together, at the threshold that the manifest believes.

    Attributes:
        pictures: how many show it.
        share: of all cells.
        overlap: intersection over union.
        recall: share of its cells that are called so.
        precision: share of the cells that are called so that are its own.
    """

    pictures: int
    share: float
    overlap: Figure
    recall: Figure
    precision: Figure


@dataclass(frozen=True, slots=True)
class SegmenterReport:
    """What was measured of a segmenter on somebody's pictures.

    Attributes:
        pictures, groups: how many.
        labels: by label, of those that are in the pictures.
    """

    manifest: Segmenter
    pictures: int
    groups: int
    labels: dict[str, CellFigures]

    def table(self) -> str:
        """As Markdown."""
        believed = ", ".join(f"{label} {_threshold(self.manifest, label):g}" for label in self.labels)
        return "\n".join(
            [
                f"By cell of the model's map in {self.pictures} pictures of {self.groups} groups, from the thresholds on "
                f"that the manifest believes ({believed}).",
                "A cell is what most of its labelled pixels are labelled as; where most of its pixels are labelled as "
                "unknown it does not count. "
                f"Weights: sha256 {self.manifest.sha256[:16]}….",
                "",
                "| | pictures that show it | of all cells | IoU | recall | precision |",
                "|---|---|---|---|---|---|",
                *(
                    f"| {label} | {one.pictures} | {one.share:.2%} | {one.overlap} | {one.recall} | {one.precision} |"
                    for label, one in self.labels.items()
                ),
            ]
        )


class _Counts:
    """Of one label, picture by picture, how many cells are meant, called, and both."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []

    def add(self, meant: NDArray[np.bool_], called: NDArray[np.bool_], known: NDArray[np.bool_]) -> None:
        """One picture's; all ``(rows, columns)``."""
        self._rows.append(
            (int(meant.sum()), int((called & known).sum()), int((meant & called).sum()), int(known.sum()))
        )

    def figures(self, groups: list[str], rounds: int) -> CellFigures | None:
        """Over all pictures; None where none shows it."""
        table = np.array(self._rows, np.float64)
        meant, called, both, known = table.T
        if not meant.any():
            return None

        def overlap(at: NDArray[np.intp]) -> float:
            either = meant[at].sum() + called[at].sum() - both[at].sum()
            return float(both[at].sum() / either) if either else float("nan")

        def recall(at: NDArray[np.intp]) -> float:
            return float(both[at].sum() / meant[at].sum()) if meant[at].any() else float("nan")

        def precision(at: NDArray[np.intp]) -> float:
            return float(both[at].sum() / max(called[at].sum(), 1.0))

        return CellFigures(
            int((meant > 0).sum()),
            float(meant.sum() / known.sum()),
            bootstrapped(groups, overlap, rounds),
            bootstrapped(groups, recall, rounds),
            bootstrapped(groups, precision, rounds),
        )


def measure(
    model: MapModel[Segmenter],
    shown: Iterable[Masked],
    classes: Mapping[str, int],
    *,
    rounds: int = 1000,
) -> SegmenterReport:
    """Ask the model about every picture and count its cells.

    Args:
        model: opened.
        shown: the pictures, taken one at a time.
        classes: by label of the manifest, its number in the masks.
        rounds: of the bootstrap.
    """
    manifest = model.manifest
    counts = {label: _Counts() for label in manifest.names}
    groups = []
    for one in shown:
        groups.append(one.group)
        for label, probability in zip(manifest.names, model.maps(one.picture), strict=True):
            labelled = _share(one.mask != UNKNOWN, probability.shape)
            known = labelled > 0.5
            meant = known & (_share(one.mask == classes[label], probability.shape) > labelled / 2)
            counts[label].add(meant, probability >= _threshold(manifest, label), known)
    found = {label: one.figures(groups, rounds) for label, one in counts.items() if groups}
    return SegmenterReport(
        manifest,
        len(groups),
        len(set(groups)),
        {label: one for label, one in found.items() if one is not None},
    )


def _threshold(manifest: Segmenter, label: str) -> float:
    return float(manifest.thresholds.model_dump()[label])


def _share(pixels: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """By cell of a map of this shape over the whole picture, of what share of its pixels it is so."""
    rows, columns = shape
    share = cv2.resize(pixels.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(share, np.float32)
