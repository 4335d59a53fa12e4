"""Non-maximum suppression: of boxes that mean one object, only the surest stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.vision.detections import Boxes, overlaps


def suppress(
    boxes: Boxes,
    score: NDArray[np.float32],
    group: NDArray[np.int32],
    overlap: float,
    at_most: int = 300,
) -> NDArray[np.intp]:
    """Greedy suppression within groups.

    The surest box is kept and every box of its group that overlaps it by more than ``overlap`` is left out,
    and so on down. The order of the input does not matter: equal scores are settled by place in the
    picture.

    Args:
        boxes: ``(N, 4)``.
        score: ``(N,)``.
        group: ``(N,)``; boxes of different groups never suppress each other.
        overlap: IoU in 0..1.
        at_most: candidates looked at, surest first; bounds the cost on a picture full of noise.

    Returns:
        Places of the boxes kept, surest first.
    """
    order = np.lexsort((boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -score))[:at_most]
    if order.size <= 1:
        return order
    inside = boxes[order]
    rivals = (overlaps(inside, inside) > overlap) & (group[order][:, None] == group[order][None, :])
    rivals = np.triu(rivals, 1)
    alive = np.ones(order.size, np.bool_)
    for n in np.flatnonzero(rivals.any(axis=1)).tolist():
        if alive[n]:
            alive &= ~rivals[n]
    return order[alive]
