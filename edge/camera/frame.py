"""One picture and the moment it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""A picture: ``(height, width, 3)``, blue, green, red."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture as the camera gave it.

    Attributes:
        image: uint8 ``(height, width, 3)``, BGR; treat it as read-only, others may hold it too.
        captured_at: the *stream's* time: the instant the stream began plus the frame's presentation
            time, in milliseconds since the Unix epoch; strictly growing within one source, unless the box's clock
            was set back by more than ten seconds meanwhile.
        n: counted from 0 over the life of the source.
    """

    image: Image
    captured_at: int
    n: int
