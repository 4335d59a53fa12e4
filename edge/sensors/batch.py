"""Readings gathered into columns, so that one packet carries many."""

from __future__ import annotations

from common.wire.messages import Readings, Series
from edge.sensors.port import Reading


class Batch:
    """Gathers readings until there are enough or the oldest has waited long enough.

    Args:
        flush_count: readings a packet.
        flush_s: seconds that a reading waits at most.
    """

    def __init__(self, flush_count: int = 50, flush_s: float = 2.0) -> None:
        self._flush_count = flush_count
        self._flush_s = flush_s
        self._columns: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
        self._count = 0
        self._since = 0.0

    def __len__(self) -> int:
        """Readings that wait."""
        return self._count

    def add(self, reading: Reading, now: float) -> None:
        """Take a reading in; ``now`` is monotonic seconds."""
        if not self._count:
            self._since = now
        at, value = self._columns.setdefault((reading.sensor, reading.metric), ([], []))
        at.append(reading.at)
        value.append(reading.value)
        self._count += 1

    def due(self, now: float) -> bool:
        """Whether it is time to send what waits."""
        return self._count >= self._flush_count or (self._count > 0 and now - self._since >= self._flush_s)

    def peek(self) -> Readings:
        """What waits, in columns; to be called when something does."""
        return Readings([Series(*key, at, value) for key, (at, value) in sorted(self._columns.items())])

    def clear(self) -> None:
        """Forget what waits: it was accepted."""
        self._columns = {}
        self._count = 0
