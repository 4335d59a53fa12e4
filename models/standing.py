"""Which cells of a map of probabilities count as standing water. Pure.

A threshold high enough that nothing dry is an alarm would leave of a flood its surest cells alone. So there are two, as
in edge detection (Canny, 1986): somewhere the model has to be sure, and around that all counts that is likely.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

ABOVE_DRY: Final = 0.2
"""So much more like water than when it is dry a cell has to be, unless a camera's configuration says otherwise."""
_SURE_SHARE: Final = 0.0035
"""Of the whole map that has to be sure in one piece: eight cells of 64 x 36."""


def standing(
    probability: NDArray[np.float32],
    ground: NDArray[np.bool_],
    sure: float,
    extent: float | None = None,
    *,
    usual: NDArray[np.float32] | float = 0.0,
    above: float = ABOVE_DRY,
) -> NDArray[np.bool_]:
    """Cells that are water.

    Args:
        probability: of water, ``(rows, columns)``.
        ground: the drivable area, of the same shape; water is nowhere else.
        sure: from here on the model is sure.
        extent: from here on a cell is water that hangs together with enough sure ones; ``sure`` unless given.
        usual: what the model says of the same cells while they are dry, of the same shape.
        above: so much more it has to be.
    """
    likely = ground & (probability - usual >= above)
    likely &= probability >= (sure if extent is None else min(extent, sure))
    count, piece = cv2.connectedComponents(likely.astype(np.uint8), connectivity=4)
    # Of ground that has fewer cells, all of them.
    least = max(1, min(round(_SURE_SHARE * probability.size), int(ground.sum())))
    enough = np.bincount(piece[likely & (probability >= sure)], minlength=count) >= least
    enough[0] = False
    return np.asarray(enough[piece], np.bool_)
