"""Detection on parts of a picture: a small detector sees more of what is far away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.camera.frame import Image
from edge.vision.detections import Detections
from edge.vision.detector import Detector
from edge.vision.motion import Crop
from edge.vision.suppression import suppress

_EDGE = 3.0
"""Pixels: a box that ends so near the border of a crop was probably cut off by it."""


def tiles(width: int, height: int, *, across: int = 2, down: int = 2, shared: float = 0.25) -> list[Crop]:
    """Crops of equal size that cover a picture, neighbours sharing that much of their width and height."""
    tile_width = round(width / (across - (across - 1) * shared))
    tile_height = round(height / (down - (down - 1) * shared))
    lefts = np.linspace(0, width - tile_width, across).round().astype(int).tolist()
    tops = np.linspace(0, height - tile_height, down).round().astype(int).tolist()
    return [(left, top, left + tile_width, top + tile_height) for top in tops for left in lefts]


def detect_in(detector: Detector, image: Image, crops: Sequence[Crop], overlap: float = 0.55) -> Detections:
    """Detect in each crop and bring the answers together.

    A box that a crop's border cuts is left out unless the border is the picture's own: a neighbouring crop or
    the whole picture, if looked at too, sees that object whole.

    Args:
        detector: looked through once for each crop.
        image: uint8 ``(height, width, 3)``.
        crops: parts of the picture, overlapping.
        overlap: IoU above which boxes of one label from different crops are one object.
    """
    height, width = image.shape[:2]
    parts = []
    for left, top, right, bottom in crops:
        found = detector.detect(image[top:bottom, left:right]).moved(left, top)
        box = found.xyxy
        cut = (
            ((box[:, 0] < left + _EDGE) & (left > 0))
            | ((box[:, 1] < top + _EDGE) & (top > 0))
            | ((box[:, 2] > right - _EDGE) & (right < width))
            | ((box[:, 3] > bottom - _EDGE) & (bottom < height))
        )
        parts.append(found.where(~cut))
    every = Detections.empty(detector.labels).with_more(*parts)
    return every.where(suppress(every.xyxy, every.score, every.label, overlap))
