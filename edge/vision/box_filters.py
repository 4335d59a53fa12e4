"""Where boxes are, and should be by now: Kalman filters, pure. ``tracker`` says where the ideas come from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.vision.detections import Boxes

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


class BoxFilters:
    """Kalman filters of many boxes at once.

    A box is centre x, centre y, width, height, each with a velocity; the four are independent, so a
    covariance is three numbers (variance of place, of both, of velocity) and no matrix is ever inverted.
    """

    def __init__(self, *, manoeuvre: float, jitter: float, surprise: float) -> None:
        """As ``TrackerSettings`` tells them."""
        self._manoeuvre, self._jitter, self._surprise = manoeuvre, jitter, surprise
        # Place, velocity, and the three numbers of the covariance; of N boxes, by coordinate.
        self._state = np.zeros((5, 0, 4))

    def begin(self, boxes: Boxes) -> None:
        """Add filters at rest."""
        place = centres(boxes)
        height = place[:, 3:4]
        nothing = np.zeros_like(place)
        exact = nothing + (self._jitter * height) ** 2
        # A walker crosses about one body height a second, a rider three; sizes change far less.
        quick = (np.array([1.5, 0.75, 0.15, 0.15]) * height) ** 2
        born = np.stack((place, nothing, exact, nothing, quick))
        self._state = np.concatenate((self._state, born), axis=1)

    def predict(self, seconds: float) -> None:
        """Move on by that much time."""
        if seconds <= 0:
            return
        place, speed, var_place, var_both, var_speed = self._state
        noise = (self._manoeuvre * np.array([1.0, 0.5, 0.2, 0.2]) * place[:, 3:4]) ** 2
        place[:, :2] += speed[:, :2] * seconds
        var_place += seconds * (2 * var_both + seconds * var_speed) + noise * seconds**3 / 3
        var_both += seconds * var_speed + noise * seconds**2 / 2
        var_speed += noise * seconds

    def correct(self, which: Places, boxes: Boxes, score: NDArray[np.float32]) -> None:
        """Take measurements in; one that is doubtful, by its score or its size, moves its filter less."""
        place, speed, variance, both, var_speed = self._state[:, which]
        measured = centres(boxes)
        deviation = self._jitter * measured[:, 3:4] * (1.0 + 2.0 * (1.0 - score[:, None].astype(np.float64)))
        noise = deviation**2
        off = measured - place
        odd = (off[:, 2:] ** 2 / (variance[:, 2:] + noise)).mean(axis=1, keepdims=True)
        total = variance + noise * np.maximum(odd / self._surprise, 1.0)
        gain, gain_speed = variance / total, both / total
        self._state[:, which] = (
            *(place + gain * off, speed + gain_speed * off),
            *((1 - gain) * variance, (1 - gain) * both, var_speed - gain_speed * both),
        )

    def keep(self, which: list[int]) -> None:
        """Drop all others."""
        self._state = self._state[:, which]

    def boxes(self) -> Boxes:
        """Where the boxes should be now."""
        return corners(self._state[0])


def centres(boxes: Boxes) -> Floats:
    """Middle, width and height of boxes: ``(N, 4)``."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate((boxes[:, :2] + size / 2, size), axis=1).astype(np.float64)


def corners(place: Floats) -> Boxes:
    """The boxes of these middles, widths and heights; none thinner than a pixel."""
    centre, half = place[:, :2], np.maximum(place[:, 2:], 1.0) / 2
    return np.concatenate((centre - half, centre + half), axis=1).astype(np.float32)
