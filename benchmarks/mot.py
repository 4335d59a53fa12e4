"""How good a multi-object tracker is: CLEAR MOT and identity measures against a labelled sequence.

CLEAR MOT: K. Bernardin, R. Stiefelhagen, "Evaluating Multiple Object Tracking Performance" (EURASIP J. Image
and Video Processing, 2008). Identity measures: E. Ristani et al., "Performance Measures and a Data Set for
Multi-Target, Multi-Camera Tracking" (ECCV workshops, 2016).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lap
import numpy as np
from numpy.typing import NDArray

from edge.vision.detections import overlaps
from models.data.streets import Labelled, read_mot_truth

__all__ = ["Labelled", "MotScore", "evaluate", "read_mot_truth"]


@dataclass(frozen=True, slots=True)
class MotScore:
    """What the field compares trackers by; rates in 0..1."""

    mota: float
    idf1: float
    switches: int
    misses: int
    false_positives: int
    truths: int

    @property
    def recall(self) -> float:
        """Share of the true boxes found."""
        return 1.0 - self.misses / max(self.truths, 1)

    @property
    def precision(self) -> float:
        """Share of the boxes given that are true."""
        hits = self.truths - self.misses
        return hits / max(hits + self.false_positives, 1)


_NOTHING = (np.zeros(0, np.int64), np.zeros((0, 4), np.float32))


def evaluate(truth: Labelled, given: Labelled, frames: Sequence[int], overlap: float = 0.5) -> MotScore:
    """Score what a tracker gave on some frames.

    Args:
        truth: what is there.
        given: what the tracker said; a frame left out means nothing was said.
        frames: those that count, in order.
        overlap: IoU from which a box counts as found.
    """
    misses = false_positives = switches = truths = 0
    last_match: dict[int, int] = {}
    together: Counter[tuple[int, int]] = Counter()
    true_lengths: Counter[int] = Counter()
    given_lengths: Counter[int] = Counter()
    for frame in frames:
        true_ids, true_boxes = truth.get(frame, _NOTHING)
        ids, boxes = given.get(frame, _NOTHING)
        true_lengths.update(true_ids.tolist())
        given_lengths.update(ids.tolist())
        iou = overlaps(true_boxes, boxes)
        together.update((int(true_ids[row]), int(ids[column])) for row, column in np.argwhere(iou >= overlap))
        pairs = _match(iou, true_ids, ids, last_match, overlap)
        for row, column in pairs:
            before = last_match.get(int(true_ids[row]))
            switches += before is not None and before != ids[column]
            last_match[int(true_ids[row])] = int(ids[column])
        truths += len(true_ids)
        misses += len(true_ids) - len(pairs)
        false_positives += len(ids) - len(pairs)
    kept = _identity_true_positives(together, list(true_lengths), list(given_lengths))
    return MotScore(
        mota=1.0 - (misses + false_positives + switches) / max(truths, 1),
        idf1=2.0 * kept / max(truths + sum(given_lengths.values()), 1),
        switches=switches,
        misses=misses,
        false_positives=false_positives,
        truths=truths,
    )


def _match(
    iou: NDArray[np.float32],
    true_ids: NDArray[np.int64],
    ids: NDArray[np.int64],
    last_match: Mapping[int, int],
    overlap: float,
) -> list[tuple[int, int]]:
    """Pairs of one frame: those that still hold from before first, the rest by the best overlap."""
    pairs = []
    columns = {int(name): column for column, name in enumerate(ids)}
    for row, name in enumerate(true_ids):
        column = columns.get(last_match.get(int(name), -1))
        if column is not None and iou[row, column] >= overlap:
            pairs.append((row, column))
    rows_left = [row for row in range(len(true_ids)) if row not in {pair[0] for pair in pairs}]
    columns_left = [column for column in range(len(ids)) if column not in {pair[1] for pair in pairs}]
    if rows_left and columns_left:
        left = iou[np.ix_(rows_left, columns_left)]
        cost = np.where(left >= overlap, 1.0 - left, 1e3).astype(np.float64)
        for n, column in enumerate(lap.lapjv(cost, extend_cost=True)[1]):
            if column >= 0 and left[n, column] >= overlap:
                pairs.append((rows_left[n], columns_left[column]))
    return pairs


def _identity_true_positives(
    together: Mapping[tuple[int, int], int], true_ids: list[int], ids: list[int]
) -> int:
    """Frames in which each true identity is covered by the one identity that fits it best overall."""
    if not true_ids or not ids:
        return 0
    counts = np.zeros((len(true_ids), len(ids)))
    rows = {name: row for row, name in enumerate(true_ids)}
    columns = {name: column for column, name in enumerate(ids)}
    for (true_id, given_id), count in together.items():
        counts[rows[true_id], columns[given_id]] = count
    assigned = lap.lapjv(counts.max() - counts, extend_cost=True)[1]
    return int(sum(counts[row, column] for row, column in enumerate(assigned) if column >= 0))
