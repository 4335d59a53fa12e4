"""Categories that tell of one matter: the same lock, the same rule, and a name that does not depend on the order."""

from __future__ import annotations

import math
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from cloud.geometry import distance_m
from cloud.incidents.domain import (
    DEFAULT_RULES,
    Family,
    Observation,
    leading,
    lock_names,
    matter_category,
    merge,
    rule_for,
    with_families,
)
from tests.unit.test_cloud_incidents_domain import phases

WATER = Family("water", ("camera.standing_water", "flood.water_level", "manhole.water_high"), 80, 900, 3600)
RULES = with_families(DEFAULT_RULES, [WATER])
member = st.sampled_from(WATER.categories)
lon, lat = st.floats(119.29, 119.31), st.floats(26.07, 26.09)


def test_what_is_of_no_family_fuses_as_before() -> None:
    for category in ("smoke.alarm", "camera.zone_occupied", "rain.intense"):
        assert rule_for(RULES, category) == rule_for(DEFAULT_RULES, category)
        assert matter_category(rule_for(RULES, category), category) == category


def test_members_of_a_family_are_kept_under_the_leading_one_by_place() -> None:
    for category in WATER.categories:
        rule = rule_for(RULES, category)
        assert (rule.scope, rule.radius_m, rule.rejoin_s) == ("place", 80, 900)
        assert matter_category(rule, category) == "camera.standing_water"


@given(member, member, st.tuples(lon, lat), st.floats(0, 80), st.floats(0, 360))
def test_two_of_a_family_within_its_radius_meet_at_a_lock(
    one: str, other: str, here: tuple[float, float], metres: float, degrees: float
) -> None:
    x, y = here
    step, angle = metres * 0.999 / 111_195, math.radians(degrees)
    there = x + step * math.sin(angle) / math.cos(math.radians(y)), y + step * math.cos(angle)
    assert distance_m(x, y, *there) <= 80
    taken = [
        set(lock_names(matter_category(rule_for(RULES, category), category), "", *place, 80))
        for category, place in ((one, here), (other, there))
    ]
    assert taken[0] & taken[1]


@given(st.lists(member, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_what_names_an_incident_does_not_depend_on_the_order(told: list[str], dice: object) -> None:
    shuffled = list(told)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]

    def named(order: list[str]) -> str:
        return reduce(lambda one, other: leading(WATER.categories, one, other), order)

    assert named(told) == named(shuffled)


def test_what_is_of_no_family_keeps_its_name() -> None:
    assert leading((), "smoke.alarm", "camera.fire") == "smoke.alarm"
    assert leading(WATER.categories, "smoke.alarm", "flood.water_level") == "smoke.alarm"


@given(st.lists(phases, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_the_highest_value_is_known_in_whatever_order_the_phases_come(
    told: list[Observation], dice: object
) -> None:
    shuffled = list(told)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    values = [phase.value for phase in told if phase.value is not None]
    for order in (told, shuffled):
        known = reduce(merge, order)
        reached = [value for value in (known.value, known.peak) if value is not None]
        assert max(reached, default=None) == max(values, default=None)
    assert reduce(merge, told) == reduce(merge, shuffled)
