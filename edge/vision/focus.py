"""Whether a view loses its focus so slowly that it never looks unlike itself; pure.

Dirt, condensation and a lens that slips take hours to weeks. What is compared with pictures of the last minutes grows
blind with them, so this keeps one number for weeks: how sharp the edges are that a picture has
(:attr:`edge.vision.health_measure.Look.focus`). It hardly asks how much there is to see, or by what light.
"""

from __future__ import annotations

import math
from typing import Final

_DAY_MS: Final = 86_400_000.0
_MONTH_MS: Final = 30 * _DAY_MS
_FALL_MS: Final = 600_000.0
"""How slowly a sharp picture is forgotten: no lorry's headlights and no gust of rain last so long."""

_RISE_MS: Final = 60_000.0
"""How slowly one is believed: whoever wiped the lens need not wait."""

_OFTEN: Final = 0.25
"""Usual is what a camera falls short of for this share of its time: a night lens that is softer than the day's is usual."""

_LOST: Final = 0.3


class Focus:
    """How sharp one camera's edges usually are, and whether they still are.

    In its first day it takes the softest ten minutes for usual and says nothing, for it has not seen a night; from then on
    it follows by not much more than half in a month.

    Args:
        usual: from before a restart; 0 when nothing is known.
        watched_ms: for how long good pictures taught it.
    """

    def __init__(self, usual: float = 0.0, watched_ms: float = 0.0) -> None:
        self.usual, self.watched_ms = usual, watched_ms
        self._recent: float | None = None
        self._seen_ms = 0.0

    def take(self, focus: float) -> None:
        """Believe one picture at once: something else shows too that the focus is lost.

        Not in the first day: when the lens is wiped, what is left of it would be taken for usual.
        """
        if not math.isnan(focus) and self.watched_ms >= _DAY_MS:
            self._recent = focus

    def see(self, focus: float, elapsed_ms: float) -> float | None:
        """Take one picture into the last minutes.

        Returns:
            The share of the usual sharpness that is left, when that is too little; None when it will do or cannot be told.
        """
        if not math.isnan(focus):
            if self._recent is None:
                self._recent = focus
            self._seen_ms += elapsed_ms
            memory = _RISE_MS if focus > self._recent else _FALL_MS
            self._recent += (1.0 - math.exp(-elapsed_ms / memory)) * (focus - self._recent)
        if self._recent is None or not self.usual or self.watched_ms < _DAY_MS:
            return None
        share = self._recent / self.usual
        return share if share < _LOST else None

    def learn(self, focus: float, elapsed_ms: float) -> None:
        """Let the last minutes become a part of what is usual; after a good picture that was seen."""
        # One picture is not what the last minutes were.
        if math.isnan(focus) or self._recent is None or self._seen_ms < _FALL_MS:
            return
        recent = max(self._recent, 1e-3)
        if self.watched_ms < _DAY_MS:
            self.usual = min(self.usual or recent, recent)
        else:
            way = _OFTEN if recent > self.usual else _OFTEN - 1.0
            self.usual *= math.exp(way * elapsed_ms / _MONTH_MS)
        self.watched_ms += elapsed_ms
