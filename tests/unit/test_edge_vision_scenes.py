"""Scenes: conditions with hysteresis, acts said once, and configuration that is refused in the right place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.config import InvalidConfigError, parse_config
from common.wire.categories import BY_CODE
from edge.vision.pipeline import VisionSettings
from edge.vision.scenes.build import build_scene
from edge.vision.scenes.config import WrongWayConfig, ZoneConfig
from edge.vision.scenes.scene import SceneEvent
from edge.vision.scenes.wrong_way import WrongWayScene
from edge.vision.scenes.zone import ZoneScene
from edge.vision.tracker import Track
from tests.fixtures.vision import track

SIZE = (640, 480)
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def _zone(**changes: object) -> ZoneScene:
    content: dict[str, object] = {
        "scene": "zone",
        "id": "square",
        "category": "camera.zone_crowded",
        "zone": LEFT_HALF,
        "limit": 2,
        "enter_s": 2,
        "exit_s": 3,
        "update_s": 5,
    }
    scene = ZoneScene(ZoneConfig.model_validate(content | changes))
    scene.resize(*SIZE)
    return scene


def _crowd(inside: int, outside: int, at: int, **changes: object) -> list[Track]:
    people = [track(n + 1, 100 + 10 * n, 300, at, **changes) for n in range(inside)]  # type: ignore[arg-type]
    return people + [track(50 + n, 500, 300, at) for n in range(outside)]


def _play(
    scene: ZoneScene, counts: Iterable[tuple[float, float, int]], *, step_ms: int = 100
) -> list[SceneEvent]:
    """``(from second, to second, how many inside)``."""
    events = []
    for begin, end, count in counts:
        for at in range(round(begin * 1000), round(end * 1000), step_ms):
            events += scene.step(_crowd(count, 3, at), at)
    return events


def test_a_crowd_starts_is_said_again_and_ends() -> None:
    events = _play(_zone(), [(0, 4, 1), (4, 14, 3), (14, 20, 0)])
    assert [(event.phase, event.started_at, event.at) for event in events] == [
        ("start", 4000, 6000),
        ("update", 4000, 11_000),
        ("update", 4000, 16_000),
        ("end", 4000, 17_000),
    ]
    start = events[0]
    assert (start.scene, start.category, start.count, start.peak) == ("square", "camera.zone_crowded", 3, 3.0)
    assert [sighting.id for sighting in start.tracks] == [1, 2, 3]
    assert events[-1].count == 0
    assert events[-1].peak == 3.0
    assert events[-1].detail == {"limit": 2, "lasted_s": 13.0}


def test_a_short_visit_starts_nothing() -> None:
    assert _play(_zone(), [(0, 1.5, 3), (1.5, 10, 0)]) == []


def test_a_flicker_of_the_detector_does_not_start_over() -> None:
    events = _play(_zone(), [(0, 1.5, 2), (1.5, 1.8, 1), (1.8, 4, 2)])
    assert [(event.phase, event.started_at) for event in events] == [("start", 0)]
    assert 2000 < events[0].at <= 3000


def test_a_short_gap_does_not_end_a_condition() -> None:
    events = _play(_zone(update_s=60), [(0, 5, 2), (5, 7.5, 0), (7.5, 20, 2)])
    assert [event.phase for event in events] == ["start"]


def test_the_peak_is_the_most_there_ever_were() -> None:
    events = _play(_zone(), [(0, 3, 2), (3, 4, 6), (4, 9, 2), (9, 14, 0)])
    assert events[-1].phase == "end"
    assert events[-1].peak == 6.0


def test_a_second_crowd_is_a_condition_of_its_own() -> None:
    events = _play(_zone(update_s=60), [(0, 4, 2), (4, 10, 0), (10, 15, 3)])
    assert [(event.phase, event.started_at, event.peak) for event in events] == [
        ("start", 0, 2.0),
        ("end", 0, 2.0),
        ("start", 10_000, 3.0),
    ]


def test_those_outside_of_another_kind_or_unconfirmed_do_not_count() -> None:
    scene = _zone(limit=1)
    for at in range(0, 10_000, 100):
        tracks = [
            track(1, 500, 300, at),
            track(2, 100, 300, at, label="car"),
            track(3, 100, 300, at, confirmed=False),
            track(4, 100, 300, at, unseen_ms=1500),
        ]
        assert scene.step(tracks, at) == []


def test_somebody_hidden_for_a_moment_still_stands_there() -> None:
    scene = _zone(limit=1)
    events = []
    for at in range(0, 3000, 100):
        events += scene.step([track(1, 100, 300, at, unseen_ms=at % 900)], at)
    assert [event.phase for event in events] == ["start"]


def test_feet_below_the_pictures_edge_stand_in_the_zone() -> None:
    scene = _zone(limit=1)
    events = [event for at in range(0, 3000, 100) for event in scene.step([track(1, 100, 495, at)], at)]
    assert [event.phase for event in events] == ["start"]


def test_time_in_which_nobody_looked_proves_nothing() -> None:
    scene = _zone(enter_s=60)
    scene.step(_crowd(3, 0, 0), 0)
    assert scene.step(_crowd(3, 0, 3_600_000), 3_600_000) == []


def test_what_was_not_said_before_nobody_could_look_begins_anew() -> None:
    """Nearly a crowd, an hour of a covered lens, and a crowd: it did not begin an hour ago."""
    scene = _zone()
    assert _play(scene, [(0, 1.9, 3)]) == []
    scene.pause()
    events = _play(scene, [(3600, 3603, 3)])
    assert [(event.phase, event.started_at) for event in events] == [("start", 3_600_000)]
    assert _play(scene, [(3603, 3605.9, 0)]) == []
    scene.pause()
    assert scene.is_open
    assert [event.phase for event in _play(scene, [(7200, 7203.2, 0)])] == ["update", "end"]


def test_an_open_condition_goes_on_after_a_restart_and_ends() -> None:
    scene = _zone()
    scene.restore(1_000)
    first = scene.step(_crowd(3, 0, 50_000), 50_000)
    assert [(event.phase, event.started_at, event.count) for event in first] == [("update", 1_000, 3)]
    events = _play(scene, [(50.1, 60, 0)])
    assert [(event.phase, event.started_at) for event in events if event.phase == "end"] == [("end", 1_000)]


def test_an_open_condition_that_is_gone_after_a_restart_ends_after_its_hold_time() -> None:
    scene = _zone()
    scene.restore(1_000)
    events = _play(scene, [(50, 55, 0)])
    assert [(event.phase, event.at) for event in events] == [("update", 50_000), ("end", 53_000)]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=300), st.sampled_from([100, 400, 1000]))
def test_phases_come_in_order_and_every_one_carries_the_whole_state(counts: list[int], step_ms: int) -> None:
    scene = _zone(enter_s=1, exit_s=1, update_s=2)
    is_open, started_at = False, 0
    for n, count in enumerate(counts):
        at = n * step_ms
        events = scene.step(_crowd(count, 0, at), at)
        assert len(events) <= 1
        for event in events:
            assert (event.phase == "start") == (not is_open)
            started_at = event.started_at if event.phase == "start" else started_at
            is_open = event.phase != "end"
            assert event.started_at == started_at <= event.at == at
            assert event.peak >= max(event.count, 2)
        assert scene.is_open == is_open


def _wrong_way(**changes: object) -> WrongWayScene:
    content: dict[str, object] = {
        "scene": "wrong_way",
        "id": "lane",
        "lane": ((0.0, 0.2), (1.0, 0.2), (1.0, 0.9), (0.0, 0.9)),
        "direction": (1.0, 0.0),
        "least_heights": 1.0,
        "least_s": 1.5,
    }
    scene = WrongWayScene(WrongWayConfig.model_validate(content | changes))
    scene.resize(*SIZE)
    return scene


def _travel(
    scene: WrongWayScene,
    place: Callable[[float], tuple[float, float]],
    *,
    seconds: float = 6,
    number: int = 1,
) -> list[SceneEvent]:
    events, ground = [], []
    for n in range(round(seconds * 10)):
        at = n * 100
        x, y = place(at / 1000)
        ground.append((at, x, y))
        events += scene.step([track(number, x, y, at, ground=ground[-64:])], at)
    return events


def test_going_against_the_lane_is_one_act() -> None:
    events = _travel(_wrong_way(), lambda t: (600 - 80 * t, 300))
    assert [event.phase for event in events] == ["act"]
    (act,) = events
    assert act.category == "camera.wrong_way"
    assert act.started_at == 0
    assert act.at >= 1500
    assert act.count == 1
    assert act.peak >= 1.0
    assert act.tracks[0].id == 1
    assert act.detail["label"] == "person"
    assert act.detail["angle"] == pytest.approx(0, abs=1)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("the right way", lambda t: (50 + 80 * t, 300)),
        ("across", lambda t: (300, 120 + 50 * t)),
        ("standing and jittering", lambda t: (300 + 30 * ((round(t * 10) * 7) % 3 - 1), 300)),
        ("parking, back a little", lambda t: (300 - min(8 * t, 30), 300)),
        ("outside the lane", lambda t: (600 - 80 * t, 60)),
    ],
)
def test_going_otherwise_is_none(name: str, place: Callable[[float], tuple[float, float]]) -> None:
    assert _travel(_wrong_way(), place) == []


@pytest.mark.parametrize("lasts_s", [0.0, 0.4])
@pytest.mark.parametrize("pushed_at_s", [0.6, 2.0, 4.0])
def test_a_camera_that_is_knocked_makes_nobody_go_the_wrong_way(lasts_s: float, pushed_at_s: float) -> None:
    """Everything in the picture leaps three heights against the lane and stays there."""

    def pushed(seconds: float) -> tuple[float, float]:
        share = 1.0 if not lasts_s else min(max((seconds - pushed_at_s) / lasts_s, 0.0), 1.0)
        return (500 - 300 * (share if seconds >= pushed_at_s else 0.0), 300)

    assert _travel(_wrong_way(), pushed) == []


@given(st.floats(0.5, 4), st.floats(0, 300), st.floats(0, 6.3), st.sampled_from([0.0, 60.0]))
def test_a_camera_that_sways_makes_nobody_go_the_wrong_way(
    hertz: float, pixels: float, phase: float, ahead: float
) -> None:
    """A pole in the wind, whether whoever is seen stands or goes the right way."""

    def swaying(seconds: float) -> tuple[float, float]:
        return (200 + ahead * seconds + pixels * math.sin(math.tau * hertz * seconds + phase), 300)

    assert _travel(_wrong_way(), swaying) == []


def test_who_waits_in_the_lane_and_then_goes_the_wrong_way_is_seen() -> None:
    assert len(_travel(_wrong_way(), lambda t: (600 - 120 * max(t - 3, 0), 300), seconds=7)) == 1


def test_the_way_is_judged_from_where_the_lane_was_entered() -> None:
    def turning(seconds: float) -> tuple[float, float]:
        # Comes back outside the lane for four seconds, then goes the right way inside it.
        return (600 - 100 * seconds, 60) if seconds < 4 else (200 + 80 * (seconds - 4), 300)

    assert _travel(_wrong_way(), turning, seconds=8) == []


def test_who_turns_round_is_seen_once_the_latest_stretch_shows_it() -> None:
    def turning(seconds: float) -> tuple[float, float]:
        return (100 + 20 * seconds, 300) if seconds < 2 else (140 - 60 * (seconds - 2) + 200, 300)

    assert len(_travel(_wrong_way(), turning, seconds=8)) <= 1


def test_each_offender_is_said_once() -> None:
    scene = _wrong_way()
    events = []
    ground: dict[int, list[tuple[int, float, float]]] = {1: [], 2: []}
    for n in range(60):
        at = n * 100
        tracks = []
        for number in (1, 2):
            ground[number].append((at, 600 - n * 8, 200 + 50 * number))
            tracks.append(track(number, 600 - n * 8, 200 + 50 * number, at, ground=ground[number]))
        events += scene.step(tracks, at)
    assert sorted(event.tracks[0].id for event in events) == [1, 2]


def test_who_has_the_number_of_an_offender_in_pictures_of_another_size_is_an_offender_of_his_own() -> None:
    """New pictures have a new tracker, which counts from 1 again."""
    scene = _wrong_way()
    assert len(_travel(scene, lambda t: (600 - 80 * t, 300))) == 1
    scene.resize(SIZE[0] * 2, SIZE[1] * 2)
    scene.resize(*SIZE)
    assert len(_travel(scene, lambda t: (600 - 80 * t, 300))) == 1


def test_other_kinds_may_go_as_they_like() -> None:
    assert _travel(_wrong_way(labels=("car",)), lambda t: (600 - 80 * t, 300)) == []


def test_the_direction_is_meant_in_the_picture_not_in_shares_of_it() -> None:
    diagonal = _wrong_way(direction=(1.0, 1.0), widest_angle=20, lane=((0, 0), (1, 0), (1, 1), (0, 1)))
    events = _travel(diagonal, lambda t: (600 - 80 * t, 460 - 60 * t))
    assert len(events) == 1


def test_every_category_a_scene_may_give_is_known_and_of_its_kind() -> None:
    for category in ("camera.zone_crowded", "camera.zone_occupied"):
        assert BY_CODE[category].kind == "condition"
    assert BY_CODE["camera.wrong_way"].kind == "act"
    assert isinstance(build_scene(_zone().config), ZoneScene)
    assert isinstance(build_scene(_wrong_way().config), WrongWayScene)


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        ("{scene: zone, id: a, zone: [[0, 0], [1, 0]]}", "at least 3"),
        ("{scene: zone, id: a, zone: [[0, 0], [0.5, 0.5], [1, 1]]}", "enclose an area"),
        (
            "{scene: zone, id: a, zone: [[0, 0], [1, 0], [1, 1]], labels: [dragon]}",
            "bus, truck, got 'dragon'",
        ),
        ("{scene: zone, id: a, zone: [[0, 0], [1, 0], [1, 1]], limt: 3}", "limit"),
        ("{scene: wrong_way, id: a, lane: [[0, 0], [1, 0], [1, 1]], direction: [0, 0]}", "no length"),
        ("{scene: wrong_weigh, id: a}", "wrong_way"),
    ],
)
def test_a_faulty_scene_is_refused_with_file_line_and_reason(scene: str, said: str) -> None:
    text = f"gate: {{enabled: false}}\nscenes:\n  - {scene}\n"
    with pytest.raises(InvalidConfigError) as caught:
        parse_config(text, Path("camera.yaml"), VisionSettings)
    assert said in str(caught.value)
    assert "camera.yaml:3" in str(caught.value)


def test_two_scenes_of_one_id_are_refused() -> None:
    zone = "{scene: zone, id: a, zone: [[0, 0], [1, 0], [1, 1]]}"
    with pytest.raises(InvalidConfigError, match=r"scenes\.1\.id: 'a' already stands on line 1"):
        parse_config(f"scenes: [{zone}, {zone}]", Path("camera.yaml"), VisionSettings)
