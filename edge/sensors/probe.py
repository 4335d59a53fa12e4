"""What `drumtower edge probe` does: ask every Modbus sensor of a box once, and show what stands where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from common.runtime.clock import Clock, SystemClock
from edge.sensors.build import build_line
from edge.sensors.modbus import Look, ModbusSensor
from edge.sensors.modbus_config import BIT_TABLES, LineSettings
from edge.sensors.modbus_registers import shown

_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Probe:
    """What one sensor showed."""

    where: str
    sensor: ModbusSensor
    looks: list[Look]


def probe(
    lines: Iterable[LineSettings], only: str | None = None, clock: Clock | None = None
) -> Iterator[Probe]:
    """Ask each sensor once (a sensor that shares its unit with a silent one a moment later).

    Args:
        lines: of the box; no agent may use them meanwhile.
        only: the name of the one sensor to ask.
        clock: time.
    """
    clock = clock or SystemClock()
    for settings in lines:
        wanted = [one for one in settings.sensors if only in {None, one.name}]
        if not wanted:
            continue
        line, sensors = build_line(settings.model_copy(update={"sensors": tuple(wanted)}), clock)
        asked: set[int] = set()
        try:
            for sensor in sensors:
                if sensor.unit_id in asked:
                    # After a time-out a unit may still owe an answer; it is not asked before that is over.
                    clock.sleep(settings.timeout_s + _AGAIN_S)
                yield Probe(settings.where, sensor, looks := sensor.look())
                if any(look.error and look.error.code == "modbus.no_answer" for look in looks):
                    asked.add(sensor.unit_id)
        finally:
            line.close()


def told(look: Look) -> str:
    """One line for people: metric, value with its unit, where it stands, and what stands there."""
    register = look.register
    kind: str = "bit" if register.table in BIT_TABLES else register.type
    kind += f" {register.order}" if register.words > 1 else ""
    kind += f" bit {register.bit}" if register.bit is not None else ""
    value = "none" if look.value is None else f"{look.value:g} {register.unit}".rstrip()
    raw = (
        shown(look.words)
        if look.words and register.table not in BIT_TABLES
        else " ".join(map(str, look.words))
    )
    place = f"{register.table} {register.address} {kind}"
    return f"{register.metric:<16} {value:<16} {place:<26} {raw or '–'}"
