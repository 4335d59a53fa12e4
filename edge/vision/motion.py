"""Whether anything moves, and where: cheap enough for every frame; pure given the frames.

The gate compares a coarse picture with a slowly learnt background. It decides only whether a look with the
detector is worth its price; what happened is never decided here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.frame import Image
from edge.vision.detections import Boxes


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """What moved in one picture.

    Attributes:
        moving: anything large enough to matter.
        share: of the picture that differs from the background, 0..1.
        boxes: float32 ``(N, 4)`` in pixels of the frame, largest first.
    """

    moving: bool
    share: float
    boxes: Boxes


class MotionGate:
    """Compares each frame with a background that is learnt as time passes.

    Args:
        coarse_width: width of the picture that is compared, in pixels.
        difference: grey levels (0..255) from which a pixel counts as changed.
        smallest: connected changed pixels of the coarse picture that count as motion.
        learn_s: the time in which two thirds of a change become background.
    """

    def __init__(
        self, *, coarse_width: int = 192, difference: float = 18.0, smallest: int = 8, learn_s: float = 6.0
    ) -> None:
        self._coarse_width = coarse_width
        self._difference = difference
        self._smallest = smallest
        self._learn_s = learn_s
        self._background: NDArray[np.float32] | None = None
        self._at_ms = 0

    def look(self, image: Image, at_ms: int) -> Motion:
        """Compare a frame with the background, then learn from it.

        The first frame, and the first of another size, counts as moving as a whole.
        """
        step = max(1, image.shape[1] // self._coarse_width)
        # The green channel stands for brightness, and skipping pixels for shrinking: both cost nothing.
        grey = cv2.blur(np.ascontiguousarray(image[::step, ::step, 1]), (3, 3)).astype(np.float32)
        if self._background is None or self._background.shape != grey.shape:
            self._background, self._at_ms = grey, at_ms
            whole = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
            return Motion(True, 1.0, whole)
        changed = (np.abs(grey - self._background) > self._difference).astype(np.uint8)
        share = float(changed.mean())
        boxes = self._blobs(changed, step, image.shape)
        self._learn(grey, at_ms, share)
        return Motion(len(boxes) > 0, share, boxes)

    def _blobs(self, changed: NDArray[np.uint8], step: int, shape: tuple[int, ...]) -> Boxes:
        joined = cv2.dilate(changed, np.ones((3, 3), np.uint8))
        count, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        if count <= 1:
            return np.zeros((0, 4), np.float32)
        stats = stats[1:]
        # Dilation adds a ring to each blob; a lone pixel grows to nine.
        stats = stats[stats[:, cv2.CC_STAT_AREA] >= self._smallest + 9]
        stats = stats[np.argsort(-stats[:, cv2.CC_STAT_AREA], kind="stable")]
        corner = stats[:, :2]
        boxes = (np.concatenate((corner, corner + stats[:, 2:4]), axis=1) * step).astype(np.float32)
        limit = np.array([shape[1], shape[0], shape[1], shape[0]], np.float32)
        return np.minimum(boxes, limit)

    def _learn(self, grey: NDArray[np.float32], at_ms: int, share: float) -> None:
        assert self._background is not None
        elapsed = max(at_ms - self._at_ms, 0) / 1000.0
        self._at_ms = at_ms
        # When most of the picture changes at once, the light did: begin again rather than wait it out.
        rate = 1.0 if share > 0.7 else 1.0 - math.exp(-elapsed / self._learn_s)
        self._background += np.float32(rate) * (grey - self._background)


Crop = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels of the frame."""


def regions(
    boxes: Boxes, width: int, height: int, *, smallest: int = 320, margin: float = 0.25, at_most: int = 4
) -> list[Crop]:
    """Square-ish crops that together cover all boxes, so that a small detector sees more of each.

    Args:
        boxes: float32 ``(N, 4)``, what moves and what is followed, in pixels of the frame.
        width: of the frame.
        height: of the frame.
        smallest: no side of a crop is shorter, frame permitting: a detector wants surroundings.
        margin: added around each box, as a share of its longer side.
        at_most: crops; where more would be needed the whole frame is the answer.

    Returns:
        ``(left, top, right, bottom)`` inside the frame, in reading order; empty when there are no boxes.
    """
    crops = [_around(box, width, height, smallest, margin) for box in boxes.tolist()]
    merged = True
    while merged:
        merged = False
        for first in range(len(crops)):
            for second in range(first + 1, len(crops)):
                union = _union(crops[first], crops[second])
                # Two crops become one when looking at the one costs little more than at both.
                if _area(union) <= 1.2 * max(_area(crops[first]), _area(crops[second])):
                    crops[first] = union
                    del crops[second]
                    merged = True
                    break
            if merged:
                break
    if len(crops) > at_most:
        return [(0, 0, width, height)]
    return sorted(crops, key=lambda crop: (crop[1], crop[0]))


def _around(box: Sequence[float], width: int, height: int, smallest: int, margin: float) -> Crop:
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    side = max(side * (1 + 2 * margin), smallest)
    across, down = min(side, width), min(side, height)
    x = min(max((left + right - across) / 2, 0), width - across)
    y = min(max((top + bottom - down) / 2, 0), height - down)
    return math.floor(x), math.floor(y), math.ceil(x + across), math.ceil(y + down)


def _union(first: Crop, second: Crop) -> Crop:
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )


def _area(crop: Crop) -> int:
    return (crop[2] - crop[0]) * (crop[3] - crop[1])
