"""From observations to incidents: any order, one place, one time."""

from __future__ import annotations

import itertools
import math
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.geometry import box_around, distance_m
from cloud.incidents.domain import (
    DEFAULT_RULES,
    Candidate,
    Device,
    FusionRule,
    Matter,
    Observation,
    bridged,
    choose,
    count_too_near,
    hour_of,
    is_late,
    kind_of,
    lock_names,
    merge,
    nearest,
    rule_for,
    scope_of,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LAMP = Device(7, "gulou", "lamp-07", 119.30, 26.08)
PLAIN = Observation(
    device_id=7,
    observation_id=uuid.UUID(int=1),
    kind="condition",
    revision=0,
    category="flood.water_level",
    source="water",
    sensor="gauge",
    severity=3,
    started_at=NOON,
    at=NOON,
    ended_at=None,
    count=1,
    value=0.2,
    unit="m",
    evidence=(),
    detail={},
    received_at=NOON,
)

seconds = st.integers(0, 600).map(lambda s: NOON + timedelta(seconds=s))
pictures = st.lists(
    st.integers(0, 5).map(lambda n: {"sha256": f"{n:064x}", "captured_at": n * 1000}), max_size=3
).map(tuple)
phases = st.builds(
    replace,
    st.just(PLAIN),
    revision=st.integers(0, 4),
    severity=st.integers(1, 4),
    started_at=seconds,
    at=seconds,
    ended_at=st.none() | seconds,
    count=st.integers(0, 3),
    value=st.none() | st.floats(0, 2),
    evidence=pictures,
    detail=st.dictionaries(st.sampled_from("ab"), st.integers(0, 2), max_size=2),
    received_at=seconds,
)


@given(phases, phases, phases)
def test_merging_phases_is_a_join(one: Observation, two: Observation, three: Observation) -> None:
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(merge(one, two), two) == merge(one, two)


@given(st.lists(phases, min_size=1, max_size=5))
def test_phases_in_any_order_make_one_state(told: list[Observation]) -> None:
    assert len({repr(reduce(merge, order)) for order in itertools.permutations(told)}) == 1


def test_an_end_once_told_stays_although_an_older_phase_comes_later() -> None:
    end = replace(PLAIN, revision=3, ended_at=NOON + timedelta(minutes=5), at=NOON + timedelta(minutes=5))
    update = replace(PLAIN, revision=2, value=0.4, severity=4, at=NOON + timedelta(minutes=4))
    state = merge(end, update)
    assert state.ended_at == end.ended_at
    assert state.value == end.value
    assert state.severity == 4


def test_the_category_says_what_is_an_act_and_only_of_an_undeclared_one_the_phase() -> None:
    for phase in ("start", "update", "end", "act"):
        assert kind_of("camera.wrong_way", phase) == "act"
        assert kind_of("flood.water_level", phase) == "condition"
    assert kind_of("something.nobody_declared", "start") == "condition"
    assert kind_of("something.nobody_declared", "act") == "act"


def test_only_what_is_known_to_be_long_over_is_late() -> None:
    rule, now = FusionRule(category="*", stale_s=3600), NOON + timedelta(hours=10)
    assert not is_late(PLAIN, rule, now)  # nobody knows that it ended
    assert is_late(replace(PLAIN, ended_at=NOON + timedelta(hours=8)), rule, now)
    assert not is_late(replace(PLAIN, ended_at=now - timedelta(minutes=50)), rule, now)
    assert is_late(replace(PLAIN, kind="act"), rule, now)  # an act is over when it is seen


places = st.tuples(st.floats(-179.9, 179.9), st.floats(-80, 80))


@given(places, st.floats(0, 6.28), st.floats(0, 1), st.floats(5, 800))
def test_two_observers_within_the_radius_meet_at_a_lock(
    place: tuple[float, float], direction: float, share: float, radius_m: float
) -> None:
    lon, lat = place
    reach = share * radius_m / 111_195
    other_lat = lat + reach * math.sin(direction)
    other_lon = lon + reach * math.cos(direction) / math.cos(math.radians(lat))
    if distance_m(lon, lat, other_lon, other_lat) <= radius_m:
        mine = set(lock_names("flood.water_level", "", lon, lat, radius_m))
        theirs = set(lock_names("flood.water_level", "", other_lon, other_lat, radius_m))
        assert mine & theirs


def test_a_scope_is_one_lock_and_an_ordinary_place_at_most_four() -> None:
    assert len(list(lock_names("camera.zone_occupied", "s/d/cam", 1, 1, 50))) == 1
    assert 1 <= len(list(lock_names("flood.water_level", "", 119.3004, 26.0804, 50))) <= 4


@given(places, st.floats(1, 5000))
def test_the_box_holds_the_whole_circle(place: tuple[float, float], radius_m: float) -> None:
    lon, lat = place
    box = box_around(lon, lat, radius_m)
    assert distance_m(lon, lat, lon, box.north) >= radius_m
    assert distance_m(lon, lat, box.east, lat) >= radius_m
    assert distance_m(lon, lat, box.west, box.south) >= radius_m


def test_a_degree_of_latitude_is_111_km() -> None:
    assert distance_m(119, 26, 119, 27) == pytest.approx(111_195, rel=1e-4)
    assert distance_m(119, 60, 120, 60) == pytest.approx(55_597, rel=1e-3)


def test_the_nearest_matter_within_the_radius_is_the_one_and_the_older_of_two_equal_ones() -> None:
    near, far = Matter(1, 119.3003, 26.08), Matter(2, 119.3001, 26.08)
    assert nearest([near, far], 119.30, 26.08, 50) == far
    assert nearest([near], 119.30, 26.08, 20) is None
    twins = [Matter(9, 119.3, 26.08), Matter(4, 119.3, 26.08)]
    assert nearest(twins, 119.3, 26.08, 50) == twins[1]


def test_matters_nearer_than_the_radius_are_counted_as_a_broken_promise() -> None:
    apart = [Matter(1, 119.30, 26.08), Matter(2, 119.31, 26.08), Matter(3, 119.30, 26.09)]
    assert count_too_near(DEFAULT_RULES, "flood.water_level", apart) == 0
    assert count_too_near(DEFAULT_RULES, "flood.water_level", [*apart, Matter(4, 119.3001, 26.08)]) == 2


def test_a_zone_belongs_to_its_camera_and_an_act_to_its_device_and_water_to_its_place() -> None:
    def scope(category: str, kind: str = "condition") -> str:
        state = replace(PLAIN, category=category, kind=kind, sensor="cam-1")  # type: ignore[arg-type]
        return scope_of(rule_for(DEFAULT_RULES, category), LAMP, state)

    assert scope("camera.zone_crowded") == "gulou/lamp-07/cam-1"
    assert scope("camera.wrong_way", "act") == "gulou/lamp-07"
    assert scope("device.silent") == "gulou/lamp-07"
    assert scope("flood.water_level") == ""
    assert scope("something.nobody_declared") == ""


RULE = FusionRule(category="*", rejoin_s=600)


def candidate(start_min: float, end_min: float | None, final_min: float | None = None) -> Candidate:
    def at(minutes: float | None) -> datetime | None:
        return None if minutes is None else NOON + timedelta(minutes=minutes)

    return Candidate(
        uuid.UUID(int=round(start_min * 10) + 10_000),
        NOON + timedelta(minutes=start_min),
        at(end_min),
        at(final_min),
    )


def test_what_is_heard_of_late_shows_that_two_incidents_are_one() -> None:
    before, after = candidate(-30, -11), candidate(5, None)
    between = replace(
        PLAIN, started_at=NOON - timedelta(minutes=2), at=NOON - timedelta(minutes=1), ended_at=None
    )
    assert choose([after, before], between, RULE) == before
    assert bridged([after, before], between, RULE) == (after,)
    too_far = candidate(10, None)  # it goes on, but nobody saw it reach so far
    assert bridged([before, too_far], between, RULE) == ()
    assert bridged([before], between, RULE) == ()


def test_incidents_of_two_tickets_and_of_closed_ones_stay_apart() -> None:
    between = replace(PLAIN, started_at=NOON - timedelta(minutes=2), at=NOON, ended_at=NOON)
    one, other = uuid.uuid4(), uuid.uuid4()
    before, after = candidate(-30, -11), candidate(5, None)
    assert bridged([replace(before, ticket_id=one), replace(after, ticket_id=other)], between, RULE) == ()
    assert bridged([replace(before, ticket_id=one), after], between, RULE) == (after,)
    in_ticket = replace(after, ticket_id=other)
    assert bridged([before, in_ticket], between, RULE) == (in_ticket,)
    assert bridged([before, candidate(5, 8, 9)], between, RULE) == ()


def test_an_observation_joins_what_still_goes_on_and_what_ended_a_little_while_ago() -> None:
    goes_on, just_over = candidate(-300, None), candidate(-60, -9)
    assert choose([goes_on], PLAIN, RULE) == goes_on
    assert choose([just_over], PLAIN, RULE) == just_over
    assert choose([just_over, goes_on], PLAIN, RULE) == goes_on  # the earliest that fits
    assert choose([candidate(-60, -11)], PLAIN, RULE) is None


def test_an_observation_told_late_joins_what_began_after_it_only_if_they_touch() -> None:
    over = replace(PLAIN, ended_at=NOON + timedelta(minutes=5))
    assert choose([candidate(12, None)], over, RULE) is not None
    assert choose([candidate(16, None)], over, RULE) is None


def test_a_closed_ticket_takes_in_only_what_was_over_before_the_closing() -> None:
    closed = candidate(-30, None, final_min=10)
    assert choose([closed], PLAIN, RULE) is None
    assert choose([closed], replace(PLAIN, ended_at=NOON + timedelta(minutes=9)), RULE) == closed
    assert choose([closed], replace(PLAIN, ended_at=NOON + timedelta(minutes=11)), RULE) is None


def test_acts_are_counted_by_the_hour_whatever_the_zone() -> None:
    at = datetime.fromisoformat("2026-06-01T20:59:59+08:00")
    assert hour_of(at) == datetime(2026, 6, 1, 12, tzinfo=UTC)
