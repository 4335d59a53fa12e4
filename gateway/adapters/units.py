"""Units by name, each a straight line to its kind's base unit: ``base = scale * x + offset``. Pure.

A mapping says in which unit a device speaks; what is stored is in the unit of the metric's declaration. Both must be
of one kind, so that no one turns metres into degrees.
Source of the factors: NIST Special Publication 811 (2008), appendix B; they are exact but for psi, mmHg and kn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from common.runtime.settings import nearest


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of some kind (``length``); its values times ``scale`` plus ``offset`` are in the kind's base unit."""

    kind: str
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A conversion: ``scale * x + offset``."""

    scale: float = 1.0
    offset: float = 0.0

    def __call__(self, value: float) -> float:
        """One value, converted."""
        return self.scale * value + self.offset

    def back(self, value: float) -> float:
        """One value, the other way."""
        return (value - self.offset) / self.scale


class UnitError(ValueError):
    """A unit that nobody knows, or that is of another kind than it would have to be."""


def _table() -> dict[str, Unit]:
    hour, inch = 3600.0, 0.0254
    kinds: dict[str, dict[str, Unit | float]] = {
        "temperature": {"°C": 1.0, "K": Unit("", 1.0, -273.15), "°F": Unit("", 5 / 9, -32 * 5 / 9)},
        "length": {"m": 1.0, "mm": 1e-3, "cm": 1e-2, "dm": 0.1, "km": 1e3, "in": inch, "ft": 12 * inch},
        "length per time": {
            "m/s": 1.0,
            "mm/s": 1e-3,
            "mm/h": 1e-3 / hour,
            "mm/min": 1e-3 / 60,
            "cm/h": 1e-2 / hour,
            "in/h": inch / hour,
            "km/h": 1e3 / hour,
            "mph": 1609.344 / hour,
            "kn": 1852 / hour,
        },
        "ratio": {"1": 1.0, "%": 1e-2, "‰": 1e-3, "ppm": 1e-6, "ppb": 1e-9},
        "explosive limit": {"%LEL": 1.0},
        "attenuation": {"dB/m": 1.0, "dB/ft": 1 / (12 * inch)},
        "angle": {"deg": 1.0, "rad": 180 / math.pi, "mrad": 0.18 / math.pi, "gon": 0.9},
        "pressure": {
            "Pa": 1.0,
            "hPa": 1e2,
            "kPa": 1e3,
            "MPa": 1e6,
            "mbar": 1e2,
            "bar": 1e5,
            "psi": 6894.757293168,
            "mmHg": 133.322387415,
            "atm": 101_325.0,
        },
        "voltage": {"V": 1.0, "mV": 1e-3, "kV": 1e3},
        "current": {"A": 1.0, "mA": 1e-3},
        "power": {"W": 1.0, "kW": 1e3},
        "energy": {"kWh": 1.0, "Wh": 1e-3, "MJ": 1 / 3.6},
        "concentration": {"µg/m³": 1.0, "mg/m³": 1e3, "g/m³": 1e6},
        "flow": {"m³/s": 1.0, "m³/h": 1 / hour, "l/s": 1e-3, "l/min": 1e-3 / 60},
        "volume": {"m³": 1.0, "l": 1e-3},
        "mass": {"kg": 1.0, "g": 1e-3},
        "time": {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": hour, "d": 24 * hour},
        "illuminance": {"lx": 1.0, "klx": 1e3},
        "sound level": {"dB": 1.0},
        "frequency": {"Hz": 1.0, "kHz": 1e3},
    }
    return {
        name: Unit(kind, unit.scale, unit.offset) if isinstance(unit, Unit) else Unit(kind, unit)
        for kind, units in kinds.items()
        for name, unit in units.items()
    }


UNITS: Final[Mapping[str, Unit]] = MappingProxyType(_table())
#: Other ways of writing them.
ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "": "1",
        "ratio": "1",
        "bool": "1",
        "percent": "%",
        "C": "°C",
        "degC": "°C",
        "℃": "°C",
        "F": "°F",
        "degF": "°F",
        "℉": "°F",
        "°": "deg",
        "degree": "deg",
        "degrees": "deg",
        "inch": "in",
        "in/hr": "in/h",
        "mm/hr": "mm/h",
        "ug/m³": "µg/m³",
        "ug/m3": "µg/m³",
        "mg/m3": "mg/m³",
        "m3": "m³",
        "m3/h": "m³/h",
        "m3/s": "m³/s",
        "L": "l",
        "L/s": "l/s",
        "L/min": "l/min",
        "lux": "lx",
        "celsius": "°C",
        "fahrenheit": "°F",
        "kelvin": "K",
        "metre": "m",
        "meter": "m",
        "millimetre": "mm",
        "millimeter": "mm",
        "centimetre": "cm",
        "centimeter": "cm",
        "volt": "V",
    }
)


def find(name: str, own: Mapping[str, Unit] = MappingProxyType({}), kind: str = "") -> Unit:
    """A unit by its name or another way of writing it.

    Args:
        name: as somebody wrote it.
        own: the units that a file defines.
        kind: of which kind it should be; then only such are suggested.

    Raises:
        UnitError: when there is none of that name, naming the nearest that there is.
    """
    unit = own.get(name) or UNITS.get(ALIASES.get(name, name))
    if unit is not None:
        return unit
    known = {one: named for one, named in {**UNITS, **own}.items() if kind in {"", named.kind}}
    written = {other: proper for other, proper in ALIASES.items() if other and proper in known}
    alike = {one.casefold(): one for one in [*written, *known]}
    close = nearest(alike.get(name.casefold(), name), [*known, *written])
    raise UnitError(f"unknown unit{close}; known: {', '.join(known)}")


def conversion(given: str, wanted: str, own: Mapping[str, Unit] = MappingProxyType({})) -> Line:
    """How values in one unit become values in another.

    Raises:
        UnitError: when one is unknown, or when they are of different kinds.
    """
    if given == wanted:
        return Line()
    if ALIASES.get(wanted, wanted) not in UNITS:
        raise UnitError(f"expected {wanted!r} as the metric is declared, which nothing is converted to")
    target = find(wanted)
    source = find(given, own, target.kind)
    if source.kind != target.kind:
        raise UnitError(f"expected a unit of {target.kind} as {wanted!r} is, this is one of {source.kind}")
    if source == target:
        return Line()
    return Line(source.scale / target.scale, (source.offset - target.offset) / target.scale)
