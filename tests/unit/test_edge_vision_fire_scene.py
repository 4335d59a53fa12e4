"""What starts a scene of fire or smoke: looks by the clock, agreement in one place, flicker or growth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.wire.categories import BY_CODE
from tests.fixtures.fires import COLUMNS, EVERY_MS, ROWS, calm, fire_scene, flame, play

# --- when it looks ---


def test_it_looks_at_once_and_then_by_the_clock() -> None:
    scene = fire_scene()
    assert scene.due(1_000)
    scene.look(*calm(), 1_000)
    assert not scene.due(2_999)
    assert scene.due(3_000)


def test_a_clock_that_ran_backwards_does_not_stop_the_looks() -> None:
    scene = fire_scene()
    scene.look(*calm(), 1_000_000)
    assert scene.due(5_000)


# --- what starts it ---


def test_a_flame_that_flickers_in_one_place_starts_it_at_the_third_look() -> None:
    events = play(fire_scene(), [flame(flicker=number) for number in range(3)])
    assert [event.phase for event in events] == ["start"]
    start = events[0]
    assert start.category == "camera.fire"
    assert BY_CODE[start.category].kind == "condition"
    assert (start.started_at, start.at) == (0, 2 * EVERY_MS)
    assert start.detail["share"] == pytest.approx(16 / (ROWS * COLUMNS), abs=1e-4)


def test_a_lamp_that_shines_evenly_starts_nothing() -> None:
    assert play(fire_scene(), [flame(flicker=0)] * 50) == []


def test_a_cloud_of_smoke_that_grows_evenly_starts_it() -> None:
    scene = fire_scene(category="camera.smoke", least_stir=200)
    events = play(scene, [flame(flicker=0, side=side) for side in (3, 4, 5, 6)])
    assert [event.phase for event in events] == ["start"]
    assert events[0].category == "camera.smoke"


def test_how_much_smoke_has_to_grow_is_as_the_camera_is_told() -> None:
    growing = [flame(flicker=0, side=side) for side in (3, 4, 5, 6)]
    told = {"category": "camera.smoke", "least_stir": 200}
    assert play(fire_scene(**told, least_growth=1.9), growing) == []
    assert [event.phase for event in play(fire_scene(**told, least_growth=1.3), growing)] == ["start"]


def test_a_wall_that_the_evening_sun_reddens_more_and_more_is_no_fire() -> None:
    wall = [flame(flicker=0, side=side) for side in (3, 4, 5, 6)]
    assert play(fire_scene(least_stir=200), wall) == []


def test_a_floor_no_brighter_than_what_is_around_it_is_no_fire_however_it_flickers() -> None:
    looks = [flame(flicker=number) for number in range(20)]
    dim = [(fire, np.where(fire > 0, bright - 130, bright)) for fire, bright in looks]
    assert play(fire_scene(), dim) == []
    assert [event.phase for event in play(fire_scene(category="camera.smoke"), dim)][:1] == ["start"]


def test_a_coat_that_shines_in_one_look_of_three_is_no_fire() -> None:
    looks = [flame(flicker=number) for number in range(30)]
    passing = [
        (fire, bright if number % 3 == 0 else np.where(fire > 0, bright - 140, bright))
        for number, (fire, bright) in enumerate(looks)
    ]
    assert play(fire_scene(), passing) == []


def test_a_lamp_that_something_lights_up_once_starts_nothing() -> None:
    looks = [flame(flicker=int(number >= 4)) for number in range(12)]
    assert play(fire_scene(), looks) == []


def test_a_grey_road_uncovered_by_a_lorry_is_no_smoke_that_grows() -> None:
    looks = [flame(flicker=0, side=side) for side in (2, 8, 8, 2, 8, 8)]
    assert play(fire_scene(), looks) == []


def test_a_red_bus_that_passes_starts_nothing() -> None:
    assert play(fire_scene(), [flame(flicker=number, left=number * 8) for number in range(5)]) == []


def test_two_looks_alone_start_nothing() -> None:
    lonely = [flame(flicker=1), flame(flicker=2), calm(), calm()]
    assert play(fire_scene(), lonely * 10) == []


def test_a_cloud_before_the_sun_is_no_flicker() -> None:
    lamp, _ = flame(flicker=0)
    assert (
        play(fire_scene(), [(lamp, np.full_like(lamp, 80 + 40 * (number % 2))) for number in range(20)]) == []
    )


def test_a_camera_that_shakes_brings_no_lamp_to_life() -> None:
    """Everything in the picture changes, the lamp no more than its neighbours."""
    lamp, brightness = flame(flicker=0)
    unrest = np.random.default_rng(1).normal(0, 12, (20, ROWS, COLUMNS)).astype(np.float32)
    assert play(fire_scene(), [(lamp, brightness + one) for one in unrest]) == []


def test_a_flame_is_found_by_a_camera_that_shakes() -> None:
    unrest = np.random.default_rng(1).normal(0, 4, (20, ROWS, COLUMNS)).astype(np.float32)
    looks = [flame(flicker=3 * number % 5) for number in range(20)]
    events = play(
        fire_scene(), [(fire, bright + one) for (fire, bright), one in zip(looks, unrest, strict=True)]
    )
    assert [event.phase for event in events][:1] == ["start"]


def test_what_burns_outside_the_zone_starts_nothing() -> None:
    scene = fire_scene(zone=((0.6, 0.0), (1.0, 0.0), (1.0, 1.0), (0.6, 1.0)))
    assert play(scene, [flame(flicker=number) for number in range(20)]) == []


def test_what_burns_in_a_zone_smaller_than_a_cell_is_said() -> None:
    scene = fire_scene(zone=((0.138, 0.42), (0.149, 0.42), (0.149, 0.43), (0.138, 0.43)))
    events = play(scene, [flame(flicker=number) for number in range(3)])
    assert [(event.phase, event.peak) for event in events] == [("start", 1.0)]


def test_looks_before_and_after_a_gap_are_not_in_a_row() -> None:
    scene = fire_scene()
    times = [minute * 60_000 + look * EVERY_MS for minute in range(10) for look in range(2)]
    for number, at in enumerate(times):
        scene.look(*flame(flicker=number), at)
    assert scene.step((), times[-1]) == []


@given(st.integers(EVERY_MS, 600_000), st.floats(0.8, 1.2))
def test_pictures_that_come_more_rarely_than_looks_are_wanted_agree_at_their_own_pace(
    pace_ms: int, late: float
) -> None:
    scene = fire_scene()
    times = [round((number + (late if number % 2 else 1.0)) * pace_ms) for number in range(5)]
    for number, at in enumerate(times):
        scene.look(*flame(flicker=number), at)
    events = scene.step((), times[-1])
    assert [event.phase for event in events][:1] == ["start"]
    # The first interval is no pace yet.
    assert events[0].at in times[2:4]


def test_pictures_that_come_by_the_hour_are_never_in_a_row() -> None:
    scene = fire_scene()
    for number in range(10):
        scene.look(*flame(flicker=number), number * 3_600_000)
    assert scene.step((), 36_000_000) == []
