"""Distances on the ground between WGS-84 points. Pure.

Source: R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68 (1984), 159.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_EARTH_RADIUS_M: Final = 6_371_009.0
#: Of latitude, on a sphere of that radius.
METRES_A_DEGREE: Final = 111_195.0


def distance_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    """Metres between two WGS-84 points along a sphere (haversine); exact to 0.5 %, plenty for 50 m."""
    phi_a, phi_b = math.radians(lat_a), math.radians(lat_b)
    half_lat, half_lon = (phi_b - phi_a) / 2, math.radians(lon_b - lon_a) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(phi_a) * math.cos(phi_b) * math.sin(half_lon) ** 2
    return 2 * _EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))


@dataclass(frozen=True, slots=True)
class Box:
    """Degrees around a point within which everything nearer than a radius lies."""

    west: float
    south: float
    east: float
    north: float


def box_around(lon: float, lat: float, radius_m: float) -> Box:
    """The smallest such box, a hair larger; it does not reach over the date line or the poles."""
    high = radius_m / METRES_A_DEGREE * 1.001
    wide = high / max(math.cos(math.radians(min(abs(lat) + high, 89.9))), 0.001)
    return Box(lon - wide, lat - high, lon + wide, lat + high)
