"""Which cells of a map of probabilities count as standing water on a camera that knows its dry road. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ABOVE_DRY = 0.2
"""So much more like water than when it is dry a cell has to be, unless a camera's configuration says otherwise."""


def standing(
    probability: NDArray[np.float32],
    threshold: float,
    usual: NDArray[np.float32] | float = 0.0,
    above: float = ABOVE_DRY,
) -> NDArray[np.bool_]:
    """Cells that are water.

    Args:
        probability: of water, of any shape.
        threshold: from here on a cell may be water.
        usual: what the model says of the same cells while they are dry, of a shape that fits.
        above: so much more it has to be.
    """
    return np.asarray((probability >= threshold) & (probability - usual >= above), np.bool_)
