"""The thread that looks through all cameras of a box, and keeps the books of how long each was looked through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from common.runtime.clock import Clock, SystemClock
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.wire.messages import Readings, Series
from edge.cameras import Camera
from edge.coverage import Coverage, State
from edge.database import DiskFullError
from edge.observations import ObservationBook
from edge.packets import Outbox
from edge.turns import Turns
from edge.vision.scenes.config import HelmetConfig

_ROUND_S: Final = 0.25
_DEADLINE_S: Final = 0.5
_GOODBYE_S: Final = 1.0
_log = get_logger("cameras")


class CameraLoop:
    """One thread for all cameras: whoever has a new picture and had his turn longest ago is looked at.

    Args:
        cameras: of this box.
        book: what they say goes there; flushed in each round.
        outbox: where the books of coverage go; None keeps none.
        clock: time.
        tidy: called every five minutes.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        book: ObservationBook,
        outbox: Outbox | None = None,
        clock: Clock | None = None,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        self.cameras = tuple(cameras)
        self._tidy = tidy
        self._book = book
        self._outbox = outbox
        self._clock = clock or SystemClock()
        self._turns = Turns[Camera](_DEADLINE_S)
        self._awake = threading.Event()
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        self._coverage = {camera: Coverage(now_ms, now) for camera in self.cameras}
        self._dropped = dict.fromkeys(self.cameras, 0)
        self._late = dict.fromkeys(self.cameras, 0)
        self._counted = {camera: camera.counters for camera in self.cameras}
        for camera in self.cameras:
            camera.arrived = self._awake.set

    def late(self, camera: Camera) -> int:
        """Pictures of a camera that had to wait longer than the deadline."""
        return self._turns.late(camera)

    def run(self, stop: Stop) -> None:
        """Until stopped; a box without a seeing camera only waits."""
        round_at = self._clock.monotonic()
        try:
            while not stop.is_set():
                now = self._clock.monotonic()
                if now >= round_at:
                    round_at = now + _ROUND_S
                    self._go_round()
                self._awake.clear()
                camera = self._turns.next((one for one in self.cameras if one.ready), self._clock.monotonic())
                if camera is None:
                    self._awake.wait(_ROUND_S)
                else:
                    camera.look(0.0)
                self._book.flush()
        finally:
            for camera in self.cameras:
                camera.stop_soon()
            until = self._clock.monotonic() + _GOODBYE_S
            with ExitStack() as whatever_fails:
                whatever_fails.callback(self._book_coverage, closing=True)
                for camera in reversed(self.cameras):
                    whatever_fails.callback(self._close, camera, until)

    def _close(self, camera: Camera, until: float) -> None:
        """Silent cameras are let go together, not one after the other."""
        camera.close(max(until - self._clock.monotonic(), 0.0))

    def _go_round(self) -> None:
        """See to the cameras that have nothing to show: open them, or notice that they have gone."""
        for camera in self.cameras:
            if not camera.ready:
                camera.look(0.0)
        self._book_coverage()

    def _book_coverage(self, *, closing: bool = False) -> None:
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        series: list[Series] = []
        for camera, coverage in self._coverage.items():
            over = coverage.note(camera.state(), now_ms, now)
            if closing and (rest := coverage.close()) is not None:
                over = {
                    state: (over or {}).get(state, 0.0) + rest.get(state, 0.0)
                    for state in {**(over or {}), **rest}
                }
            if over is not None:
                series += self._told(camera, over, now_ms)
        if not series:
            return
        self._tidy()
        if self._outbox is None:
            return
        try:
            self._outbox.append(Readings(series))
        except DiskFullError as error:
            # The seconds of this slice are then in no book: an hour that does not come to 3600 says so.
            _log.error(error.code, message=error.message, hint=error.hint, lost="coverage")

    def _told(self, camera: Camera, over: Mapping[State, float], now_ms: int) -> list[Series]:
        name = camera.config.name
        dropped, late = camera.dropped - self._dropped[camera], self.late(camera) - self._late[camera]
        self._dropped[camera], self._late[camera] = camera.dropped, self.late(camera)
        if late:
            _log.warning(
                "camera.overloaded",
                camera=name,
                late=late,
                dropped=dropped,
                hint="fewer cameras on this box, fewer frames a second, or a smaller model",
            )
        figures: dict[str, float] = {f"coverage_{state}": value for state, value in over.items()}
        figures |= {"frames_dropped": dropped, "frames_late": late}
        figures |= self._rode(camera)
        return [Series(name, metric, [now_ms], [float(value)]) for metric, value in figures.items()]

    def _rode(self, camera: Camera) -> dict[str, float]:
        """Who rode past a camera that looks for helmets, in every slice: of none seen bare some ten may have passed, or
        nobody.
        """
        if not any(isinstance(scene, HelmetConfig) for scene in camera.config.scenes):
            return {}
        now, before = camera.counters, self._counted[camera]
        self._counted[camera] = now
        return {
            "riders_passed": now.riders - before.riders,
            "riders_helmetless": now.helmetless - before.helmetless,
            "riders_unknown": now.unknown - before.unknown,
        }
