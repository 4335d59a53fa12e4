"""What follows once something burns, whatever else is shown: said again, hidden, gone out; phases in order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.fires import COLUMNS, EVERY_MS, ROWS, calm, fire_scene, flame, play

# --- what follows ---


def test_a_fire_is_said_again_and_ends_when_it_has_gone_out() -> None:
    scene = fire_scene(update_s=10, exit_looks=4)
    burning = [flame(flicker=number) for number in range(12)]
    events = play(scene, burning + [calm()] * 4)
    assert [event.phase for event in events] == ["start", "update", "update", "end"]
    assert {event.started_at for event in events} == {0}
    assert events[-1].count == 0
    assert events[-1].peak > 0


def test_smoke_before_the_flame_for_a_moment_does_not_end_it() -> None:
    scene = fire_scene(exit_looks=4)
    play(scene, [flame(flicker=number) for number in range(4)])
    assert play(scene, [calm()] * 3 + [flame(flicker=9)] + [calm()] * 3, begin=4) == []
    assert scene.is_open


def test_whatever_hides_the_view_ends_no_fire() -> None:
    scene = fire_scene(exit_looks=4, update_s=600)
    events = play(scene, [flame(flicker=number) for number in range(3)])
    for number in range(3, 60):
        scene.look(*calm(), number * EVERY_MS, hidden=True)
        events += scene.step((), number * EVERY_MS)
    assert [event.phase for event in events] == ["start"]
    assert scene.is_open
    assert [event.phase for event in play(scene, [calm()] * 4, begin=60)] == ["end"]


def test_smoke_that_hides_the_view_is_said() -> None:
    scene = fire_scene(category="camera.smoke")
    events = play(scene, [flame(flicker=0, side=2)])
    for number in (1, 2, 3):
        scene.look(*flame(flicker=number, side=8), number * EVERY_MS, hidden=True)
        events += scene.step((), number * EVERY_MS)
    assert [(event.phase, event.category) for event in events] == [("start", "camera.smoke")]


def test_a_hand_before_the_lens_that_looks_like_smoke_is_not_said() -> None:
    scene = fire_scene(category="camera.smoke")
    assert play(scene, [calm()] * 3) == []
    for number in range(3, 60):
        scene.look(*flame(flicker=number, side=8), number * EVERY_MS, hidden=True)
        assert scene.step((), number * EVERY_MS) == []
    # Nor does it help what is seen of its shadow afterwards.
    assert play(scene, [flame(flicker=60 + number, side=8) for number in range(2)], begin=60) == []
    assert [event.phase for event in play(scene, [flame(flicker=62, side=8)], begin=62)] == ["start"]


def test_a_condition_from_before_a_restart_goes_on_and_ends() -> None:
    scene = fire_scene(exit_looks=2)
    scene.restore(7)
    events = play(scene, [flame(flicker=0)] + [calm()] * 2)
    assert [event.phase for event in events] == ["update", "end"]
    assert {event.started_at for event in events} == {7}


def test_maps_of_another_size_begin_a_new_agreement() -> None:
    scene = fire_scene()
    play(scene, [flame(flicker=number) for number in range(2)])
    fine = np.zeros((12, 20), np.float32)
    scene.look(fine, fine, 2 * EVERY_MS)
    assert not scene.is_open


# --- whatever is shown ---

shown = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 5), st.integers(0, COLUMNS - 8)), min_size=1, max_size=60
)


@given(shown)
def test_phases_come_in_order_and_never_before_the_looks_agree(cast: list[tuple[int, int, int]]) -> None:
    scene = fire_scene(update_s=4, exit_looks=3)
    events = play(scene, [flame(flicker=f, side=s, left=x) for s, f, x in cast])
    is_open = False
    for event in events:
        assert (event.phase == "start") != is_open
        is_open = event.phase != "end"
        assert event.started_at <= event.at
        if event.phase == "start":
            assert event.at >= 2 * EVERY_MS
    assert is_open == scene.is_open


@given(st.lists(st.integers(0, 8), max_size=60), st.integers(0, 255))
def test_whatever_never_changes_its_brightness_and_never_grows_is_never_said(
    sides: list[int], level: int
) -> None:
    shrinking = sorted(sides, reverse=True)
    looks = [
        (flame(flicker=0, side=side)[0], np.full((ROWS, COLUMNS), level, np.float32)) for side in shrinking
    ]
    assert play(fire_scene(), looks) == []


@given(shown, st.integers(3, 10))
def test_a_fire_after_anything_is_found(before: list[tuple[int, int, int]], looks: int) -> None:
    scene = fire_scene()
    play(scene, [flame(flicker=f, side=s, left=x) for s, f, x in before])
    play(scene, [flame(flicker=number % 2 + 1) for number in range(looks)], begin=len(before))
    assert scene.is_open
