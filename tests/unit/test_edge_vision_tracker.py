"""The tracker keeps identities: told by hand, by property, and against a labelled street."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.vision.detections import Detections
from edge.vision.tracker import Track, Tracker, TrackerSettings
from tests.fixtures.vision import LABELS, detections, walk

Box = tuple[float, float, float, float]


def _box(x: float, y: float, width: float = 30.0, height: float = 80.0) -> Box:
    return x - width / 2, y - height, x + width / 2, y


def _follow(
    tracker: Tracker, path: Sequence[tuple[int, float, float]], *, score: float = 0.9, label: int = 0
) -> list[tuple[Track, ...]]:
    return [tracker.update(detections(_box(x, y), score=score, label=label), at) for at, x, y in path]


def test_somebody_who_walks_keeps_one_identity() -> None:
    history = _follow(Tracker(), list(walk((50, 200), (60, 5), 6)))
    assert {track.id for tracks in history for track in tracks} == {1}
    last = history[-1][0]
    assert last.confirmed
    assert last.hits == 60
    assert (last.first_seen_ms, last.last_seen_ms) == (0, 5900)


def test_a_track_is_confirmed_only_once_seen_often_enough() -> None:
    history = _follow(Tracker(TrackerSettings(confirm_hits=3)), list(walk((50, 200), (60, 0), 0.5)))
    assert [tracks[0].confirmed for tracks in history] == [False, False, True, True, True]


def test_a_weak_detection_begins_nothing() -> None:
    assert all(not tracks for tracks in _follow(Tracker(), list(walk((50, 200), (60, 0), 2)), score=0.4))


def test_weak_detections_carry_a_track_through_an_occlusion() -> None:
    tracker = Tracker()
    path = list(walk((50, 200), (60, 0), 3))
    history = (
        _follow(tracker, path[:15]) + _follow(tracker, path[15:20], score=0.2) + _follow(tracker, path[20:])
    )
    assert {track.id for tracks in history for track in tracks} == {1}
    assert history[17][0].last_seen_ms == path[17][0]


def test_weak_detections_alone_do_not_keep_a_post_alive_for_ever() -> None:
    tracker = Tracker()
    still = list(walk((100, 200), (0, 0), 12))
    history = _follow(tracker, still[:10]) + _follow(tracker, still[10:], score=0.3)
    assert history[-1] == ()


def test_a_track_is_found_again_after_it_was_hidden() -> None:
    tracker = Tracker()
    path = list(walk((50, 200), (60, 0), 5))
    _follow(tracker, path[:20])
    for at, _, _ in path[20:35]:
        hidden = tracker.update(Detections.empty(LABELS), at)
        assert hidden[0].last_seen_ms == 1900
    assert [track.id for track in _follow(tracker, path[35:])[-1]] == [1]


def test_where_a_hidden_object_should_be_goes_on_with_it() -> None:
    tracker = Tracker()
    path = list(walk((50, 200), (60, 0), 3))
    _follow(tracker, path[:20])
    (hidden,) = tracker.update(Detections.empty(LABELS), path[29][0])
    assert (hidden.xyxy[0] + hidden.xyxy[2]) / 2 == pytest.approx(path[29][1], abs=6)


def test_two_who_pass_each_other_keep_their_identities() -> None:
    tracker = Tracker()
    for (at, x, y), (_, x2, y2) in zip(
        walk((50, 200), (80, 0), 5), walk((450, 230), (-80, 0), 5), strict=True
    ):
        tracks = tracker.update(detections(_box(x, y), _box(x2, y2)), at)
    assert [track.id for track in tracks] == [1, 2]
    assert tracks[0].xyxy[0] > 400
    assert tracks[1].xyxy[0] < 100


@pytest.mark.parametrize("fps", [5, 10, 25])
def test_two_whom_one_box_shows_for_a_while_keep_identities_and_pace(fps: float) -> None:
    tracker = Tracker()
    first, second = walk((50, 200), (60, 0), 4, fps=fps), walk((95, 203), (60, 0), 4, fps=fps)
    for (at, x, y), (_, x2, y2) in zip(first, second, strict=True):
        left, right = _box(x, y), _box(x2, y2)
        both = (left[0], left[1], right[2], right[3])
        tracks = tracker.update(detections(*([both] if 2000 <= at < 2600 else [left, right])), at)
        if at >= 2000:
            places = {track.id: (track.xyxy[0] + track.xyxy[2]) / 2 for track in tracks}
            assert places[2] - places[1] > 15, "they walk beside each other, one ahead"
    assert sorted(track.id for track in tracks) == [1, 2]
    assert [track.xyxy[0] for track in tracks] == pytest.approx([left[0], right[0]], abs=6)


@pytest.mark.parametrize("fps", [5, 10, 25])
def test_speed_is_told_by_time_not_by_frames(fps: float) -> None:
    history = _follow(Tracker(), list(walk((50, 200), (90, 10), 4, fps=fps)))
    assert {track.id for tracks in history for track in tracks} == {1}


@pytest.mark.parametrize("seed", range(5))
def test_dropped_frames_cost_no_identity(seed: int) -> None:
    chance = random.Random(seed)
    path = [point for point in walk((50, 200), (60, 5), 8, fps=25) if chance.random() < 0.4]
    history = _follow(Tracker(), path)
    assert {track.id for tracks in history for track in tracks} == {1}


@settings(max_examples=40)
@given(
    st.sampled_from([10.0, 25.0]),
    st.randoms(use_true_random=False),
    st.floats(0.0, 0.5),
    st.floats(30.0, 90.0),
    st.floats(30.0, 90.0),
)
def test_two_who_pass_each_other_at_a_distance_keep_their_identities_in_thinned_footage(
    fps: float, chance: random.Random, dropped: float, first: float, second: float
) -> None:
    tracker = Tracker()
    there, back = walk((50, 150), (first, 0), 6, fps=fps), walk((450, 280), (-second, 0), 6, fps=fps)
    seen: list[set[int]] = [set(), set()]
    gap = 0
    for (at, x, y), (_, x2, y2) in zip(there, back, strict=True):
        # Never more than a third of a second in one go: beyond that nobody could know.
        gap = gap + 1 if chance.random() < dropped else 0
        if 0 < gap <= fps / 3:
            continue
        gap = 0
        for track in tracker.update(detections(_box(x, y), _box(x2, y2)), at):
            seen[(track.xyxy[1] + track.xyxy[3]) / 2 > 175].add(track.id)
    assert [len(ids) for ids in seen] == [1, 1]
    assert seen[0] != seen[1]


def test_the_label_is_the_one_that_was_given_most() -> None:
    tracker = Tracker()
    path = list(walk((50, 200), (60, 0), 3))
    for n, (at, x, y) in enumerate(path):
        tracks = tracker.update(detections(_box(x, y), label=3 if n % 3 == 0 else 5), at)
    assert tracks[0].label == "truck"


def test_where_it_stood_is_remembered_bounded_in_length_and_age() -> None:
    settings = TrackerSettings()
    history = _follow(Tracker(), list(walk((50, 200), (10, 0), 30, fps=25)))
    ground = history[-1][0].ground
    assert len(ground) <= settings.ground_ms / settings.ground_step_ms + 2
    assert ground[0].at_ms >= ground[-1].at_ms - settings.ground_ms
    assert ground[-1].at_ms == history[-1][0].last_seen_ms
    assert ground[-1].x == pytest.approx(50 + 10 * ground[-1].at_ms / 1000, abs=3)


def test_an_instant_before_the_last_is_taken_as_the_last() -> None:
    tracker = Tracker()
    tracker.update(detections(_box(50, 200)), 1000)
    (one,) = tracker.update(detections(_box(52, 200)), 400)
    assert one.last_seen_ms == 1000


def test_two_boxes_on_one_object_begin_one_track() -> None:
    tracker = Tracker()
    for at, x, y in walk((50, 200), (60, 0), 1):
        tracks = tracker.update(detections(_box(x, y), _box(x + 4, y, 34, 70), score=[0.9, 0.85]), at)
    assert len([track for track in tracks if track.confirmed]) == 1


_SCENE = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 300),
            st.integers(80, 300),
            st.integers(10, 60),
            st.integers(20, 80),
            st.integers(5, 99),
        ),
        max_size=8,
    ),
    min_size=1,
    max_size=14,
)
_Scene = list[list[tuple[int, int, int, int, int]]]


def _detected(rows: list[tuple[int, int, int, int, int]]) -> Detections:
    return detections(
        *((x, y, x + w, y + h) for x, y, w, h, _ in rows),
        score=[score / 100 for *_, score in rows],
        label=[w % len(LABELS) for _, _, w, _, _ in rows],
    )


@settings(max_examples=60)
@given(_SCENE)
def test_the_same_footage_gives_the_same_tracks(scene: _Scene) -> None:
    first, second = Tracker(), Tracker()
    for n, rows in enumerate(scene):
        assert first.update(_detected(rows), n * 100) == second.update(_detected(rows), n * 100)


@settings(max_examples=60)
@given(_SCENE, st.randoms(use_true_random=False))
def test_the_order_of_detections_does_not_matter(scene: _Scene, chance: random.Random) -> None:
    first, second = Tracker(), Tracker()
    for n, rows in enumerate(scene):
        shuffled = list(rows)
        chance.shuffle(shuffled)
        assert first.update(_detected(rows), n * 100) == second.update(_detected(shuffled), n * 100)


@settings(max_examples=60)
@given(_SCENE, st.lists(st.integers(0, 900), min_size=14, max_size=14))
def test_identities_are_never_given_twice_and_tracks_live_on_detections(
    scene: _Scene, pauses: list[int]
) -> None:
    tracker = Tracker()
    seen: set[int] = set()
    alive: set[int] = set()
    at = 0
    for rows, pause in zip(scene, pauses, strict=False):
        at += pause
        tracks = tracker.update(_detected(rows), at)
        ids = [track.id for track in tracks]
        assert ids == sorted(set(ids))
        new = set(ids) - alive
        assert not new & seen
        seen |= new
        alive = set(ids)
        for track in tracks:
            limit = tracker.settings.lost_ms if track.confirmed else tracker.settings.tentative_ms
            assert at - track.last_seen_ms <= limit
            assert track.hits >= 1
            assert track.first_seen_ms <= track.last_seen_ms <= at
            assert np.isfinite(track.xyxy).all()
        assert sum(track.last_seen_ms == at for track in tracks) <= len(rows) + len(alive)


@settings(max_examples=30)
@given(_SCENE)
def test_with_nothing_to_see_all_tracks_end(scene: _Scene) -> None:
    tracker = Tracker()
    for n, rows in enumerate(scene):
        tracker.update(_detected(rows), n * 100)
    last = len(scene) * 100
    before = tracker.update(Detections.empty(LABELS), last)
    after = tracker.update(Detections.empty(LABELS), last + 1000)
    assert len(after) <= len(before)
    assert tracker.update(Detections.empty(LABELS), last + tracker.settings.lost_ms + 1) == ()
