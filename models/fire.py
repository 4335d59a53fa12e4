"""Where something burns or smokes in a picture, as a model that its manifest describes sees it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.manifest import FireManifest
from models.maps import MapModel


class FireLook(NamedTuple):
    """One look; everything by cell of the whole picture, float32 ``(rows, columns)``.

    Attributes:
        fire, smoke: probabilities.
        brightness: mean, in grey levels of 0..255.
    """

    fire: NDArray[np.float32]
    smoke: NDArray[np.float32]
    brightness: NDArray[np.float32]


class FireSegmenter(MapModel[FireManifest]):
    """Gives two maps for a picture, open fire and smoke; see ``MapModel``."""

    def look(self, picture: NDArray[np.uint8]) -> FireLook:
        """What is seen in a uint8 BGR picture of any size."""
        fire, smoke = self.maps(picture)
        rows, columns = fire.shape
        small = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)
        return FireLook(fire, smoke, grey)
