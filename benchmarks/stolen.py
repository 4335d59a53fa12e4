"""What a machine's host takes of its processors for others: time in which whatever runs here stands still."""

from __future__ import annotations

import time
from typing import Self

import psutil


class Stolen:
    """Measures it while its block runs. Usable as a context manager.

    ``share`` is of the time of all processors, 0…1; 0 where the kernel does not tell (it does on virtual Linux machines:
    ``steal`` of ``proc(5)``).
    """

    def __init__(self) -> None:
        self.share = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        self._began, self._before = time.monotonic(), _stolen_s()
        return self

    def __exit__(self, *_: object) -> None:
        """Find the share."""
        seconds = (time.monotonic() - self._began) * (psutil.cpu_count() or 1)
        self.share = (_stolen_s() - self._before) / seconds


def _stolen_s() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))
