"""Where water stands in a picture, as a model that its manifest describes sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.manifest import WaterManifest
from models.maps import MapModel


class WaterSegmenter(MapModel[WaterManifest]):
    """Gives a map of probabilities for a picture; see ``MapModel``."""

    def probability(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """How likely each cell is standing water: ``(rows, columns)``."""
        water: NDArray[np.float32] = self.maps(picture)[0]
        return water
