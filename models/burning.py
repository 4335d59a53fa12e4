"""What several looks at a place where something may burn say together. Pure: maps in, evidence out.

One look is not believed: a red bus, a low sun, a lamp in the mist look like fire or smoke to a small model. What
burns stays where it is for several looks, and it lives: flames flicker, smoke drifts and grows. A lamp, a sign and a
painted wall stay as they are, and headlights pass. The scene of a camera and the measuring of the model both use this.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Brightness = NDArray[np.float32]
"""Mean brightness by cell, 0..255, ``(rows, columns)``."""

_SUDDEN: Final = 2.0
_UNREST: Final = 2.0
"""What burns stirs so many times as much as the rest of the picture, and by ``least_stir`` more."""
_REACH: Final = 2
"""Cells that a flame or a cloud may move between two looks and still be the same."""
_GLOW: Final = 15.0
"""Grey levels by which a flame is brighter than what is around it; chosen on learnt videos and other weather."""
_SKIRT: Final = 1
"""Cells next to a flame that it half fills."""
_AROUND: Final = 4
"""Cells away from it that still are what is around it."""

START_SHARE: Final = 0.003
"""Of the area watched that looks have to agree on before it is said."""
STOP_SHARE: Final = 0.001
LEAST_GROWTH: Final = 1.1
"""Times the area of the look before that what grows covers at least."""
EXIT_LOOKS: Final = 15
"""Looks in a row with less than ``STOP_SHARE`` after which it has gone out."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When looks agree.

    Attributes:
        looks: in a row that have to show it in the same place.
        least_stir: mean change of brightness from look to look where it burns, in grey levels of 255, beyond the
            change of the picture as a whole and twice the unrest of its other parts.
        least_growth: or so many times the area of the look before, in each of them. More than twice is no growth but
            something that was uncovered. None: what does not stir is not said, however it grows.
        least_glow: grey levels by which it is brighter than what is around it, in each of the looks.
    """

    looks: int = 3
    least_stir: float = 1.5
    least_growth: float | None = LEAST_GROWTH
    least_glow: float = 0.0

    def of_flames(self) -> Rule:
        """The same for open fire, which gives light and is never still.

        What only grows is a wall that the evening sun reddens; what is no brighter than its surroundings is a floor,
        or the block of a narrow link. Smoke may be both.
        """
        return replace(self, least_growth=None, least_glow=_GLOW)


class Evidence(NamedTuple):
    """What is known after a look.

    Attributes:
        seen: share of the area watched that this look calls burning.
        agreed: share that the looks agree on.
        stir: the least change of brightness there from look to look in the last looks, in grey levels.
        alive: whether it flickers, drifts or grows, in each of them: who passes before a lamp stirs it once; and
            glows, where the rule asks for that.
    """

    seen: float
    agreed: float
    stir: float
    alive: bool


class Agreement:
    """Takes look after look at one area of one camera.

    Args:
        rule: see there.
        ground: cells of the area watched, ``(rows, columns)``.
    """

    def __init__(self, rule: Rule, ground: Bools) -> None:
        self.rule = rule
        self.ground = ground
        self._watched = max(int(ground.sum()), 1)
        self._looks = np.zeros(ground.shape, np.int16)
        self._last: Brightness | None = None
        self._stirs: deque[float] = deque(maxlen=rule.looks - 1)
        self._areas: deque[int] = deque(maxlen=rule.looks)
        self._glows: deque[bool] = deque(maxlen=rule.looks)

    def forget(self) -> None:
        """Begin again: the next look has nothing to do with the last one."""
        self._looks[:] = 0
        self._last = None
        self._stirs.clear()
        self._areas.clear()
        self._glows.clear()

    def look(self, called: Bools, brightness: Brightness) -> Evidence:
        """Take one look; both arrays are of the ground's shape."""
        called = called & self.ground
        near = widened(called, _REACH)
        self._looks = np.where(
            near, np.minimum(self._looks + 1, self.rule.looks), np.maximum(self._looks - 1, 0)
        ).astype(np.int16)
        area = int(called.sum())
        self._stirs.append(self._stir(called, near, brightness))
        self._areas.append(area)
        self._glows.append(self._shines(called, brightness))
        agreed = int((called & (self._looks >= self.rule.looks)).sum())
        stir = min(self._stirs)
        alive = area > 0 and (stir >= self.rule.least_stir or self._grows()) and all(self._glows)
        return Evidence(area / self._watched, agreed / self._watched, stir, alive)

    def _shines(self, called: Bools, brightness: Brightness) -> bool:
        if self.rule.least_glow <= 0:
            return True
        around = widened(called, _AROUND) & ~widened(called, _SKIRT)
        if not around.any() or not called.any():
            # A flame that fills the picture has nothing around it.
            return bool(called.any())
        return float(brightness[called].mean() - brightness[around].mean()) >= self.rule.least_glow

    def _grows(self) -> bool:
        least = self.rule.least_growth
        if least is None or len(self._areas) < self.rule.looks:
            return False
        steps = zip(self._areas, list(self._areas)[1:], strict=False)
        return all(before > 0 and least * before <= after <= _SUDDEN * before for before, after in steps)

    def _stir(self, called: Bools, near: Bools, brightness: Brightness) -> float:
        last, self._last = self._last, brightness
        if last is None or not called.any():
            return 0.0
        change = brightness - last
        if near.all():
            return float(np.abs(change[called]).mean())
        # Clouds and the camera's own exposure change the whole picture, wind and a narrow link all of its parts: that
        # is nothing that burns.
        rest = change[~near]
        whole = float(np.median(rest))
        unrest = float(np.median(np.abs(rest - whole)))
        return max(float(np.abs(change[called] - whole).mean()) - _UNREST * unrest, 0.0)


def widened(mask: Bools, cells: int) -> Bools:
    """With every cell at most so many rows and columns away."""
    rows, columns = mask.shape
    wide = np.zeros((rows + 2 * cells, columns + 2 * cells), np.bool_)
    for down in range(2 * cells + 1):
        for across in range(2 * cells + 1):
            wide[down : down + rows, across : across + columns] |= mask
    return wide[cells : cells + rows, cells : cells + columns]
