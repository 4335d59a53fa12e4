"""Positions as people's systems give them, to WGS-84. Pure.

Which system a position is in is told by its name and never guessed from the numbers: a WGS-84 position taken for
GCJ-02, or the other way round, lies up to 700 m beside the place and looks as plausible as before.
"""

from __future__ import annotations

import math
from typing import Final

from common.runtime.errors import InvalidError

#: Krasovsky 1940, the ellipsoid of the published GCJ-02 transformation.
_AXIS_M: Final = 6_378_245.0
_ECCENTRICITY: Final = 0.006_693_421_622_965_943
_ROUNDS: Final = 8

WGS84: Final = "WGS-84"
GCJ02: Final = "GCJ-02"
#: CGCS2000 differs from WGS-84 by centimetres: it is kept by its name and taken as it is.
CGCS2000: Final = "CGCS2000"
SYSTEMS: Final = (WGS84, GCJ02, CGCS2000)

_ALIASES: Final = {
    "wgs84": WGS84,
    "epsg4326": WGS84,
    "crs84": WGS84,
    "gps": WGS84,
    "gcj02": GCJ02,
    "amap": GCJ02,
    "autonavi": GCJ02,
    "gaode": GCJ02,
    "tencent": GCJ02,
    "高德": GCJ02,
    "火星坐标": GCJ02,
    "cgcs2000": CGCS2000,
    "epsg4490": CGCS2000,
    "国家2000": CGCS2000,
}


def system_named(name: str) -> str:
    """A coordinate system by one of its names.

    Raises:
        InvalidError: by another name; the Baidu system is one of those that are refused.
    """
    plain = "".join(letter for letter in name.casefold() if letter.isalnum())
    found = _ALIASES.get(plain.removeprefix("urnogcdefcrsogc13").removeprefix("urnogcdefcrs"))
    if found is None:
        raise InvalidError(
            "report.unknown_coordinates",
            f"expected a coordinate system of {', '.join(SYSTEMS)}, got {name[:40]!r}",
            "say in which system the position was taken, or convert it to WGS-84; it is not guessed",
        )
    return found


def to_wgs84(lon: float, lat: float, system: str) -> tuple[float, float]:
    """A position in degrees of a system, in degrees of WGS-84; of GCJ-02 to within a centimetre of its formula.

    The published transformation goes the other way; this one is found by going back and forth.

    Raises:
        InvalidError: when the system is none of ours.
    """
    if system_named(system) != GCJ02:
        return lon, lat
    guess_lon, guess_lat = lon, lat
    for _ in range(_ROUNDS):
        there_lon, there_lat = to_gcj02(guess_lon, guess_lat)
        guess_lon, guess_lat = guess_lon + lon - there_lon, guess_lat + lat - there_lat
    return guess_lon, guess_lat


def to_gcj02(lon: float, lat: float) -> tuple[float, float]:
    """A WGS-84 position as Chinese maps show it; outside China both are the same."""
    if not (72.004 <= lon <= 137.8347 and 0.8293 <= lat <= 55.8271):
        return lon, lat
    x, y = lon - 105.0, lat - 35.0
    phi = math.radians(lat)
    bend = 1 - _ECCENTRICITY * math.sin(phi) ** 2
    north = _north(x, y) * 180 / (_AXIS_M * (1 - _ECCENTRICITY) / (bend * math.sqrt(bend)) * math.pi)
    east = _east(x, y) * 180 / (_AXIS_M / math.sqrt(bend) * math.cos(phi) * math.pi)
    return lon + east, lat + north


def _waves(*terms: tuple[float, float]) -> float:
    return sum(height * math.sin(angle * math.pi) for height, angle in terms) * 2 / 3


def _north(x: float, y: float) -> float:
    plane = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * math.sqrt(abs(x))
    return (
        plane
        + _waves((20, 6 * x), (20, 2 * x))
        + _waves((20, y), (40, y / 3))
        + _waves((160, y / 12), (320, y / 30))
    )


def _east(x: float, y: float) -> float:
    plane = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * math.sqrt(abs(x))
    return (
        plane
        + _waves((20, 6 * x), (20, 2 * x))
        + _waves((20, x), (40, x / 3))
        + _waves((150, x / 12), (300, x / 30))
    )
