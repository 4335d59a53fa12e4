"""Units by name: there and back, known figures, and faults that name the nearest."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.units import ALIASES, UNITS, Unit, UnitError, conversion

PAIRS = [(one, other) for one in UNITS for other in UNITS if UNITS[one].kind == UNITS[other].kind]


@pytest.mark.parametrize(
    ("given_unit", "wanted", "value", "expected"),
    [
        ("°F", "°C", 212.0, 100.0),
        ("°F", "°C", -40.0, -40.0),
        ("K", "°C", 273.15, 0.0),
        ("mm", "m", 1500.0, 1.5),
        ("cm", "m", 30.0, 0.3),
        ("%", "1", 55.0, 0.55),
        ("ratio", "%", 0.87, 87.0),
        ("in/h", "mm/h", 2.0, 50.8),
        ("psi", "kPa", 1.0, 6.894757293168),
        ("in", "mm", 1.0, 25.4),
        ("rad", "deg", math.pi, 180.0),
        ("gon", "deg", 100.0, 90.0),
        ("kn", "m/s", 1.0, 0.514444),
        ("mm/min", "mm/h", 1.0, 60.0),
        ("l/min", "m³/h", 1000.0, 60.0),
        ("mmHg", "hPa", 760.0, 1013.25),
        ("percent", "%", 7.0, 7.0),
    ],
)
def test_known_figures_are_met(given_unit: str, wanted: str, value: float, expected: float) -> None:
    assert conversion(given_unit, wanted)(value) == pytest.approx(expected, rel=1e-6)


@given(st.sampled_from(PAIRS), st.floats(-1e9, 1e9))
def test_there_and_back_is_where_it_began(pair: tuple[str, str], value: float) -> None:
    there, back = conversion(*pair), conversion(pair[1], pair[0])
    assert back(there(value)) == pytest.approx(value, rel=1e-9, abs=1e-6)
    assert there.back(there(value)) == pytest.approx(value, rel=1e-9, abs=1e-6)


@given(st.sampled_from(PAIRS), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_no_conversion_turns_more_into_less(pair: tuple[str, str], one: float, other: float) -> None:
    there = conversion(*pair)
    low, high = sorted((one, other))
    assert there(low) <= there(high)


def test_every_alias_is_of_a_unit_that_there_is() -> None:
    assert set(ALIASES.values()) <= set(UNITS)


@pytest.mark.parametrize(
    ("given_unit", "wanted", "said"),
    [
        ("°f", "°C", "did you mean '°F'"),
        ("milimeter", "m", "did you mean 'millimeter'"),
        ("psi", "m", "expected a unit of length as 'm' is, this is one of pressure"),
        ("furlong", "m", "known: m, mm, cm"),
        ("m", "frogs", "expected 'frogs' as the metric is declared"),
    ],
)
def test_a_unit_that_does_not_fit_is_told(given_unit: str, wanted: str, said: str) -> None:
    with pytest.raises(UnitError, match=said):
        conversion(given_unit, wanted)


def test_a_unit_of_ones_own_is_converted_through_its_base() -> None:
    own = {"raw": Unit("length", 0.01, -1.0)}
    assert conversion("raw", "mm", own)(250.0) == pytest.approx(1500.0)
