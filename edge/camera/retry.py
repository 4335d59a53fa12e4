"""When to open a lost camera again; pure but for the dice."""

from __future__ import annotations

import random

from edge.camera.source import CameraRefusedError


class Patience:
    """Longer after each failure, and never in step with other cameras: a switch that comes back has dozens of them.

    Args:
        first_s: after the first failure at most.
        longest_s: at most, ever.
        refused_s: after a refusal, about.
        dice: for the jitter.
    """

    def __init__(
        self,
        first_s: float = 1.0,
        longest_s: float = 30.0,
        refused_s: float = 900.0,
        dice: random.Random | None = None,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._refused_s = refused_s
        self._dice = dice or random.Random()
        self._failures = 0

    def after(self, error: Exception) -> float:
        """Seconds to wait after one more failure."""
        if isinstance(error, CameraRefusedError):
            return self._refused_s * self._dice.uniform(0.8, 1.2)
        most = min(self._first_s * 2.0**self._failures, self._longest_s)
        self._failures = min(self._failures + 1, 16)
        return most * self._dice.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It gives pictures again."""
        self._failures = 0
