"""Where heads and number plates are in a picture, as a model that its manifest describes sees them."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.manifest import PrivacyManifest
from models.maps import MapModel

Mask = NDArray[np.bool_]
#: Sides of the squares that are looked at, as shares of the picture's shorter side: near heads, then distant ones.
_SIDES: Final = (1.0, 0.57)
#: By which neighbouring squares overlap: nobody's head is cut by all of them.
_SHARED: Final = 0.2
#: What is found is widened by this share of its size, for a map of cells ends a little inside of a head.
_WIDER: Final = 0.10
#: No picture is looked at in more squares of one size across or down.
_MOST: Final = 5


class Private(NamedTuple):
    """Pixels by which somebody can be told, bool ``(height, width)`` of the picture.

    Attributes:
        heads: bare or helmeted, from all sides.
        plates: of vehicles.
    """

    heads: Mask
    plates: Mask


class PrivacyFinder(MapModel[PrivacyManifest]):
    """Looks at a picture in squares of two sizes; see ``MapModel`` for its arguments."""

    def find(self, picture: NDArray[np.uint8]) -> Private:
        """Heads and plates in a uint8 BGR picture of any size, a little wider than they are."""
        likely = self.probabilities(picture)
        thresholds = self.manifest.thresholds
        return Private(widened(likely[0] >= thresholds.head), widened(likely[1] >= thresholds.plate))

    def probabilities(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """How likely each pixel is part of a head, of a plate: float32 ``(2, height, width)``."""
        height, width = picture.shape[:2]
        likely = np.zeros((2, height, width), np.float32)
        for share in _SIDES:
            for left, top, side in squares(width, height, share):
                maps = self.maps(picture[top : top + side, left : left + side])
                for label in range(2):
                    part = likely[label, top : top + side, left : left + side]
                    size = (part.shape[1], part.shape[0])
                    np.maximum(part, cv2.resize(maps[label], size), out=part)
        return likely


def squares(width: int, height: int, share: float) -> list[tuple[int, int, int]]:
    """Left, top and side of overlapping squares that cover a picture, in reading order.

    Args:
        width: of the picture.
        height: of the picture.
        share: of its shorter side that the squares' sides are, more where a long picture would need too many.
    """
    side = round(max(min(width, height) * share, max(width, height) / (1 + (_MOST - 1) * (1 - _SHARED))))

    def places(length: int) -> list[int]:
        count = max(1, math.ceil((length - _SHARED * side) / (side * (1 - _SHARED)) - 1e-9))
        return [round(place) for place in np.linspace(0, max(length - side, 0), count)]

    return [(left, top, side) for top in places(height) for left in places(width)]


def widened(mask: Mask) -> Mask:
    """Each connected spot grown on all sides by a share of its size, by a pixel at least."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    wider = mask.copy()
    height, width = mask.shape
    for number in range(1, count):
        left, top, across, down, area = stats[number].tolist()
        by = 1 + round(_WIDER * math.sqrt(area))
        rows = slice(max(top - by, 0), min(top + down + by, height))
        columns = slice(max(left - by, 0), min(left + across + by, width))
        spot = (labels[rows, columns] == number).astype(np.uint8)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
        wider[rows, columns] |= cv2.dilate(spot, disc) > 0
    return wider
