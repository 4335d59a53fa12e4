"""Cutting a square out of a picture: the same way in training, in measuring and on the box."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def crop(
    picture: Picture,
    centre: tuple[float, float],
    side: float,
    size: int,
    *,
    turn: float = 0.0,
    flip: bool = False,
) -> Picture:
    """A square part of a picture as ``(size, size, 3)``; beyond its border the border is repeated.

    Args:
        picture: where from.
        centre: x, y in pixels.
        side: in pixels of the picture.
        size: of the answer.
        turn: degrees.
        flip: mirrored left to right.
    """
    scale = size / side
    warp = np.asarray(cv2.getRotationMatrix2D(centre, turn, scale), np.float64)
    warp[:, 2] += np.array([size / 2 - centre[0], size / 2 - centre[1]])
    if flip:
        warp[0] = -warp[0]
        warp[0, 2] += size - 1
    if scale < 0.5:
        # Warping looks at four pixels only: shrink first, or fine texture turns into noise.
        half = np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
        return crop(half, (centre[0] / 2, centre[1] / 2), side / 2, size, turn=turn, flip=flip)
    return np.asarray(
        cv2.warpAffine(picture, warp, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )
