"""A fine-tuned model's file beside its trainer's network, and beside what was labelled; no torch."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import yaml
from numpy.typing import NDArray

from models.accuracy.detector import DetectorReport, LabelFigures
from models.accuracy.segmenter import SegmenterReport
from models.describe import SIDE, ends_by_itself

Floats = NDArray[np.float64]
_COMPARED: Final = 50
"""The surest finds of an end-to-end head: of the others, which say nothing, the last change with rounding."""
_POOR: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One picture.

    Attributes:
        picture: the file.
        boxes: float64 ``(N, 4)``, centre, width and height as shares of the picture.
        labels: ``(N,)``, each a place in the model's names.
        group: near-duplicates share it; its own where nobody said.
    """

    picture: Path
    boxes: Floats
    labels: NDArray[np.intp]
    group: str | None = None


def apart(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """The largest difference between two answers to one picture: of scores, and of boxes in shares of the input.

    Finds of an end-to-end head come by score, so that rounding may change their order: each is held against the one of
    its class that is most like it.
    """
    if expected.shape != found.shape:
        return math.inf
    if not ends_by_itself(expected.shape):
        scale = np.ones((1, expected.shape[1], 1), np.float32)
        scale[:, :4] = SIDE
        return float(np.abs((expected - found) / scale).max())
    one, other = expected[0].astype(np.float64), found[0].astype(np.float64)
    return max(_unlike(one, other), _unlike(other, one))


def _unlike(these: Floats, those: Floats) -> float:
    worst = 0.0
    for row in these[np.argsort(-these[:, 4])][:_COMPARED]:
        same = those[those[:, 5] == row[5]]
        if not len(same):
            return math.inf
        difference = np.abs(same[:, :5] - row[:5]) / (SIDE, SIDE, SIDE, SIDE, 1.0)
        worst = max(worst, float(difference.max(axis=1).min()))
    return worst


def lay_out(labelled: Sequence[Labelled], names: Sequence[str], directory: Path) -> Path:
    """These pictures as ``drumtower models evaluate`` takes them, by reference; the directory."""
    for part in ("images", "labels"):
        (directory / part).mkdir(parents=True)
    groups = []
    for number, one in enumerate(labelled):
        # Of two folders of `val` both may have a 1.jpg.
        name = f"{number}-{one.picture.stem}"
        (directory / "images" / f"{name}{one.picture.suffix}").symlink_to(one.picture.resolve())
        rows = zip(one.labels.tolist(), one.boxes.tolist(), strict=True)
        lines = (f"{label} {' '.join(map(repr, box))}\n" for label, box in rows)
        (directory / "labels" / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
        groups.append((name, one.group or name))
    with (directory / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "group"), *groups])
    (directory / "data.yaml").write_text(yaml.safe_dump({"names": list(names)}), encoding="utf-8")
    return directory


def failures(report: DetectorReport | SegmenterReport, names: Sequence[str]) -> Iterator[str]:
    """What it fails at, as far as these pictures show it."""
    for name in names:
        found = report.labels.get(name)
        if found is None:
            yield f"{name}: no picture of `val` shows one, so nothing is known of it."
        elif found.recall.value < _POOR:
            labelled = f"{found.labelled} labelled ones" if isinstance(found, LabelFigures) else "its cells"
            yield f"{name}: of {labelled} {found.recall.value:.0%} are found."
        elif found.precision.value < _POOR:
            yield f"{name}: of what is called so {found.precision.value:.0%} are right."
    yield "Of cameras, weather and hours that `val` does not show nothing is known."
