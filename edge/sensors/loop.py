"""Asks sensors in their turn and puts what they say into the outbox.

A sensor that cannot be read is itself an observation (``device.sensor_silent``), as a blind camera is: nobody may take
"no reading" for "nothing there". The others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.wire.messages import Phase
from edge.database import DiskFullError
from edge.observations import ObservationBook, Seen
from edge.packets import Outbox
from edge.sensors.batch import Batch
from edge.sensors.port import Reading, Sensor, SensorError, SensorLostError, check

SILENT: Final = "device.sensor_silent"
#: Turns in a row without an answer before anybody is told: one garbled frame is no fault.
_TURNS: Final = 3
#: A sensor that does not answer is asked again soon, and then less and less: each time costs the line its time-out.
_FIRST_WAIT_S: Final = 2.0
_LONGEST_WAIT_S: Final = 15.0
_LONGEST_NAP_S: Final = 0.5
_PATIENCE: Final = 20
_log = get_logger("sensors")


@dataclass(slots=True)
class SensorCounts:
    """Totals since the start.

    Attributes:
        readings: accepted into the outbox.
        refused: not numbers.
        lost: that no room could be found for.
        silent: turns at which a sensor did not say all that it should.
    """

    readings: int = 0
    refused: int = 0
    lost: int = 0
    silent: int = 0


@dataclass(slots=True)
class _Turn:
    """One sensor, when it is asked next and since when it is lost (monotonic seconds; and as the box's clock tells it)."""

    sensor: Sensor
    every_s: float
    due: float
    lost_turns: int = 0
    lost_since: float = 0.0
    lost_since_ms: int = 0
    told: bool = False


@dataclass(slots=True)
class _Said:
    """Faults that were logged and last: the same one at every turn is said when it begins, not a million times."""

    keys: set[str] = field(default_factory=set)

    def once(self, key: str, error: SensorError | SensorLostError) -> None:
        if key not in self.keys:
            self.keys.add(key)
            _log.error(error.code, sensor=key, message=error.message, hint=error.hint)


class SensorLoop:
    """One thread for sensors that share a line, or need none.

    Args:
        sensors: each with the seconds between its turns.
        outbox: where readings go.
        clock: whose instants they carry.
        flush_count: readings a packet.
        flush_s: seconds that a reading waits at most.
        silent_after_s: how long a sensor is silent before it is told of.
        accepted: called when a packet was accepted.
        book: where silence is told; without one it is only logged and counted.
    """

    def __init__(
        self,
        sensors: Sequence[tuple[Sensor, float]],
        outbox: Outbox,
        clock: Clock,
        *,
        flush_count: int = 50,
        flush_s: float = 2.0,
        silent_after_s: float = 15.0,
        accepted: Callable[[], None] = lambda: None,
        book: ObservationBook | None = None,
    ) -> None:
        self.counts = SensorCounts()
        self._outbox = outbox
        self._clock = clock
        self._batch = Batch(flush_count, flush_s)
        self._most_waiting = flush_count * _PATIENCE
        self._silent_after_s = silent_after_s
        self._accepted = accepted
        self._book = book
        now = clock.monotonic()
        self._turns = [_Turn(sensor, every_s, now) for sensor, every_s in sensors]
        self._said = _Said()

    @property
    def silent(self) -> int:
        """How many sensors do not say now what they should, for long enough to be told of."""
        return sum(turn.told for turn in self._turns)

    def run(self, stop: Stop) -> None:
        """Until stopped; what waits then is flushed."""
        while not stop.is_set():
            stop.wait(self.step())
        self._flush()

    def step(self) -> float:
        """Ask the one whose turn it is the longest, send what is due; seconds until the next turn."""
        now = self._clock.monotonic()
        turn = min(self._turns, key=lambda turn: turn.due, default=None)
        if turn is not None and turn.due <= now:
            self._ask(turn, now)
            now = self._clock.monotonic()
        if self._batch.due(now):
            self._flush()
        return max(min([turn.due for turn in self._turns] + [now + _LONGEST_NAP_S]) - now, 0.0)

    def _ask(self, turn: _Turn, now: float) -> None:
        at_ms = self._clock.now_ms()
        lost: SensorLostError | None = None
        try:
            readings: Sequence[Reading] = turn.sensor.read(at_ms)
        except SensorLostError as error:
            lost, readings = error, error.readings
        for reading in readings:
            key = f"{reading.sensor} {reading.metric}"
            try:
                self._batch.add(check(reading), now)
            except SensorError as error:
                self.counts.refused += 1
                self._said.once(key, error)
            else:
                self._said.keys.discard(key)
        if lost is None:
            self._found(turn)
        else:
            self._missed(turn, lost, now, at_ms)
        wait_s = turn.every_s
        if lost is not None and not readings:
            patience_s = min(wait_s, _FIRST_WAIT_S) * 2.0 ** min(turn.lost_turns - 1, 16)
            wait_s = min(patience_s, max(wait_s, _LONGEST_WAIT_S))
        turn.due += wait_s
        if turn.due <= (later := self._clock.monotonic()):
            # A late turn is not made up for: two readings of one instant say no more than one.
            turn.due = later + wait_s

    def _missed(self, turn: _Turn, error: SensorLostError, now: float, at_ms: int) -> None:
        self.counts.silent += 1
        self._said.once(turn.sensor.name, error)
        if not turn.lost_turns:
            turn.lost_since, turn.lost_since_ms = now, at_ms
        turn.lost_turns += 1
        if turn.told or turn.lost_turns < _TURNS or now - turn.lost_since < self._silent_after_s:
            return
        turn.told = True
        self._tell(turn, "start", at_ms, {"code": error.code, "message": error.message[:400]})

    def _found(self, turn: _Turn) -> None:
        name = turn.sensor.name
        if turn.lost_turns:
            self._said.keys.discard(name)
            _log.info("sensor.answers_again", sensor=name, after_turns=turn.lost_turns)
            turn.lost_turns = 0
        # It may have been silent already when this process began.
        if turn.told or (self._book is not None and self._book.is_open(f"sensor:{name}", SILENT)):
            turn.told = False
            self._tell(turn, "end", self._clock.now_ms(), {})

    def _tell(self, turn: _Turn, phase: Phase, at_ms: int, detail: dict[str, str | float | int]) -> None:
        if self._book is None:
            return
        name = turn.sensor.name
        self._book.say(
            Seen(
                phase,
                f"sensor:{name}",
                name,
                SILENT,
                turn.lost_since_ms or at_ms,
                at_ms,
                detail=detail,
            )
        )

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
