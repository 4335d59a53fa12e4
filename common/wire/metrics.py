"""What sensors may measure: each metric with its unit and the range in which a value is believable.

Boxes and gateways must mean the same by a metric's name, so its unit is agreed on here. Air quality is in the units
of HJ 633-2012 (AQI): carbon monoxide in mg/m³, everything else in µg/m³.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity; a value outside ``low``…``high`` is stored and flagged as implausible."""

    name: str
    unit: str
    low: float
    high: float


#: The metrics that Drumtower's own sensors and the profiles of Modbus sensors send.
DECLARED: tuple[Metric, ...] = (
    Metric("smoke_density", "dB/m", 0.0, 20.0),
    Metric("smoke_alarm", "", 0.0, 1.0),
    Metric("temperature", "°C", -60.0, 400.0),
    Metric("humidity", "%", 0.0, 100.0),
    Metric("battery", "%", 0.0, 100.0),
    Metric("cover_tilt", "deg", -180.0, 180.0),
    Metric("tilt", "deg", 0.0, 180.0),
    Metric("tilt_x", "deg", -180.0, 180.0),
    Metric("tilt_y", "deg", -180.0, 180.0),
    Metric("water_level", "m", 0.0, 30.0),
    Metric("gas_ch4", "%LEL", 0.0, 100.0),
    Metric("water_depth", "m", 0.0, 10.0),
    Metric("rain_intensity", "mm/h", 0.0, 500.0),
    Metric("rain_amount", "mm", 0.0, 500.0),
    Metric("rain_total", "mm", 0.0, 100_000.0),
    Metric("pm2_5", "µg/m³", 0.0, 1_000.0),
    Metric("pm10", "µg/m³", 0.0, 2_000.0),
    Metric("co", "mg/m³", 0.0, 150.0),
    Metric("no2", "µg/m³", 0.0, 4_000.0),
    Metric("so2", "µg/m³", 0.0, 3_000.0),
    Metric("o3", "µg/m³", 0.0, 1_500.0),
    Metric("pressed", "", 0.0, 1.0),
    # What each camera's seconds were spent on, a slice of five minutes at a time; see edge/coverage.py.
    Metric("coverage_looked", "s", 0.0, 3_600.0),
    Metric("coverage_not_asked", "s", 0.0, 3_600.0),
    Metric("coverage_lost", "s", 0.0, 3_600.0),
    Metric("coverage_overloaded", "s", 0.0, 3_600.0),
    Metric("coverage_blocked", "s", 0.0, 3_600.0),
    Metric("coverage_blurred", "s", 0.0, 3_600.0),
    Metric("coverage_dark", "s", 0.0, 3_600.0),
    Metric("coverage_moved", "s", 0.0, 3_600.0),
    Metric("coverage_frozen", "s", 0.0, 3_600.0),
    Metric("frames_dropped", "", 0.0, 1_000_000.0),
    Metric("frames_late", "", 0.0, 1_000_000.0),
    # Who rode past a camera that looks for helmets, in the same slices; see edge/vision/scenes/helmet.py.
    Metric("riders_passed", "", 0.0, 1_000_000.0),
    Metric("riders_helmetless", "", 0.0, 1_000_000.0),
    Metric("riders_unknown", "", 0.0, 1_000_000.0),
)
UNIT_OF: dict[str, str] = {metric.name: metric.unit for metric in DECLARED}
