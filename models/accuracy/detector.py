"""A detector's figures on labelled pictures. Which tier opens detectors, and so looks, is none of this module's business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.accuracy.figures import Bools, Figure, Floats, bootstrapped
from models.manifest import Manifest

SAME: Final = 0.5
"""IoU from which a find is what was labelled."""
LEAST_SCORE: Final = 0.01
"""Weaker finds are not asked for: they would be the tail of AP, and thousands in every picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What was found of one label in one picture.

    Attributes:
        score: float64 ``(N,)``, of every find.
        hit: bool ``(N,)``, whether it is one that was labelled and that no surer find is.
        labelled: how many there are.
    """

    score: Floats
    hit: Bools
    labelled: int


def paired(score: Floats, overlap: NDArray[np.float32]) -> Looked:
    """Give each find, surest first, the label that it overlaps most and that no surer one has, as COCO does.

    Args:
        score: ``(N,)``.
        overlap: IoU ``(N, M)`` of every find with everything labelled.
    """
    free = overlap.copy()
    hit = np.zeros(len(score), np.bool_)
    for place in np.argsort(-score, kind="stable").tolist():
        if free.shape[1] and free[place].max() >= SAME:
            hit[place] = True
            free[:, free[place].argmax()] = 0.0
    return Looked(score, hit, overlap.shape[1])


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Of one label.

    Attributes:
        labelled: how many there are.
        recall: share of them found, at the score that the manifest believes.
        precision: share of what was found at that score that is one of them.
        average_precision: mean precision over recall from 0 to 1, over all scores from ``LEAST_SCORE`` on.
    """

    labelled: int
    recall: Figure
    precision: Figure
    average_precision: Figure


class _Finds:
    """All finds of one label, surest first, so that drawing pictures again is counting them with weights."""

    def __init__(self, looked: Sequence[Looked]) -> None:
        score = np.concatenate([one.score for one in looked])
        order = np.argsort(-score, kind="stable")
        self.score = score[order]
        self._hit = np.concatenate([one.hit for one in looked])[order]
        self._picture = np.repeat(np.arange(len(looked)), [len(one.score) for one in looked])[order]
        self._labelled = np.array([one.labelled for one in looked])

    def _counted(self, at: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
        """Hits and finds down to each, and how many there were, in these pictures."""
        times = np.bincount(at, minlength=len(self._labelled))
        weight = times[self._picture]
        return (weight * self._hit).cumsum(), weight.cumsum(), int((times * self._labelled).sum())

    def recall(self, at: NDArray[np.intp], *, score: float) -> float:
        """Share of what is there."""
        hits, _, there = self._counted(at)
        return self._down_to(hits, score) / there if there else float("nan")

    def precision(self, at: NDArray[np.intp], *, score: float) -> float:
        """Share of what is said; none where nothing is."""
        hits, finds, _ = self._counted(at)
        return self._down_to(hits, score) / max(self._down_to(finds, score), 1)

    def average_precision(self, at: NDArray[np.intp]) -> float:
        """Area under the best precision that each recall can be had at.

        Source: Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", 2015 (all points).
        """
        hits, finds, there = self._counted(at)
        if not there or not len(hits):
            return 0.0 if there else float("nan")
        precision = hits / np.maximum(finds, 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        return float((np.diff(hits, prepend=0) * best).sum() / there)

    def _down_to(self, counted: NDArray[np.intp], score: float) -> int:
        place = int(np.searchsorted(-self.score, -score, side="right"))
        return int(counted[place - 1]) if place else 0


def figures(looked: Sequence[Looked], groups: Sequence[str], score: float, rounds: int) -> LabelFigures:
    """Of one label over all pictures, ``groups`` being theirs; what is labelled nowhere has no figures."""
    finds = _Finds(looked)
    return LabelFigures(
        sum(one.labelled for one in looked),
        bootstrapped(groups, partial(finds.recall, score=score), rounds),
        bootstrapped(groups, partial(finds.precision, score=score), rounds),
        bootstrapped(groups, finds.average_precision, rounds),
    )


@dataclass(frozen=True, slots=True)
class DetectorReport:
    """What was measured of a detector on somebody's pictures.

    Attributes:
        pictures, groups: how many.
        labels: by label, of those that are in the pictures.
    """

    manifest: Manifest
    pictures: int
    groups: int
    labels: dict[str, LabelFigures]

    def figures(self) -> dict[str, object]:
        """What `--json` prints."""
        mean = float(np.mean([one.average_precision.value for one in self.labels.values()]))
        return {
            "score": self.manifest.thresholds.score,
            "pictures": self.pictures,
            "groups": self.groups,
            "mean_average_precision": round(mean, 4),
            "labels": {label: asdict(one) for label, one in self.labels.items()},
        }

    def shortfalls(self) -> list[str]:
        """None: what a detector has to reach depends on the pictures, and these are the user's."""
        return []

    def table(self) -> str:
        """As Markdown."""
        lines = [
            f"At IoU {SAME:g} in {self.pictures} pictures of {self.groups} groups, recall and precision at score "
            f"{self.manifest.thresholds.score:g}, which the manifest believes;",
            f"AP over all scores from {LEAST_SCORE:g} on. Of what is labelled nowhere nothing is counted. Weights: "
            f"sha256 {self.manifest.sha256[:16]}….",
            "",
            "| | labelled | recall | precision | AP |",
            "|---|---|---|---|---|",
            *(
                f"| {label} | {one.labelled} | {one.recall} | {one.precision} | {one.average_precision} |"
                for label, one in self.labels.items()
            ),
        ]
        return "\n".join(lines)
