"""Detection on parts of a picture: a small detector sees more of what is far away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from edge.camera.frame import Image
from edge.vision.detections import Boxes, Detections
from edge.vision.detector import Detector
from edge.vision.motion import Crop
from edge.vision.suppression import suppress
from edge.vision.tracker import Track

_EDGE = 3.0
"""Pixels: a box that ends so near the border of a crop was probably cut off by it."""

_MARGIN: Final = 0.06
"""Of the picture, left around all that moves: who walks is not cut at once."""
_SHARED: Final = 0.2
"""Of a half's longer side, that it has in common with the other half."""


def halves(boxes: Boxes, width: int, height: int) -> list[Crop]:
    """One crop around all boxes where they lie close together, else two overlapping ones.

    Args:
        boxes: float32 ``(N, 4)``, what moves and what is followed, in pixels of the picture.
        width: of the picture.
        height: of the picture.

    Returns:
        Crops of at least half the picture's width and height where there is one; none when there are no boxes.
    """
    if not len(boxes):
        return []
    across, right = _span(boxes[:, 0].min(), boxes[:, 2].max(), width)
    down, bottom = _span(boxes[:, 1].min(), boxes[:, 3].max(), height)
    if (right - across) * (bottom - down) <= 0.5 * width * height:
        return [(across, down, right, bottom)]
    parts = (2, 1) if right - across >= bottom - down else (1, 2)
    crops = tiles(right - across, bottom - down, across=parts[0], down=parts[1], shared=_SHARED)
    return [(a + across, b + down, c + across, d + down) for a, b, c, d in crops]


def _span(first: float, last: float, length: int) -> tuple[int, int]:
    """A stretch around both, at least half as long as the picture and within it."""
    margin = _MARGIN * length
    first, last = max(first - margin, 0.0), min(last + margin, float(length))
    lacking = max(length / 2 - (last - first), 0.0)
    first = min(max(first - lacking / 2, 0.0), length - max(last - first, length / 2))
    return round(first), round(max(last, first + length / 2))


def _whole_in_one(boxes: Boxes, crops: Sequence[Crop]) -> bool:
    """Whether each box lies within one of the crops."""
    inside = np.zeros(len(boxes), np.bool_)
    for left, top, right, bottom in crops:
        inside |= (boxes[:, :2] >= (left, top)).all(axis=1) & (boxes[:, 2:] <= (right, bottom)).all(axis=1)
    return bool(inside.all())


class CloserLooks:
    """Which looks are given to parts of the picture: a share of them, evenly, and never two in a row.

    A look at the whole finds whoever came in anew or stands still; a look at the parts finds who is small.

    Args:
        more: looks that may be spent on parts for each look there would have been at the whole, 0..1.
    """

    def __init__(self, more: float) -> None:
        self._more = more
        self._saved = 0.0
        self._closer = False

    def crops(self, moving: Boxes, tracks: Iterable[Track], width: int, height: int) -> list[Crop]:
        """The parts to look at in this picture instead of the whole; none when the whole is to be looked at.

        Args:
            moving: float32 ``(N, 4)``, in pixels of the picture.
            tracks: all that is followed. Who would be cut by every part, being large, is looked at in the whole.
            width: of the picture.
            height: of the picture.
        """
        self._saved = min(self._saved + self._more, 1.0)
        followed = np.array([track.xyxy for track in tracks], np.float32).reshape(-1, 4)
        # Where somebody should be by now may lie beyond the picture's border.
        followed = np.clip(followed, 0, np.array([width, height, width, height], np.float32))
        boxes = np.concatenate((moving, followed))
        crops = [] if self._closer or not self._more else halves(boxes, width, height)
        self._closer = bool(crops) and len(crops) - 1 <= self._saved and _whole_in_one(followed, crops)
        if not self._closer:
            return []
        self._saved -= len(crops) - 1
        return crops


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
