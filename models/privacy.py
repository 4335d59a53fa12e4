"""Where heads and number plates are in a picture, as a model that its manifest describes sees them."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from common.runtime.errors import InvalidError
from models.manifest import PrivacyManifest
from models.maps import MapModel
from models.runtime import ort
from models.store import Model

Mask = NDArray[np.bool_]
CERTAIN: Final = 255
"""A probability of 1, as a byte."""
THRESHOLDS: Final = {"head": 0.9, "plate": 0.1, "near": 0.14}
"""What an export writes into the manifest. They were chosen by what a box hides, by model and street detector together, in
photos neither learnt nor judged on; an export has no street detector. Weights of another training need others."""
#: Sides of the squares that are looked at, as shares of the picture's shorter side: near heads, then distant ones.
_SIDES: Final = (1.0, 0.57)
#: By which neighbouring squares overlap: nobody's head is cut by all of them.
_SHARED: Final = 0.2
#: What is found is widened by so many pixels and this share of half its thickness: a map ends some part of a cell inside
#: of a head, whatever the head's size, and a little more of a large one, whose rim is cut off by its own shadow.
_WIDER_PX: Final = 2.0
_WIDER: Final = 0.1
#: Where the looks of two sizes disagree, the surer one counts so much: alone it would hide much beside the head.
_SURER: Final = 0.75
#: A spot that fills this share of its convex hull is one head, or part of one; others are heads in a row.
_COMPACT: Final = 0.8
#: No picture is looked at in more squares of one size across or down.
_MOST: Final = 5


class Private(NamedTuple):
    """Pixels by which somebody can be told, bool ``(height, width)`` of the picture.

    Attributes:
        heads: bare or helmeted, from all sides.
        plates: of vehicles.
        perhaps: heads too, if somebody stands there; at least what ``heads`` says.
    """

    heads: Mask
    plates: Mask
    perhaps: Mask


class PrivacyFinder(MapModel[PrivacyManifest]):
    """Looks at a picture in squares of two sizes; see ``MapModel`` for its arguments.

    It keeps no memory between two pictures: a box makes few.
    """

    def __init__(self, model: Model[PrivacyManifest], threads: int = 1) -> None:
        super().__init__(model, threads, lean=True)

    def find(self, picture: NDArray[np.uint8]) -> Private:
        """Heads and plates in a uint8 BGR picture of any size, a little wider than they are.

        Raises:
            InvalidError: ``model.failed`` when the model breaks down or gives what is no probability.
        """
        return self.of(self.probabilities(picture))

    def of(self, likely: NDArray[np.uint8]) -> Private:
        """What ``find`` makes of ``probabilities``."""
        thresholds = self.manifest.thresholds
        heads = spots(likely[0] >= thresholds.head * CERTAIN)
        perhaps = heads if thresholds.near is None else heads | spots(likely[0] >= thresholds.near * CERTAIN)
        return Private(heads, widened(likely[1] >= thresholds.plate * CERTAIN), perhaps)

    def probabilities(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """How likely each pixel is part of a head, of a plate: uint8 ``(2, height, width)``, ``CERTAIN`` being 1.

        A byte a pixel: a picture of a large camera in floats would take more memory than the model.

        Raises:
            InvalidError: as ``find`` does.
        """
        near, far = (self._looked(picture, share) for share in _SIDES)
        surer, other = np.maximum(near, far), np.minimum(near, far)
        for label in range(2):
            cv2.addWeighted(surer[label], _SURER, other[label], 1 - _SURER, 0, dst=surer[label])
        return surer

    def _looked(self, picture: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
        height, width = picture.shape[:2]
        likely = np.zeros((2, height, width), np.uint8)
        for left, top, side in squares(width, height, share):
            maps = self._sound(picture[top : top + side, left : left + side])
            for label in range(2):
                part = likely[label, top : top + side, left : left + side]
                whole = cv2.resize(maps[label], (part.shape[1], part.shape[0]))
                np.maximum(part, np.round(whole * CERTAIN).astype(np.uint8), out=part)
        return likely

    def _sound(self, part: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The maps of one square. What is no number is below every threshold: it would hide nothing."""
        fault: object
        try:
            maps = self.maps(part)
        except (
            ort.capi.onnxruntime_pybind11_state.Fail,
            ort.capi.onnxruntime_pybind11_state.RuntimeException,
            ort.capi.onnxruntime_pybind11_state.InvalidArgument,
        ) as error:
            fault = error
        else:
            if bool(((maps >= 0) & (maps <= 1)).all()):
                return maps
            fault = f"from {maps.min()} to {maps.max()}"
        raise InvalidError(
            "model.failed",
            f"{self.manifest.name}: expected probabilities from 0 to 1, got {fault}",
            "verify the file with `drumtower models verify`; if it is whole, the machine's memory may not be",
        )


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


def spots(mask: Mask) -> Mask:
    """What to hide of cells that may be heads: compact spots made convex, as heads are, and all a little wider."""
    return widened(convex(mask))


def convex(mask: Mask) -> Mask:
    """Each connected spot with the dents filled that a cap's shade or a strap leaves; heads in a row stay as they are."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    filled = mask.copy()
    for number in range(1, count):
        left, top, across, down, area = stats[number].tolist()
        own = (labels[top : top + down, left : left + across] == number).astype(np.uint8)
        outlines, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        hull = cv2.fillConvexPoly(np.zeros_like(own), cv2.convexHull(np.concatenate(outlines)), 1)
        if area >= _COMPACT * int(hull.sum()):
            filled[top : top + down, left : left + across] |= hull > 0
    return filled


def widened(mask: Mask) -> Mask:
    """Each connected spot grown on all sides by two pixels and a share of half its thickness.

    Thickness is that of the thickest part (the largest circle inside), so that heads in a row, which are one spot, grow
    no further than one of them alone would.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    wider = mask.copy()
    height, width = mask.shape
    for number in range(1, count):
        left, top, across, down, _ = stats[number].tolist()
        # The circle has to end where the spot does, or the picture: a spot's own border may be that of its box.
        own = labels[top : top + down, left : left + across] == number
        inside = np.pad(own.astype(np.uint8), 1)
        by = round(_WIDER_PX + _WIDER * float(cv2.distanceTransform(inside, cv2.DIST_L2, 3).max()))
        rows = slice(max(top - by, 0), min(top + down + by, height))
        columns = slice(max(left - by, 0), min(left + across + by, width))
        spot = (labels[rows, columns] == number).astype(np.uint8)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
        wider[rows, columns] |= cv2.dilate(spot, disc) > 0
    return wider
