"""Who looks how: of people in a made-up picture, and what the tracker makes of it."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.camera.frame import Frame, Image
from edge.vision.appearance import Looks, looks_of
from edge.vision.detections import Boxes, Detections
from edge.vision.pipeline import VisionPipeline, VisionSettings
from edge.vision.tracker import Track, Tracker
from tests.fixtures.vision import LABELS, ScriptedDetector, detections, street

Colour = tuple[int, int, int]
Person = tuple[Colour, Colour]

RED: Person = ((40, 40, 200), (60, 50, 50))
BLUE: Person = ((190, 70, 30), (160, 160, 150))
GREEN: Person = ((50, 150, 60), (30, 30, 30))


def _box(x: float, y: float = 180.0) -> tuple[float, float, float, float]:
    return x - 15, y - 80, x + 15, y


def _picture(*people: tuple[float, Person], seed: int = 1) -> Image:
    """A noisy street with people at these places."""
    noise = np.random.default_rng(seed).normal(0, 6, (240, 640, 3))
    image = np.full((240, 640, 3), 128.0) + noise
    for x, (upper, lower) in people:
        left, top, right, bottom = (round(one) for one in _box(x))
        middle = (top + bottom) // 2
        image[top:middle, left:right] = upper + noise[top:middle, left:right]
        image[middle:bottom, left:right] = lower + noise[middle:bottom, left:right]
    return image.clip(0, 255).astype(np.uint8)


def _boxes(*xs: float) -> Boxes:
    return np.array([_box(x) for x in xs], np.float32).reshape(-1, 4)


def _see(tracker: Tracker, at_ms: int, people: Mapping[float, Person]) -> dict[float, int]:
    """Who is whom at each place, after one picture of these people."""
    image = _picture(*people.items(), seed=at_ms)
    found = detections(*(_box(x) for x in people), score=0.9, label=0)
    tracks = tracker.update(found, at_ms, looks_of(image, found.xyxy))
    now = [track for track in tracks if track.last_seen_ms == at_ms]
    return {x: min(now, key=lambda track: abs(_middle(track) - x)).id for x in people}


def _middle(track: Track) -> float:
    return (track.xyxy[0] + track.xyxy[2]) / 2


def test_looks_are_of_length_one_and_alike_for_the_same_clothes_elsewhere() -> None:
    looks = looks_of(_picture((100, RED), (300, BLUE), (500, RED)), _boxes(100, 300, 500))
    assert np.linalg.norm(looks, axis=1) == pytest.approx(1.0, abs=1e-4)
    alike = looks @ looks.T
    assert alike[0, 2] > 0.97
    assert alike[0, 1] < 0.8


def test_clothes_swapped_from_top_to_bottom_are_another_look() -> None:
    other: Person = (RED[1], RED[0])
    looks = looks_of(_picture((100, RED), (300, other)), _boxes(100, 300))
    assert float(looks[0] @ looks[1]) < 0.8


def test_a_brighter_moment_changes_a_look_a_little_only() -> None:
    image = _picture((100, RED))
    brighter = (image.astype(np.int16) + 12).clip(0, 255).astype(np.uint8)
    before, after = looks_of(image, _boxes(100))[0], looks_of(brighter, _boxes(100))[0]
    assert float(before @ after) > 0.85


@pytest.mark.parametrize(
    "box",
    [
        (-80.0, 10.0, -20.0, 90.0),
        (700.0, 10.0, 740.0, 90.0),
        (20.0, 20.0, 20.0, 20.0),
        (50.0, 90.0, 20.0, 10.0),
    ],
    ids=["left of it", "right of it", "empty", "inside out"],
)
def test_a_box_with_nothing_of_the_picture_in_it_looks_like_nothing(
    box: tuple[float, float, float, float],
) -> None:
    assert not looks_of(street(), np.array([box], np.float32)).any()


def test_a_box_that_reaches_out_of_the_picture_is_known_by_what_is_in_it() -> None:
    looks = looks_of(_picture((5, RED)), _boxes(5))
    assert np.linalg.norm(looks[0]) == pytest.approx(1.0, abs=1e-4)


def test_only_those_wanted_are_looked_at() -> None:
    image, boxes = _picture((100, RED), (300, BLUE)), _boxes(100, 300)
    some = looks_of(image, boxes, np.array([False, True]))
    assert not some[0].any()
    assert np.array_equal(some[1], looks_of(image, boxes)[1])
    assert looks_of(image, _boxes()).shape == (0, some.shape[1])


def test_two_who_changed_places_while_unseen_are_known_by_their_looks() -> None:
    tracker = Tracker()
    for n in range(10):
        before = _see(tracker, n * 100, {200.0: RED, 228.0: BLUE})
    _see(tracker, 1000, {})
    after = _see(tracker, 1700, {200.0: BLUE, 228.0: RED})
    assert (after[228.0], after[200.0]) == (before[200.0], before[228.0])


def test_by_boxes_alone_they_are_taken_for_one_another() -> None:
    tracker = Tracker()
    for at in (*range(0, 1000, 100), 1700):
        tracks = tracker.update(detections(_box(200), _box(228)), at)
    assert [_middle(track) for track in tracks] == pytest.approx([200, 228], abs=2)


def test_who_was_hidden_is_found_again_and_somebody_else_there_is_not() -> None:
    for comes, same in ((RED, True), (BLUE, False)):
        tracker = Tracker()
        for n in range(10):
            before = _see(tracker, n * 100, {200.0: RED})
        _see(tracker, 1000, {})
        assert (_see(tracker, 2400, {203.0: comes})[203.0] == before[200.0]) is same


def test_who_is_in_view_stays_the_same_whatever_the_light_does() -> None:
    tracker = Tracker()
    seen = {_see(tracker, n * 100, {200.0: RED if n < 10 else GREEN})[200.0] for n in range(20)}
    assert seen == {1}


def test_who_stands_still_between_rare_looks_stays_the_same_whatever_the_light_does() -> None:
    tracker = Tracker()
    seen = {_see(tracker, n * 800, {200.0: RED if n < 5 else GREEN})[200.0] for n in range(10)}
    assert seen == {1}


def test_nobody_was_missed_while_nobody_could_look() -> None:
    tracker = Tracker()
    for n in range(10):
        before = _see(tracker, n * 100, {200.0: RED})
    tracker.pause(LABELS, 1900)
    assert _see(tracker, 1900, {200.0: GREEN}) == before


def test_whoever_is_gone_for_too_long_is_let_go_while_nobody_can_look() -> None:
    tracker = Tracker()
    for n in range(10):
        _see(tracker, n * 100, {200.0: RED})
    assert [track.id for track in tracker.pause(LABELS, 3900)] == [1]
    assert tracker.pause(LABELS, 3901) == ()


def test_the_path_of_a_frame_tells_the_tracker_how_those_in_this_very_frame_look() -> None:
    two, nobody = detections(_box(200), _box(228), label=0), Detections.empty(LABELS)
    settings = VisionSettings.model_validate({"gate": {"enabled": False}})
    pipeline = VisionPipeline(settings, ScriptedDetector(*[two] * 10, nobody, two))
    for n in range(11):
        pipeline.process(Frame(_picture((200, RED), (228, BLUE), seed=n), n * 100, n))
    tracks = pipeline.process(Frame(_picture((200, BLUE), (228, RED)), 1700, 11)).tracks
    assert [_middle(track) for track in tracks] == pytest.approx([228, 200], abs=2)


def test_one_picture_without_looks_forgets_nobody() -> None:
    tracker = Tracker()
    for n in range(10):
        _see(tracker, n * 100, {200.0: RED, 228.0: BLUE})
    tracker.update(detections(_box(200), _box(228)), 1000)
    _see(tracker, 1100, {})
    assert _see(tracker, 1800, {200.0: BLUE, 228.0: RED}) == {200.0: 2, 228.0: 1}


def test_looks_that_do_not_fit_the_detections_are_refused() -> None:
    looks = np.zeros((2, 96), np.float32)
    with pytest.raises(ValueError, match=r"looks: expected \(1, D\), got \(2, 96\)"):
        Tracker().update(detections(_box(200)), 0, looks)


_PLACES = st.lists(
    st.lists(st.tuples(st.integers(0, 600), st.integers(90, 230), st.integers(30, 99)), max_size=7),
    min_size=1,
    max_size=10,
)


@settings(max_examples=40)
@given(_PLACES, st.randoms(use_true_random=False))
def test_the_order_of_detections_and_their_looks_does_not_matter(
    scene: list[list[tuple[int, int, int]]], chance: random.Random
) -> None:
    image = _picture((100, RED), (230, BLUE), (400, GREEN), (520, RED))
    first, second = Tracker(), Tracker()
    for n, rows in enumerate(scene):
        found = _detected(rows)
        order = list(range(len(rows)))
        chance.shuffle(order)
        looks: Looks = looks_of(image, found.xyxy)
        places = np.array(order, np.intp)
        shuffled = second.update(found.where(places), n * 100, looks[places])
        assert first.update(found, n * 100, looks) == shuffled


def _detected(rows: list[tuple[int, int, int]]) -> Detections:
    return detections(*(_box(x, y) for x, y, _ in rows), score=[score / 100 for *_, score in rows], label=0)
