"""What was observed first decides, in whatever order it is heard: where a matter lies, and whose a ticket is."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cloud.geometry import distance_m
from cloud.incidents.domain import Device, Matter, Observation, merge
from cloud.incidents.order import LATENESS, Facts, Seen, earliest, opening_by, severe_since
from cloud.incidents.places import Places, choose_matter, name_order
from cloud.sla.domain import FALLBACK_POLICY, Clock, meet, moved_to, start

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
RADIUS_M = 50.0
A, B, C = (
    Device(number, "gulou", f"lamp-{name}", 119.30 + place * 0.00035, 26.08)
    for number, (name, place) in enumerate((("a", 0), ("b", 1), ("c", 2)))
)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


# ---- places ----

devices = st.lists(
    st.builds(
        Device,
        st.integers(0, 10_000),
        st.sampled_from(("gulou", "taijiang")),
        st.text("abcdef", min_size=1, max_size=4),
        st.integers(0, 40).map(lambda step: 119.30 + step * 0.0001),
        st.integers(0, 10).map(lambda step: 26.08 + step * 0.0001),
    ),
    unique_by=name_order,
    max_size=30,
)


def anchor_name(places: Places, device: Device) -> tuple[str, str]:
    anchor = places.anchor_of(device.lon, device.lat, RADIUS_M)
    assert anchor is not None
    return name_order(anchor)


@given(devices, st.randoms(use_true_random=False))
def test_whom_a_device_belongs_to_follows_from_where_all_stand_and_from_no_order(
    registered: list[Device], dice: Any
) -> None:
    renumbered = [replace(device, device_id=n) for n, device in enumerate(registered)]
    dice.shuffle(renumbered)
    one, other = Places(registered), Places(renumbered)
    for device in registered:
        assert anchor_name(one, device) == anchor_name(other, device)


@given(devices)
def test_every_device_has_an_anchor_within_the_radius_and_no_two_anchors_are_that_near(
    registered: list[Device],
) -> None:
    places, anchors = Places(registered), dict[tuple[str, str], Device]()
    for device in registered:
        anchor = places.anchor_of(device.lon, device.lat, RADIUS_M)
        assert anchor is not None
        assert distance_m(device.lon, device.lat, anchor.lon, anchor.lat) <= RADIUS_M
        anchors[name_order(anchor)] = anchor
    standing = list(anchors.values())
    for number, one in enumerate(standing):
        for other in standing[number + 1 :]:
            assert distance_m(one.lon, one.lat, other.lon, other.lat) > RADIUS_M


@given(st.permutations((A, B, C)))
def test_the_middle_one_of_a_chain_goes_with_the_same_neighbour_whoever_is_heard_first(
    heard: Sequence[Device],
) -> None:
    places, matters = Places((A, B, C)), list[Matter]()
    went = {}
    for device in heard:
        found, place = choose_matter(places, matters, device.lon, device.lat, RADIUS_M)
        if found is None:
            found = Matter(len(matters) + 1, *place)
            matters.append(found)
        went[device.name] = (found.lon, found.lat)
    assert went == {"lamp-a": (A.lon, A.lat), "lamp-b": (A.lon, A.lat), "lamp-c": (C.lon, C.lat)}


def test_what_people_told_of_where_no_device_stands_is_joined_by_a_device_that_comes_near() -> None:
    told = Matter(1, A.lon - 0.0001, A.lat)
    assert choose_matter(Places(), [told], A.lon, A.lat, RADIUS_M) == (told, (A.lon, A.lat))
    assert choose_matter(Places((A,)), [told], A.lon, A.lat, RADIUS_M)[0] == told
    own = Matter(2, A.lon, A.lat)
    assert choose_matter(Places((A,)), [told, own], A.lon, A.lat, RADIUS_M)[0] == own


def test_the_matter_of_an_anchor_that_was_moved_is_taken_over_and_that_of_another_anchor_is_not() -> None:
    left = Matter(1, A.lon, A.lat)
    moved = replace(A, lon=A.lon - 1.0)
    assert choose_matter(Places((moved, B)), [left], B.lon, B.lat, RADIUS_M)[0] == left
    assert choose_matter(Places((A, C)), [left], C.lon, C.lat, RADIUS_M)[0] is None


points = st.tuples(
    st.integers(0, 40).map(lambda step: 119.30 + step * 0.0001),
    st.integers(0, 10).map(lambda step: 26.08 + step * 0.0001),
)


@given(devices, devices, st.lists(points, max_size=20), st.lists(points, max_size=20))
def test_no_two_matters_lie_within_the_radius_of_each_other_even_when_devices_come_and_move(
    before: list[Device],
    after: list[Device],
    told_before: list[tuple[float, float]],
    told_after: list[tuple[float, float]],
) -> None:
    matters: list[Matter] = []
    for registered, told_at in ((before, told_before), (after, told_after)):
        places = Places(registered)
        for lon, lat in [*((one.lon, one.lat) for one in registered), *told_at]:
            found, place = choose_matter(places, matters, lon, lat, RADIUS_M)
            if found is None:
                matters.append(Matter(len(matters) + 1, *place))
    for number, one in enumerate(matters):
        for other in matters[number + 1 :]:
            assert distance_m(one.lon, one.lat, other.lon, other.lat) > RADIUS_M


# ---- openings ----


@dataclass(frozen=True)
class Told:
    """A phase on its way: which observation, when captured, how late heard, and how grave."""

    observation: int
    at_s: int
    late_s: int
    severity: int


told = st.lists(
    st.builds(
        Told,
        st.integers(0, 3),
        st.integers(0, 200),
        st.sampled_from((0, 1, 30, 59, 60, 61, 600)),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=10,
)


def facts(phases: Sequence[Told], batches: Sequence[int]) -> Facts | None:
    """The opening after all phases came in this order, those of one observation merged by batches first."""
    known: dict[int, tuple[int, Any]] = {}
    left = list(phases)
    for size in (*batches, len(left)):
        batch, left = left[:size], left[size:]
        merged: dict[int, tuple[int, Any]] = {}
        for phase in batch:
            since = severe_since(phase.severity, at(phase.at_s), at(phase.at_s + phase.late_s))
            begun, before = merged.get(phase.observation, (phase.at_s, ()))
            merged[phase.observation] = min(begun, phase.at_s), earliest(before, since)
        for observation, (begun, since) in merged.items():
            was, before = known.get(observation, (begun, ()))
            known[observation] = min(was, begun), earliest(before, since)
    return opening_by(
        Seen(at(begun), "gulou", f"lamp-{number}", uuid.UUID(int=number), number, 26.08, since)
        for number, (begun, since) in known.items()
    )


@given(told, st.randoms(use_true_random=False), st.lists(st.integers(1, 4), max_size=5))
def test_an_opening_does_not_depend_on_the_order_of_arrival_nor_on_batches(
    phases: list[Told], dice: Any, batches: list[int]
) -> None:
    expected = facts(phases, [])
    shuffled = list(phases)
    dice.shuffle(shuffled)
    assert facts(shuffled, batches) == expected
    assert facts(shuffled + phases, batches) == expected  # everything twice


def seen(start_s: float, *phases: tuple[float, int], device: str = "lamp-a", late_s: float = 0.0) -> Seen:
    since = reduce(
        earliest, (severe_since(severity, at(told_s), at(told_s + late_s)) for told_s, severity in phases)
    )
    place = {"lamp-a": A, "lamp-b": B}[device]
    return Seen(at(start_s), "gulou", device, uuid.UUID(int=1), place.lon, place.lat, since)


def test_an_opening_goes_by_the_first_observer_and_the_gravest_of_the_first_minute() -> None:
    first, graver = seen(0, (0, 2), (90, 4)), seen(20, (20, 2), (50, 3), device="lamp-b")
    assert opening_by([graver, first]) == Facts(NOON, A.lon, A.lat, 3)
    assert opening_by([first]) == Facts(NOON, A.lon, A.lat, 2)
    assert opening_by([graver]) == Facts(at(20), B.lon, B.lat, 3)


def test_what_is_heard_later_than_the_bound_changes_no_opening() -> None:
    bound = LATENESS.total_seconds()
    late, first = seen(-30, (-30, 4), device="lamp-b", late_s=bound + 1), seen(0, (0, 2))
    assert opening_by([late]) is None
    assert opening_by([late, first]) == Facts(NOON, A.lon, A.lat, 2)


def test_an_opening_of_which_nothing_was_told_in_its_first_minute_goes_by_what_was_told_first() -> None:
    assert opening_by([seen(0, (100, 2), (130, 4))]) == Facts(NOON, A.lon, A.lat, 2)


def test_merged_phases_still_tell_how_grave_each_was() -> None:
    phase = Observation(
        *(7, uuid.UUID(int=1), "condition", 0, "flood.water_level", "water", "gauge", 2, NOON, NOON, None, 1),
        *(0.2, "m", (), {}, NOON),
        severe_since=severe_since(2, NOON, NOON),
    )
    later = replace(phase, revision=1, severity=4, at=at(90), severe_since=severe_since(4, at(90), at(95)))
    both = merge(later, phase)
    assert both.severity == 4
    assert both.severe_since == (NOON, NOON, at(90), at(90))


# ---- promises ----


def test_promises_of_an_opening_decided_anew_are_due_as_it_says_and_what_was_met_stays() -> None:
    urgent = replace(FALLBACK_POLICY, ack_s=60, arrive_s=120, resolve_s=600)
    clocks = meet(start((), ["ack", "arrive", "resolve"], FALLBACK_POLICY, NOON), ["ack"], at(5))
    moved = {clock.name: clock for clock in moved_to(clocks, start((), ["ack", "resolve"], urgent, NOON))}
    assert moved["ack"].state == "met"
    assert moved["arrive"].state == "cancelled"
    assert (moved["resolve"].state, moved["resolve"].due_at) == ("running", at(600))
    found = moved_to(
        start((), ["assign", "resolve"], urgent, NOON), start((), ["ack", "resolve"], urgent, NOON)
    )
    assert [(clock.name, clock.state) for clock in found] == [
        ("assign", "cancelled"),
        ("resolve", "running"),
        ("ack", "running"),
    ]
    assert all(isinstance(clock, Clock) for clock in found)
