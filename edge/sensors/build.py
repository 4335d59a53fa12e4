"""From configuration to sensors."""

from __future__ import annotations

from collections.abc import Sequence

from edge.sensors.port import Sensor
from edge.sensors.simulated import SimulatedSensor
from edge.sensors.storm import Storm
from edge.settings import SensorSettings, StormSettings


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
