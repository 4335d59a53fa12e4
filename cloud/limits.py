"""How often an address may ask what is open to everybody: a bucket each, refilled evenly.

Of one process; several beside each other allow so much each. Behind a proxy the address is the proxy's unless uvicorn is
told whom to believe (``--forwarded-allow-ips``).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from cloud.errors import TooManyRequestsError
from common.runtime.clock import Clock

_MOST_ADDRESSES: Final = 50_000


@dataclass(slots=True)
class RateLimit:
    """At most so many requests a minute of one address, all of them at once if it likes."""

    clock: Clock
    a_minute: int
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, address: str) -> None:
        """Count a request.

        Raises:
            TooManyRequestsError: it is one too many; says how long to wait.
        """
        now = self.clock.monotonic()
        with self._lock:
            left, since = self._left.get(address, (float(self.a_minute), now))
            left = min(left + (now - since) * self.a_minute / 60, self.a_minute)
            if left >= 1:
                if len(self._left) >= _MOST_ADDRESSES and address not in self._left:
                    # The one that asked longest ago has the fullest bucket, or nearly.
                    self._left.pop(next(iter(self._left)))
                self._left.pop(address, None)
                self._left[address] = (left - 1, now)
                return
        wait_s = ceil((1 - left) * 60 / self.a_minute)
        raise TooManyRequestsError(
            "request.too_many",
            f"expected at most {self.a_minute} requests a minute of one address, got more",
            f"wait {wait_s} s",
            wait_s,
        )
