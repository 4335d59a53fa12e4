"""For each camera: how long it looked, and why it did not in the rest of the time; pure.

"Nothing was there" is worth something only beside "and it was looked for so long". So every second of a camera is
booked under exactly one state, and the books go up as readings, a slice of five minutes at a time. Where the seconds
of an hour do not come to 3600 the box itself was off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, get_args

State = Literal["looked", "not_asked", "lost", "overloaded", "blocked", "blurred", "dark", "moved", "frozen"]
"""``not_asked``: no scene wants anything, or the footage is over. ``lost``: no pictures. ``overloaded``: pictures, but
nobody had the time. The others are those of :mod:`edge.vision.health`."""

STATES: Final[tuple[State, ...]] = get_args(State)
SLICE_MS: Final = 300_000


class Coverage:
    """The book of one camera.

    Args:
        now_ms: wall time; slices end at its whole five minutes.
        monotonic: seconds, which durations go by.
    """

    def __init__(self, now_ms: int, monotonic: float) -> None:
        self._slice = now_ms // SLICE_MS
        self._at = monotonic
        self._seconds: dict[State, float] = {}

    def note(self, state: State, now_ms: int, monotonic: float) -> Mapping[State, float] | None:
        """Book the time since the last note under a state; what lies after a slice's end belongs to the next one.

        Returns:
            The seconds of the slice that is over, by state, ``looked`` always among them; None within a slice.
        """
        elapsed = max(monotonic - self._at, 0.0)
        self._at = monotonic
        if now_ms // SLICE_MS == self._slice:
            self._book(state, elapsed)
            return None
        self._slice = now_ms // SLICE_MS
        after = min((now_ms % SLICE_MS) / 1000, elapsed)
        self._book(state, elapsed - after)
        over = self.close()
        self._book(state, after)
        return over

    def _book(self, state: State, seconds: float) -> None:
        self._seconds[state] = self._seconds.get(state, 0.0) + seconds

    def close(self) -> Mapping[State, float] | None:
        """What is booked so far, in whole tenths of a second, and a new page; None when there is nothing.

        What is less than a tenth goes to the next page, so that hours come to 3600 whatever the states.
        """
        booked = {state: math.floor(10 * seconds + 1e-6) / 10 for state, seconds in self._seconds.items()}
        self._seconds = {state: seconds - booked[state] for state, seconds in self._seconds.items()}
        told: dict[State, float] = {state: seconds for state, seconds in booked.items() if seconds}
        if told:
            told.setdefault("looked", 0.0)
        return told or None
