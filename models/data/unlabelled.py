"""Who and what stands in a photo besides what was labelled, as the street detector sees it.

Labellers marked riders' heads and their plates. The policeman beside them, the passer-by and the cars have heads and
plates too; a network that takes them for background learns to leave them unblurred.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.runtime import open_session

#: Places of COCO's categories in the detector's answer.
_PERSON: Final = 0
_VEHICLES: Final = (2, 5, 7)
_SIZE: Final = (480, 360)
_SURE: Final = 0.3
_HEAD_SHARE: Final = 0.4
_LOWER: Final = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Boxes as shares of the photo, float64 ``(N, 4)``; several may be of one object.

    Attributes:
        persons: riders too.
        vehicles: cars, buses, lorries.
    """

    persons: NDArray[np.float64]
    vehicles: NDArray[np.float64]

    @classmethod
    def nothing(cls) -> Seen:
        """Where nobody looked."""
        return cls(np.zeros((0, 4)), np.zeros((0, 4)))


class Onlooker:
    """Asks the street detector, with boxes left overlapping.

    Args:
        street_weights: the file that ships as ``cocossd``.
    """

    def __init__(self, street_weights: Path) -> None:
        self._session = open_session(street_weights, 1)

    def look(self, photo: NDArray[np.uint8]) -> Seen:
        """At the whole photo, uint8 BGR."""
        small = cv2.resize(photo, _SIZE, interpolation=cv2.INTER_AREA)
        name = self._session.get_inputs()[0].name
        answers = self._session.run(None, {name: np.ascontiguousarray(small[None, ..., ::-1])})
        scores, boxes = sorted((np.asarray(one) for one in answers), key=lambda one: one.ndim)
        upright = boxes[0, :, 0, [1, 0, 3, 2]].T.astype(np.float64)
        likely = scores[0]
        return Seen(
            upright[likely[:, _PERSON] >= _SURE],
            upright[likely[:, list(_VEHICLES)].max(axis=1) >= _SURE],
        )


def heads_unlabelled(persons: NDArray[np.float64], heads: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upper parts of those persons whose head nobody labelled.

    Args:
        persons: ``(N, 4)``.
        heads: ``(M, 4)``, labelled.
    """
    upper = persons.copy()
    across, down = persons[:, 2] - persons[:, 0], persons[:, 3] - persons[:, 1]
    upper[:, 0] -= 0.1 * across
    upper[:, 2] += 0.1 * across
    upper[:, 1] -= 0.1 * down
    upper[:, 3] = persons[:, 1] + _HEAD_SHARE * down
    middle = (heads[:, :2] + heads[:, 2:]) / 2
    holds = ((middle[None] > upper[:, None, :2]) & (middle[None] < upper[:, None, 2:])).all(axis=2)
    labelled = np.asarray(holds, np.bool_).any(axis=1)
    return np.asarray(upper[~labelled], np.float64)


def plates_unlabelled(vehicles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lower parts of vehicles, ``(N, 4)``: a plate may be there."""
    lower = vehicles.copy()
    lower[:, 1] += _LOWER * (vehicles[:, 3] - vehicles[:, 1])
    return lower


def plate_places(vehicles: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Where plates may be put on these vehicles, ``(N, 4)``: low, near the middle, as wide as they are on cars."""
    across, down = vehicles[:, 2] - vehicles[:, 0], vehicles[:, 3] - vehicles[:, 1]
    wide = across * rng.uniform(0.2, 0.32, len(vehicles))
    x = vehicles[:, 0] + across * rng.uniform(0.35, 0.65, len(vehicles))
    y = vehicles[:, 1] + down * rng.uniform(0.55, 0.85, len(vehicles))
    high = wide * 0.33
    return np.stack((x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), axis=1)
