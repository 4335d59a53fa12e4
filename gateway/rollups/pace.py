"""How rollups leave the processor to the batches: a little at a time, with a rest after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from common.runtime.clock import Clock, SystemClock

#: A slice should take so long. A batch that comes meanwhile waits about as long at most.
_SLICE_S: Final = 0.03
#: So many times as long as a slice took is the rest after it: a sixth of one processor is used.
_REST: Final = 5.0
#: Whoever is so far behind does not rest any more. Nobody waits for what was replayed; half of what is alarmed about.
_BEHIND_S: Final = 300.0
_SMALLEST, _LARGEST = 50, 1000


class Pace:
    """Finds by measuring how many cells go into a slice, and rests after each one.

    Computed in one go, what ten seconds of replay made dirty held one of two processors for two seconds, in which
    batches queued up to half a second.
    """

    def __init__(self, clock: Clock | None = None, wait: Callable[[float], bool] | None = None) -> None:
        """``wait`` rests so many seconds and says whether to stop; without it there is no rest."""
        self._clock = clock or SystemClock()
        self._wait = wait
        self._cells = {"minutes": 500, "hours": 500}
        self.stopped = False
        self.begin()

    def size(self, kind: str) -> int:
        """How many cells the next slice should have."""
        return self._cells[kind]

    def begin(self) -> None:
        """From now on it is counted how long all that is worked on takes: what is due gets later by as much."""
        self._behind, self._began = 0.0, self._clock.monotonic()

    def hurry(self, behind_s: float) -> None:
        """Rest the less, the longer something has been due; ``behind_s`` is how long it had been at the beginning."""
        self._behind = behind_s

    @contextmanager
    def slice(self, kind: str, cells: int) -> Iterator[None]:
        """Measure a slice of so many cells, and rest."""
        began = self._clock.monotonic()
        yield
        ended = self._clock.monotonic()
        took = ended - began
        if took > 0 and cells:
            fits = cells * _SLICE_S / took
            # By no more than twice at once: a small slice's time is mostly that of its commit.
            now = self._cells[kind]
            self._cells[kind] = round(min(max(fits, now / 2, _SMALLEST), now * 2, _LARGEST))
        if self._wait is not None:
            behind = self._behind + ended - self._began
            rest = _REST * min(max(1 - behind / _BEHIND_S, 0.0), 1.0)
            self.stopped = self._wait(took * rest) or self.stopped
