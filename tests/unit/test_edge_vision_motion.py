"""The motion gate and the crops it proposes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.frame import Image
from edge.vision.motion import MotionGate, regions
from edge.vision.regions import CloserLooks, halves
from tests.fixtures.vision import track


def _scene(x: int | None = None, *, noise: int = 0, light: int = 0) -> Image:
    picture = np.full((480, 640, 3), 100 + light, np.int32)
    picture[300:, :] = 140 + light
    if x is not None:
        picture[200:280, x : x + 30] = 30
    if noise:
        picture += np.random.default_rng(noise).integers(-4, 5, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def test_the_first_look_counts_as_motion_everywhere() -> None:
    motion = MotionGate().look(_scene(), 0)
    assert motion.moving
    assert motion.boxes.tolist() == [[0, 0, 640, 480]]


def test_noise_is_no_motion() -> None:
    gate = MotionGate()
    gate.look(_scene(noise=1), 0)
    assert not any(gate.look(_scene(noise=n), n * 100).moving for n in range(2, 40))


def test_somebody_walking_is_motion_where_he_walks() -> None:
    gate = MotionGate()
    gate.look(_scene(), 0)
    for n in range(1, 20):
        motion = gate.look(_scene(50 + 20 * n), n * 100)
        assert motion.moving
        assert 0 < motion.share < 0.1
        left, top, right, bottom = motion.boxes[0].tolist()
        assert left <= 50 + 20 * n
        assert right >= 80 + 20 * n
        assert top <= 200
        assert bottom >= 280


def test_who_stands_still_long_enough_becomes_background() -> None:
    gate = MotionGate(learn_s=1.0)
    gate.look(_scene(), 0)
    moving = [gate.look(_scene(300), n * 100).moving for n in range(1, 60)]
    assert moving[0]
    assert not moving[-1]


def test_light_that_changes_everywhere_is_learnt_at_once() -> None:
    gate = MotionGate()
    gate.look(_scene(), 0)
    assert gate.look(_scene(light=60), 100).share > 0.9
    assert not gate.look(_scene(light=60), 200).moving


def test_a_picture_of_another_size_begins_anew() -> None:
    gate = MotionGate()
    gate.look(_scene(), 0)
    motion = gate.look(_scene()[:240, :320], 100)
    assert motion.boxes.tolist() == [[0, 0, 320, 240]]


_BOXES = st.lists(
    st.tuples(st.floats(0, 700), st.floats(0, 500), st.floats(4, 300), st.floats(4, 300)), max_size=12
)


@given(_BOXES)
def test_crops_lie_within_the_frame_and_cover_every_box(
    rows: list[tuple[float, float, float, float]],
) -> None:
    boxes = np.array([(x, y, min(x + w, 768), min(y + h, 576)) for x, y, w, h in rows], np.float32).reshape(
        -1, 4
    )
    crops = regions(boxes, 768, 576)
    assert len(crops) <= 4
    assert bool(crops) == bool(rows)
    for left, top, right, bottom in crops:
        assert 0 <= left < right <= 768
        assert 0 <= top < bottom <= 576
    for x1, y1, x2, y2 in boxes.tolist():
        assert any(
            left <= x1 + 1 and top <= y1 + 1 and right >= x2 - 1 and bottom >= y2 - 1
            for left, top, right, bottom in crops
        )


def test_boxes_near_each_other_share_a_crop() -> None:
    near = np.array([[100, 100, 130, 180], [150, 110, 180, 190]], np.float32)
    far = np.array([[100, 100, 130, 180], [1500, 800, 1530, 880]], np.float32)
    assert len(regions(near, 1920, 1080)) == 1
    assert len(regions(far, 1920, 1080)) == 2


def test_too_many_crops_become_the_whole_frame() -> None:
    boxes = np.array([(x, y, x + 30, y + 60) for x in (50, 900, 1800) for y in (50, 900)], np.float32)
    assert regions(boxes, 1920, 1080) == [(0, 0, 1920, 1080)]


@pytest.mark.parametrize("size", [(64, 48), (3840, 2160)])
def test_pictures_of_any_size_can_be_looked_at(size: tuple[int, int]) -> None:
    width, height = size
    gate = MotionGate()
    gate.look(np.zeros((height, width, 3), np.uint8), 0)
    lit = np.zeros((height, width, 3), np.uint8)
    lit[height // 4 : height // 2, width // 4 : width // 2] = 200
    assert gate.look(lit, 100).moving


@given(_BOXES)
def test_closer_crops_lie_within_the_frame_and_every_box_is_in_one_or_across_both(
    rows: list[tuple[float, float, float, float]],
) -> None:
    boxes = np.array([(x, y, min(x + w, 768), min(y + h, 576)) for x, y, w, h in rows], np.float32)
    crops = halves(boxes.reshape(-1, 4), 768, 576)
    assert bool(crops) == bool(rows)
    assert len(crops) <= 2
    covered = np.zeros((576, 768), np.bool_)
    for left, top, right, bottom in crops:
        assert 0 <= left < right <= 768
        assert 0 <= top < bottom <= 576
        covered[top:bottom, left:right] = True
    for x1, y1, x2, y2 in boxes.reshape(-1, 4).tolist():
        assert covered[int(y1) : int(y2), int(x1) : int(x2)].all()


def test_what_moves_close_together_is_looked_at_in_one_crop_of_at_least_half_the_size() -> None:
    near = np.array([[100, 100, 130, 180], [150, 110, 180, 190]], np.float32)
    ((left, top, right, bottom),) = halves(near, 1920, 1080)
    assert (right - left, bottom - top) == (960, 540)
    assert left <= 100
    assert top <= 100


@given(st.floats(0.05, 1.0), st.lists(_BOXES, min_size=1, max_size=60))
def test_closer_looks_cost_no_more_than_they_may_and_are_never_two_in_a_row(
    more: float, scene: list[list[tuple[float, float, float, float]]]
) -> None:
    looks, spent, before = CloserLooks(more), 0, False
    for n, rows in enumerate(scene, start=1):
        boxes = np.array([(x, y, min(x + w, 768), min(y + h, 576)) for x, y, w, h in rows], np.float32)
        crops = looks.crops(boxes.reshape(-1, 4), [], 768, 576)
        spent += max(len(crops), 1)
        assert not (before and crops)
        assert spent <= n * (1 + more) + 1e-6
        before = bool(crops)


def test_without_closer_looks_the_whole_is_looked_at() -> None:
    assert CloserLooks(0.0).crops(np.array([[1, 1, 50, 50]], np.float32), [], 768, 576) == []


def test_who_is_too_large_for_any_part_is_looked_at_in_the_whole() -> None:
    small = np.array([[10, 10, 40, 80], [700, 480, 740, 560]], np.float32)
    lorry = [track(1, 384, 400, 0, size=(500, 300))]
    assert CloserLooks(1.0).crops(small, [], 768, 576) != []
    assert CloserLooks(1.0).crops(small, lorry, 768, 576) == []
