"""How far the box's clock is from the district's, as receipts tell. Pure; nothing is set right by it.

A receipt carries the gateway's time at which it was made. Until the box reads it some time passes, so each receipt
says at least how far the district is ahead; the least delayed of the last ones says it best (the clock filter of RFC
5905, section 10). Half of the quickest round trip to the broker is added for the way that even that one took.

Receipts are held against the monotonic clock: when the box's wall clock is set, the next answer is right at once.
"""

from __future__ import annotations

from collections import deque
from typing import Final

#: Receipts looked back at: some three minutes of a box that says little. A quartz drifts by milliseconds meanwhile, and a
#: gateway with another clock is followed after as many.
_RECEIPTS: Final = 16
_TRIPS: Final = 32
#: An older receipt says nothing any more: the monotonic clock drifts as well.
_OLDEST_S: Final = 900.0


class ClockOffset:
    """Follows the offset of one box; one thread tells it, any may ask."""

    def __init__(self) -> None:
        #: Of each receipt: when it was read, and the gateway's clock less the box's monotonic clock; in seconds.
        self._receipts: deque[tuple[float, float]] = deque(maxlen=_RECEIPTS)
        self._trips: deque[float] = deque(maxlen=_TRIPS)
        self._ahead: float | None = None
        self._way = 0.0

    def round_trip(self, seconds: float) -> None:
        """The broker acknowledged a packet so long after it was sent."""
        self._trips.append(seconds)
        self._way = min(self._trips) / 2

    def receipt(self, made_at_ms: int, now: float) -> None:
        """A receipt was read; ``now`` in monotonic seconds."""
        self._receipts.append((now, made_at_ms / 1000.0 - now))
        while now - self._receipts[0][0] > _OLDEST_S:
            self._receipts.popleft()
        self._ahead = max(ahead for _, ahead in self._receipts)

    def offset_ms(self, wall_ms: int, now: float) -> int | None:
        """What would have to be added to the box's wall clock, in ms; None before the first receipt.

        Args:
            wall_ms: what the wall clock shows, ms since the Unix epoch.
            now: the monotonic clock at the same moment, in seconds.
        """
        return None if self._ahead is None else round((self._ahead + self._way + now) * 1000.0 - wall_ms)
