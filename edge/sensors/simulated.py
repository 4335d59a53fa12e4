"""Sensors that measure the simulated storm, each with its own noise and resolution."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge.sensors.port import Reading
from edge.sensors.storm import Sky, Storm

Kind = Literal["smoke", "manhole", "flood", "rain", "button"]


@dataclass(frozen=True, slots=True)
class _Channel:
    """One metric: what it takes from the sky, its noise (standard deviation) and its resolution."""

    metric: str
    take: Callable[[Sky], float]
    noise: float
    step: float
    lowest: float = 0.0


_CHANNELS: dict[Kind, tuple[_Channel, ...]] = {
    "smoke": (
        _Channel("smoke_density", lambda sky: sky.smoke_db_per_m, 0.002, 0.001),
        _Channel("temperature", lambda sky: sky.air_c, 0.1, 0.1, -60.0),
    ),
    "manhole": (
        _Channel("cover_tilt", lambda sky: sky.cover_tilt_deg, 0.1, 0.1),
        _Channel("water_level", lambda sky: sky.sewer_level_m, 0.008, 0.001),
        _Channel("gas_ch4", lambda sky: sky.methane_lel, 0.1, 0.1),
    ),
    "flood": (_Channel("water_depth", lambda sky: sky.depth_m, 0.001, 0.001),),
    "rain": (
        _Channel("rain_intensity", lambda sky: sky.rain_mm_per_h, 0.0, 0.1),
        _Channel("rain_total", lambda sky: sky.rain_total_mm, 0.0, 0.2),
    ),
    "button": (_Channel("pressed", lambda sky: float(sky.pressed), 0.0, 1.0),),
}


class SimulatedSensor:
    """One sensor in the storm.

    Args:
        name: its name on this box; it also seeds the noise.
        kind: what it is.
        storm: what it measures.
        exposure: how badly its place is hit; 1 is a low spot.
    """

    def __init__(self, name: str, kind: Kind, storm: Storm, exposure: float = 1.0) -> None:
        self.name = name
        self._channels = _CHANNELS[kind]
        self._storm = storm
        self._exposure = exposure
        self._noise = random.Random(f"{storm.seed} {name}")
        self._battery = 96.0 + self._noise.uniform(-2.0, 2.0) if kind == "smoke" else None

    def read(self, at_ms: int) -> list[Reading]:
        """What it measures at that instant."""
        sky = self._storm.sky(at_ms, self._exposure)
        readings = [
            Reading(self.name, channel.metric, self._measure(channel, sky), at_ms)
            for channel in self._channels
        ]
        if self._battery is not None:
            # A lithium cell of a smoke detector lasts about eight years.
            used = max(at_ms - self._storm.began_at, 0) / (8 * 365 * 86_400_000) * 100.0
            readings.append(Reading(self.name, "battery", round(self._battery - used, 1), at_ms))
        return readings

    def _measure(self, channel: _Channel, sky: Sky) -> float:
        value = channel.take(sky) + (self._noise.gauss(0.0, channel.noise) if channel.noise else 0.0)
        return round(round(max(value, channel.lowest) / channel.step) * channel.step, 6)
