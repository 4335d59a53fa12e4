"""Time as something handed in, so that tests decide what time it is."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is written down, monotonic time for how long things take."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(seconds, 0.0))


class ManualClock:
    """A clock that moves only when told to; sleeping moves it and returns at once."""

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:
        self._now_ms = float(now_ms)
        self._monotonic = 0.0
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return int(self._now_ms)

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Move on by that much."""
        self.advance(max(seconds, 0.0))

    def advance(self, seconds: float) -> None:
        """Let time pass: wall and monotonic together."""
        with self._lock:
            self._now_ms += seconds * 1000
            self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as a time service would; monotonic time does not notice."""
        with self._lock:
            self._now_ms += seconds * 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(at_ms: int) -> datetime:
    """An instant on the wire as an aware UTC datetime (exact to the millisecond)."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def to_ms(at: datetime) -> int:
    """An aware datetime as milliseconds since the Unix epoch."""
    if at.tzinfo is None:
        raise ValueError(f"expected a datetime with a time zone, got {at.isoformat()} without one")
    return (at - _EPOCH) // timedelta(milliseconds=1)
