"""What sensors may measure: each metric with its unit and the range in which a value is believable.

A metric that nobody declared is not stored as a reading: its unit, and so its meaning, would be a guess. It is
kept as a reject that can be retried once the metric is declared under ``metrics`` in ``gateway.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity; a value outside ``low``…``high`` is stored and flagged as implausible."""

    name: str
    unit: str
    low: float
    high: float


#: The metrics that Drumtower's own sensors send.
DECLARED: tuple[Metric, ...] = (
    Metric("smoke_density", "dB/m", 0.0, 20.0),
    Metric("temperature", "°C", -60.0, 400.0),
    Metric("battery", "%", 0.0, 100.0),
    Metric("cover_tilt", "deg", -180.0, 180.0),
    Metric("water_level", "m", 0.0, 30.0),
    Metric("gas_ch4", "%LEL", 0.0, 100.0),
    Metric("water_depth", "m", 0.0, 10.0),
    Metric("rain_intensity", "mm/h", 0.0, 500.0),
    Metric("rain_total", "mm", 0.0, 100_000.0),
    Metric("pressed", "", 0.0, 1.0),
)


def catalogue(extra: Iterable[Metric] = ()) -> dict[str, Metric]:
    """All metrics by name; one of ``extra`` replaces the built-in one of its name."""
    return {metric.name: metric for metric in (*DECLARED, *extra)}
