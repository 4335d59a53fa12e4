"""Asks every sensor in its turn and puts what they say into the outbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from edge.database import DiskFullError
from edge.packets import Outbox
from edge.sensors.batch import Batch
from edge.sensors.port import Sensor, SensorError, SensorLostError, check

_LONGEST_NAP_S = 0.5
_PATIENCE = 20
_log = get_logger("sensors")


@dataclass(slots=True)
class SensorCounts:
    """Totals since the start.

    Attributes:
        readings: accepted into the outbox.
        refused: not numbers.
        lost: that no room could be found for.
        silent: turns at which a sensor did not answer.
    """

    readings: int = 0
    refused: int = 0
    lost: int = 0
    silent: int = 0


class SensorLoop:
    """One thread for all sensors.

    Args:
        sensors: each with the seconds between its turns.
        outbox: where readings go.
        clock: whose instants they carry.
        flush_count: readings a packet.
        flush_s: seconds that a reading waits at most.
        accepted: called when a packet was accepted.
    """

    def __init__(
        self,
        sensors: Sequence[tuple[Sensor, float]],
        outbox: Outbox,
        clock: Clock,
        *,
        flush_count: int = 50,
        flush_s: float = 2.0,
        accepted: Callable[[], None] = lambda: None,
    ) -> None:
        self.counts = SensorCounts()
        self._outbox = outbox
        self._clock = clock
        self._batch = Batch(flush_count, flush_s)
        self._most_waiting = flush_count * _PATIENCE
        self._accepted = accepted
        now = clock.monotonic()
        self._turns = [(sensor, every_s) for sensor, every_s in sensors]
        self._due = [now for _ in sensors]
        self._said: set[str] = set()

    def run(self, stop: Stop) -> None:
        """Until stopped; what waits then is flushed."""
        while not stop.is_set():
            stop.wait(self.step())
        self._flush()

    def step(self) -> float:
        """Ask whoever's turn it is, send what is due; seconds until the next turn."""
        now = self._clock.monotonic()
        for index, (sensor, every_s) in enumerate(self._turns):
            if self._due[index] <= now:
                self._ask(sensor, now)
                # A late turn is not made up for: two readings of one instant say no more than one.
                self._due[index] = max(self._due[index] + every_s, now)
        if self._batch.due(now):
            self._flush()
        nap = min([*self._due, now + _LONGEST_NAP_S]) - self._clock.monotonic()
        return max(nap, 0.005)

    def _ask(self, sensor: Sensor, now: float) -> None:
        try:
            readings = sensor.read(self._clock.now_ms())
        except SensorLostError as error:
            self.counts.silent += 1
            self._say_once(sensor.name, error)
            return
        for reading in readings:
            try:
                self._batch.add(check(reading), now)
            except SensorError as error:
                self.counts.refused += 1
                self._say_once(f"{reading.sensor} {reading.metric}", error)
            else:
                self._said.discard(f"{reading.sensor} {reading.metric}")
        self._said.discard(sensor.name)

    def _say_once(self, key: str, error: SensorError | SensorLostError) -> None:
        """The same fault at every turn is said when it begins, not a million times."""
        if key not in self._said:
            self._said.add(key)
            _log.error(error.code, sensor=key, message=error.message, hint=error.hint)

    def _flush(self) -> None:
        waiting = len(self._batch)
        if not waiting:
            return
        try:
            self._outbox.append(self._batch.peek())
        except DiskFullError as error:
            _log.error(error.code, message=error.message, hint=error.hint, readings_waiting=waiting)
            if waiting >= self._most_waiting:
                self.counts.lost += waiting
                _log.error("sensors.readings_lost", readings=waiting, hint="free space on the box's disk")
                self._batch.clear()
            return
        self._batch.clear()
        self.counts.readings += waiting
        self._accepted()
