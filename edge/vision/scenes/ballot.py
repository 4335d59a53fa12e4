"""Several looks at one head, one verdict; it may be *unknown*."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Verdict = Literal["helmetless", "helmet", "unknown"]
#: Log-odds: no single look is surer than this, so that one bad crop cannot outvote two good ones.
_SUREST: Final = 3.0


class Look(NamedTuple):
    """One look at a head.

    Attributes:
        at_ms: when.
        quality: sharpness times size, in any unit; more is better.
        probability: that the head is bare.
    """

    at_ms: int
    quality: float
    probability: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """From ``helmetless`` on a head is bare, up to ``helmet`` it is not, between nobody knows."""

    helmetless: float
    helmet: float


class Ballot:
    """The best looks at one rider.

    Args:
        most: looks that are kept; a better one takes the place of the worst.
        apart_ms: least time between two looks: one picture's luck shall not vote twice.
    """

    def __init__(self, most: int, apart_ms: int) -> None:
        self._most, self._apart_ms = most, apart_ms
        self._looks: list[Look] = []

    @property
    def looks(self) -> tuple[Look, ...]:
        """In the order of time."""
        return tuple(self._looks)

    def wants(self, quality: float, at_ms: int) -> bool:
        """Whether a look of this quality would count: it costs a run of the model."""
        rival = self._rival(at_ms)
        if rival is not None:
            return quality > 1.15 * rival.quality
        return len(self._looks) < self._most or quality > 1.15 * self._worst().quality

    def add(self, look: Look) -> None:
        """Let a look vote that was wanted."""
        gone = self._rival(look.at_ms)
        if gone is None and len(self._looks) >= self._most:
            gone = self._worst()
        if gone is not None:
            self._looks.remove(gone)
        self._looks.append(look)
        self._looks.sort()

    def _rival(self, at_ms: int) -> Look | None:
        near = [look for look in self._looks if abs(look.at_ms - at_ms) < self._apart_ms]
        return min(near, key=lambda look: look.quality, default=None)

    def _worst(self) -> Look:
        return min(self._looks, key=lambda look: look.quality)


def mean_probability(looks: Iterable[Look]) -> float:
    """The looks' log-odds, weighed by the root of their quality, as one probability; 0.5 without any."""
    odds = [(math.sqrt(max(look.quality, 0.0)), _log_odds(look.probability)) for look in looks]
    weight = math.fsum(share for share, _ in odds)
    if weight <= 0:
        return 0.5
    return 1 / (1 + math.exp(-math.fsum(share * odd for share, odd in odds) / weight))


def verdict(looks: Sequence[Look], bounds: Bounds, least: int) -> Verdict:
    """What the looks say together; fewer than ``least`` say nothing."""
    if len(looks) < least:
        return "unknown"
    mean = mean_probability(looks)
    if mean >= bounds.helmetless:
        return "helmetless"
    return "helmet" if mean <= bounds.helmet else "unknown"


def _log_odds(probability: float) -> float:
    inside = min(max(probability, 1e-6), 1 - 1e-6)
    return min(max(math.log(inside / (1 - inside)), -_SUREST), _SUREST)
