"""Whose time a frame carries: the stream's own, laid onto the box's clock; pure."""

from __future__ import annotations

from typing import Final

_WILD_MS: Final = 5_000.0
"""So far off from the box's clock, stream time says nothing about when a picture was taken."""

_SET_BACK_MS: Final = 10_000
"""A box's clock that is further back than this was set, by a time service or by hand."""

_WINDOW_MS: Final = 30_000.0
_SLEW: Final = 0.05
"""The correction goes on at a twentieth of the pace of time, so that nobody in the picture seems to jump."""


def was_set_back(last_ms: int, due_ms: int) -> bool:
    """Whether the box's clock was set back between two frames, given the instants of both by that clock."""
    return due_ms < last_ms - _SET_BACK_MS


def following(last_ms: int, due_ms: int) -> int:
    """The instant to give a frame after one of ``last_ms``: later than that, unless the box's clock was set back."""
    return due_ms if was_set_back(last_ms, due_ms) else max(due_ms, last_ms + 1)


class Timeline:
    """A file's time in milliseconds from 0: strictly growing, also where stamps are missing, stand still or
    run backwards, and from one pass over a looped file to the next.
    """

    def __init__(self, step_ms: float) -> None:
        self._step_ms = step_ms
        self._pass_begins_ms = 0.0
        self._first: float | None = None
        self._last_ms = -1

    def stamp(self, seconds: float | None) -> int:
        """The time of the next frame, given its presentation time."""
        if seconds is None:
            due = self._last_ms + self._step_ms if self._last_ms >= 0 else 0.0
        else:
            if self._first is None:
                self._first = seconds
            due = self._pass_begins_ms + (seconds - self._first) * 1000.0
        self._last_ms = max(round(due), self._last_ms + 1)
        return self._last_ms

    def begin_again(self) -> None:
        """A new pass follows one frame's time after the last frame."""
        self._pass_begins_ms = self._last_ms + self._step_ms
        self._first = None


class LiveTimeline:
    """Instants of a live stream's frames, given the stream's time of each and when it arrived.

    A frame arrives late by what the way took: encoder, network, a burst after a pause. Its stream time does not,
    but counts from anywhere, and its clock drifts against the box's. So the instant is stream time plus an offset,
    and the offset follows the least lateness of the last half minute, slowly. The distance between two frames stays
    that of the stream to within a twentieth.

    Where stream time jumps, runs backwards or is further off than five seconds, the offset is found anew and
    ``jumps`` counts it; what is given out still only grows, but for one thing: where the box's own clock is set back
    by more than ten seconds (a clock in local time taken for UTC is eight hours ahead), instants go back with it.
    """

    def __init__(self) -> None:
        self.jumps = 0
        self._offset_ms: float | None = None
        self._least = [0.0, 0.0]
        self._window_ends_ms = 0.0
        self._stream_ms = 0.0
        self._arrived_ms = self._given_ms = -1

    def stamp(self, stream_s: float | None, arrived_ms: int) -> int:
        """The instant of the next frame.

        Args:
            stream_s: its stream time in seconds; None when the stream says none.
            arrived_ms: when it arrived, in milliseconds since the Unix epoch.
        """
        if was_set_back(self._arrived_ms, arrived_ms):
            self._offset_ms, self._given_ms = None, -1
        self._arrived_ms = arrived_ms
        due = float(arrived_ms) if stream_s is None else self._placed(stream_s * 1000.0, float(arrived_ms))
        self._given_ms = max(round(due), self._given_ms + 1)
        return self._given_ms

    def _placed(self, stream_ms: float, arrived_ms: float) -> float:
        lateness = arrived_ms - stream_ms
        if self._offset_ms is None:
            self._anchor(lateness, arrived_ms)
        elif stream_ms < self._stream_ms or self._offset_ms - lateness > _WILD_MS:
            self.jumps += 1
            self._anchor(lateness, arrived_ms)
        else:
            self._follow(lateness, arrived_ms, stream_ms - self._stream_ms)
        self._stream_ms = stream_ms
        assert self._offset_ms is not None
        return stream_ms + self._offset_ms

    def _anchor(self, lateness: float, arrived_ms: float) -> None:
        self._offset_ms = lateness
        self._least = [lateness, lateness]
        self._window_ends_ms = arrived_ms + _WINDOW_MS

    def _follow(self, lateness: float, arrived_ms: float, elapsed_ms: float) -> None:
        assert self._offset_ms is not None
        if arrived_ms >= self._window_ends_ms:
            self._least = [self._least[1], lateness]
            self._window_ends_ms = arrived_ms + _WINDOW_MS
        self._least[1] = min(self._least[1], lateness)
        wrong = min(self._least) - self._offset_ms
        if wrong > _WILD_MS:
            # Late by so much for a whole window: the stream paused its own clock.
            self.jumps += 1
            self._anchor(lateness, arrived_ms)
            return
        most = _SLEW * elapsed_ms
        self._offset_ms += max(-most, min(wrong, most))
