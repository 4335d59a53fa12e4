"""How often an address may come with a wrong credential before it is sent away unheard."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import deque
from typing import Final

from common.runtime.clock import Clock

_REMEMBERED: Final = 20_000
_WINDOW_SECONDS: Final = 60.0
_TRUSTED_SECONDS: Final = 3600.0


class Attempts:
    """Counts attempts by address in a sliding window; safe from several threads.

    An attempt counts from its beginning, so that many at once are as few as many in a row; ``succeeded`` takes it
    back. Who succeeded lately is let in whatever others at its address do: boxes share one behind a router.
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._begun: dict[str, deque[float]] = {}
        self._trusted: dict[bytes, float] = {}

    def begin(self, address: str, credential: str) -> float:
        """Begin an attempt: 0, or the seconds to wait when there were too many within a minute."""
        now = self._clock.monotonic()
        with self._lock:
            if self._trusted.get(self._digest(address, credential), 0.0) > now:
                return 0.0
            if len(self._begun) >= _REMEMBERED:
                self._begun.clear()
            begun = self._begun.setdefault(address, deque())
            while begun and begun[0] <= now - _WINDOW_SECONDS:
                begun.popleft()
            if len(begun) >= self._most:
                return begun[0] + _WINDOW_SECONDS - now
            begun.append(now)
            return 0.0

    def succeeded(self, address: str, credential: str) -> None:
        """The attempt was right: it does not count, and what it came with is let in for a while."""
        now, digest = self._clock.monotonic(), self._digest(address, credential)
        with self._lock:
            counted = self._trusted.get(digest, 0.0) <= now
            if counted and (begun := self._begun.get(address)):
                begun.pop()
            if len(self._trusted) >= _REMEMBERED:
                self._trusted.clear()
            self._trusted[digest] = now + _TRUSTED_SECONDS

    def failed(self, address: str, credential: str) -> None:
        """It was wrong, and counts; it may have been right before."""
        with self._lock:
            self._trusted.pop(self._digest(address, credential), None)

    def _digest(self, address: str, credential: str) -> bytes:
        return hashlib.blake2b(f"{address}\0{credential}".encode(), key=self._key).digest()
