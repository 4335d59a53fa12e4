"""The store's clock as a gateway shows it: what comes is dated by it, and held to it.

The database says by its own clock who is silent and whose lease has run out. Were what comes dated by the gateway's
machine, its boxes would be silent as soon as that machine is slow, and whoever set it back would stop the rules: nothing
is stepped that lies further ahead of its receipt than a moment. So there is one clock, the database's. The lease asks for
it; between two answers it goes on with the machine's monotonic clock, which nobody sets.

It does not go back, for what comes later must not be dated earlier: told that it is ahead, it goes slower until it is
right. Only from more than a day ahead it goes back at once, for by then it would change the times of right readings.

Source: RFC 5905 (NTP): what a clock says lies between a question and its answer; slewing and stepping.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from common.runtime.clock import Clock, SystemClock
from common.runtime.log import get_logger

#: So much slower it goes while it is ahead: an hour is made up in ten, and rules' times are a tenth off meanwhile.
SLOWER: Final = 0.1
#: Further ahead than this it goes back at once: as far ahead as a box may be and still be believed.
MOST_AHEAD_MS: Final = 86_400_000.0
_SAID_MS: Final = 1000.0
_log = get_logger("clock")


@dataclass(frozen=True, slots=True)
class Course:
    """How a clock goes from an instant of the monotonic clock (``at_s``) on; times in ms since the Unix epoch.

    ``ahead_ms`` is how much of what it shows then it has to make up.
    """

    at_s: float
    shown_ms: float
    ahead_ms: float = 0.0

    def shown(self, at_s: float) -> float:
        """What it shows."""
        gone = self._gone(at_s)
        return self.shown_ms + gone - min(self.ahead_ms, gone * SLOWER)

    def right(self, at_s: float) -> float:
        """What it would show were it not ahead."""
        return self.shown_ms - self.ahead_ms + self._gone(at_s)

    def told(self, least_ms: float, most_ms: float, at_s: float) -> Course:
        """Its course from now on, told between which two instants now is."""
        right = min(max(self.right(at_s), least_ms), most_ms)
        shown = self.shown(at_s)
        if 0.0 < shown - right <= MOST_AHEAD_MS:
            return Course(at_s, shown, shown - right)
        return Course(at_s, right)

    def _gone(self, at_s: float) -> float:
        return max(at_s - self.at_s, 0.0) * 1000.0


class StoreClock:
    """The database's clock; the machine's own until the database was heard for the first time."""

    def __init__(self, own: Clock | None = None) -> None:
        self._own = own or SystemClock()
        self._course: Course | None = None
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        with self._lock:
            course = self._course
            return self._own.now_ms() if course is None else int(course.shown(self._own.monotonic()))

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return self._own.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._own.sleep(seconds)

    def told(self, said_ms: float, asked_at: float) -> None:
        """Take over what the database said, asked at that instant of the monotonic clock and answering just now."""
        with self._lock:
            at_s = self._own.monotonic()
            first = self._course is None
            before = self._course or Course(at_s, self._own.now_ms())
            after = before.told(said_ms, said_ms + max(at_s - asked_at, 0.0) * 1000.0, at_s)
            # At first nothing is dated yet: there is nothing to go on from slowly.
            self._course = Course(at_s, after.right(at_s)) if first else after
        _tell(after.right(at_s) - before.right(at_s), first=first)


def _tell(found_ms: float, *, first: bool) -> None:
    if abs(found_ms) < _SAID_MS:
        return
    seconds = round(found_ms / 1000, 1)
    if first:
        _log.warning(
            "this machine's clock is not the database's, which counts",
            database_ahead_s=seconds,
            hint="set both by one time service: timedatectl set-ntp true",
        )
    else:
        _log.warning(
            "the database's clock was set, or this machine stood still: what comes is dated by the database",
            forward_s=seconds,
            hint="see timedatectl there; should rules stay quiet, start the gateway again",
        )
