"""A sensor on a Modbus line, behind the port that every sensor stands behind.

What cannot be read is not told: no value is ever kept from an earlier turn or put in the place of a missing one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from common.runtime.clock import Clock
from common.runtime.errors import DrumtowerError
from common.runtime.log import get_logger
from edge.sensors.modbus_config import ModbusSensorSettings, RegisterSettings
from edge.sensors.modbus_counter import Counter
from edge.sensors.modbus_registers import Block, adjusted, plan, raw_of, resultant, value_of
from edge.sensors.port import Reading, SensorError, SensorLostError

_log = get_logger("modbus")


class Line(Protocol):
    """What answers for many units."""

    def read(self, unit_id: int, block: Block) -> list[int]:
        """A unit's registers or bits; raises SensorLostError."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What was found of one value: the registers as they came, and either what they mean or why they mean nothing."""

    register: RegisterSettings
    words: tuple[int, ...] = ()
    raw: int | float = 0
    value: float | None = None
    error: DrumtowerError | None = None


class ModbusSensor:
    """One sensor of a line.

    Args:
        settings: where its values stand.
        line: which it shares with others.
        clock: monotonic time for rates.
    """

    def __init__(self, settings: ModbusSensorSettings, line: Line, clock: Clock) -> None:
        self.name = settings.name
        self.unit_id = settings.unit_id
        self._registers = [adjusted(one, settings.adjust.get(one.metric)) for one in settings.registers]
        self._blocks = plan(self._registers)
        self._line = line
        self._clock = clock
        self._counters = {one.metric: counter for one in self._registers if (counter := _counter(one))}

    def look(self) -> list[Look]:
        """Ask for everything once; what fails is in what comes back."""
        looks: list[Look] = []
        gone: SensorLostError | None = None
        for block in self._blocks:
            words: list[int] = []
            fault = gone
            if fault is None:
                try:
                    words = self._line.read(self.unit_id, block)
                except SensorLostError as error:
                    fault = error
                    # One that refuses a question may answer the next; one that is silent would only cost time.
                    gone = None if error.code == "modbus.refused" else error
            looks += [
                Look(one, error=fault) if fault else _look(one, words, block)
                for one in self._registers
                if one in block
            ]
        return looks

    def read(self, at_ms: int) -> list[Reading]:
        """Everything it measures now, each value at ``at_ms``.

        Raises:
            SensorLostError: ``modbus.no_line``, ``modbus.no_answer``, ``modbus.refused``, ``modbus.no_value`` or
                ``modbus.out_of_range``, whichever came first; with what could be read all the same.
        """
        looks = self.look()
        readings = [Reading(self.name, metric, value, at_ms) for metric, value in self._told(looks)]
        errors = list(dict.fromkeys(look.error.message for look in looks if look.error))
        if errors:
            first = next(look.error for look in looks if look.error)
            raise SensorLostError(first.code, f"{self.name}: " + "; ".join(errors), first.hint, readings)
        return readings

    def _told(self, looks: Iterable[Look]) -> Iterator[tuple[str, float]]:
        """Metrics and values: what stands there, and what follows from it."""
        axes: dict[str, list[float]] = {}
        for look in looks:
            if look.value is None:
                continue
            yield look.register.metric, look.value
            if look.register.counter is not None:
                yield from self._grown(look, int(look.raw))
            if look.register.resultant is not None:
                axes.setdefault(look.register.resultant, []).append(look.value)
        for metric, values in axes.items():
            if len(values) == 2:
                yield metric, resultant(*values)

    def _grown(self, look: Look, count: int) -> Iterator[tuple[str, float]]:
        settings = look.register.counter
        assert settings is not None
        growth = self._counters[look.register.metric].look(count, self._clock.monotonic())
        if growth.set_back:
            _log.warning(
                "modbus.counter_set_back",
                sensor=self.name,
                metric=look.register.metric,
                count=count,
                hint="the sensor lost power or was replaced; what it counted meanwhile is not known",
            )
        if settings.amount is not None and growth.amount is not None:
            yield settings.amount, growth.amount
        if settings.per_hour is not None and growth.per_hour is not None:
            yield settings.per_hour, growth.per_hour


def _look(register: RegisterSettings, words: list[int], block: Block) -> Look:
    at = register.address - block.start
    own = tuple(words[at : at + register.words])
    raw: int | float = 0
    try:
        raw = raw_of(register, own)
        return Look(register, own, raw, value_of(register, raw))
    except SensorError as error:
        return Look(register, own, raw, error=error)


def _counter(register: RegisterSettings) -> Counter | None:
    settings = register.counter
    if settings is None:
        return None
    return Counter(
        modulus=settings.wraps_at or 1 << 16 * register.words,
        scale=register.scale,
        over_s=settings.over_s,
        most_per_hour=settings.most_per_hour,
    )
