"""The port every sensor stands behind, and the door where its readings are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.runtime.errors import InvalidError, TransientError


class SensorError(InvalidError):
    """What the sensor says cannot be a reading."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one metric of one sensor.

    Attributes:
        sensor: its name on this box.
        metric: such as ``water_depth``; docs/reference/metrics.md lists metrics with their units.
        value: in the metric's unit, finite.
        at: when it was captured, ms since the Unix epoch.
    """

    sensor: str
    metric: str
    value: float
    at: int


class SensorLostError(TransientError):
    """The sensor does not say now all that it should: try again at its next turn.

    ``readings`` are those that it gave all the same.
    """

    def __init__(self, code: str, message: str, hint: str = "", readings: Sequence[Reading] = ()) -> None:
        super().__init__(code, message, hint)
        self.readings = tuple(readings)


class Sensor(Protocol):
    """Something that can be asked what it measures."""

    @property
    def name(self) -> str:
        """Its name on this box."""
        ...

    def read(self, at_ms: int) -> list[Reading]:
        """Measure now.

        Args:
            at_ms: the instant that the readings carry.

        Raises:
            SensorLostError: it does not answer, or not with everything.
        """
        ...


def check(reading: Reading) -> Reading:
    """Let a reading in, or refuse it.

    Raises:
        SensorError: ``sensor.not_a_number`` for NaN and infinities, which no store and no rule can use.
    """
    if not math.isfinite(reading.value):
        raise SensorError(
            "sensor.not_a_number",
            f"expected a finite {reading.metric} from sensor {reading.sensor}, got {reading.value}",
            "check the sensor's wiring and its register mapping",
        )
    return reading
