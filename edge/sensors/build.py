"""From configuration to sensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.runtime.clock import Clock
from edge.sensors.port import Sensor
from edge.sensors.simulated import SimulatedSensor
from edge.sensors.storm import Storm
from edge.settings import SensorSettings, StormSettings

if TYPE_CHECKING:
    from edge.sensors.modbus import ModbusSensor
    from edge.sensors.modbus_bus import ModbusLine
    from edge.sensors.modbus_config import LineSettings


def build_sensors(
    settings: Sequence[SensorSettings], storm: StormSettings, began_at: int
) -> list[tuple[Sensor, float]]:
    """Each configured sensor with the seconds between its turns.

    Args:
        settings: of the sensors.
        storm: what simulated ones measure.
        began_at: when the storm begins, ms since the Unix epoch.
    """
    weather = Storm(storm.seed, began_at, storm.time_scale)
    return [(SimulatedSensor(one.name, one.kind, weather, one.exposure), one.every_s) for one in settings]


def build_line(settings: LineSettings, clock: Clock) -> tuple[ModbusLine, list[ModbusSensor]]:
    """A Modbus line and the sensors on it; it is opened when the first of them is asked."""
    # A box without Modbus does without its stack, which brings asyncio along.
    from edge.sensors.modbus import ModbusSensor  # noqa: PLC0415
    from edge.sensors.modbus_bus import ModbusLine  # noqa: PLC0415

    line = ModbusLine(settings, clock)
    return line, [ModbusSensor(one, line, clock) for one in settings.sensors]
