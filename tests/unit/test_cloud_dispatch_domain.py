"""Whose a matter is."""

from __future__ import annotations

import pytest

from cloud.dispatch.domain import Route, Rule, fits, route

PLACE = {"grid": "g-1", "community": "c-1", "street": "s-1", "centre": "centre"}
UNITS = frozenset({*PLACE.values(), "water", "fire"})


@pytest.mark.parametrize(
    ("pattern", "category", "fit"),
    [
        ("*", "flood.water_level", True),
        ("flood.*", "flood.water_level", True),
        ("flood.*", "floods.water_level", False),
        ("camera.zone_*", "camera.zone_crowded", True),
        ("camera.zone_*", "camera.smoke", False),
        ("smoke.alarm", "smoke.alarm", True),
        ("smoke.alarm", "smoke.alarm_test", False),
    ],
)
def test_a_pattern_is_a_code_or_a_beginning(pattern: str, category: str, *, fit: bool) -> None:
    assert fits(pattern, category) is fit


def test_the_first_rule_that_fits_decides() -> None:
    rules = [
        Rule(1, "flood.*", 4, "level:centre"),
        Rule(2, "flood.*", 1, "department:water", ("fire", "water", "nobody")),
        Rule(3, "*", 1, "level:grid"),
    ]
    assert route(rules, "flood.water_level", 4, PLACE, UNITS).unit_code == "centre"
    assert route(rules, "flood.water_level", 3, PLACE, UNITS) == Route(
        "water", ("fire",), "rule 2: department:water"
    )
    assert route(rules, "smoke.alarm", 1, PLACE, UNITS).unit_code == "g-1"


def test_no_owner_is_said_with_its_reason_and_calls_are_kept() -> None:
    outside = {"centre": "centre"}
    rules = [Rule(1, "flood.*", 1, "level:street", ("water",)), Rule(2, "*", 1, "department:gone")]
    found = route(rules, "flood.water_level", 2, outside, UNITS)
    assert found.unit_code is None
    assert found.called == ("water",)
    assert "no street at this place" in found.because
    assert "no unit 'gone'" in route(rules, "smoke.alarm", 2, PLACE, UNITS).because
    assert "no rule covers" in route([], "smoke.alarm", 2, PLACE, UNITS).because
