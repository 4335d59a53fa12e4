"""A counter that begins again after its highest number: how much it grew, and how fast. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

#: A rate is told over this many windows at most: over a longer silence it would be no rate of now.
_STALE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Growth:
    """What one look at a counter told.

    Attributes:
        amount: added since the look before; None when that is not known.
        per_hour: how fast it grew over the window; None until one is full.
        set_back: whether the counter was set back in between.
    """

    amount: float | None = None
    per_hour: float | None = None
    set_back: bool = False


class Counter:
    """Follows one counter.

    Args:
        modulus: how many numbers it has; after the last comes 0.
        scale: what one count is worth.
        over_s: of the window that a rate is told over.
        most_per_hour: more than that between two looks is a counter set back, not one that went round.
    """

    def __init__(self, *, modulus: int, scale: float, over_s: float, most_per_hour: float) -> None:
        self._modulus = modulus
        self._scale = abs(scale)
        self._over_s = over_s
        self._most_per_hour = most_per_hour
        self._last: int | None = None
        self._sum = 0
        #: Of each look: when (monotonic seconds), and the sum of all counts until then.
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, count: int, now: float) -> Growth:
        """Take in what stands there; ``now`` in monotonic seconds."""
        if self._last is None:
            return self._begin(count, now)
        grown = (count - self._last) % self._modulus
        elapsed = now - self._looks[-1][0]
        # One more count than the rate allows: between two looks there may be a count's rest of either. After a long
        # silence a low number is rather that of a sensor that was switched off than of one that went round.
        too_fast = (grown - 1) * self._scale * 3600 > self._most_per_hour * elapsed
        if too_fast or (count < self._last and elapsed > self._over_s * _STALE):
            self._begin(count, now)
            return Growth(set_back=True)
        self._last = count
        self._sum += grown
        self._looks.append((now, self._sum))
        # The last look that is at least a window old is where the window begins.
        while len(self._looks) > 1 and now - self._looks[1][0] >= self._over_s:
            self._looks.popleft()
        return Growth(round(grown * self._scale, 9), self._rate(now))

    def _begin(self, count: int, now: float) -> Growth:
        self._last = count
        self._looks.clear()
        self._looks.append((now, self._sum))
        return Growth()

    def _rate(self, now: float) -> float | None:
        began, before = self._looks[0]
        elapsed = now - began
        if not self._over_s <= elapsed <= self._over_s * _STALE:
            return None
        return round((self._sum - before) * self._scale * 3600 / elapsed, 6)
