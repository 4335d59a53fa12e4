"""Standing water: looks by the clock, what counts as water, hysteresis in share, depth and looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from common.runtime.errors import InvalidError
from common.wire.categories import BY_CODE
from edge.camera.frame import Frame, Image
from edge.vision.pipeline import VisionPipeline, VisionSettings
from edge.vision.scenes.build import build_scene
from edge.vision.scenes.config import WaterConfig
from edge.vision.scenes.scene import SceneEvent
from edge.vision.scenes.water import WaterScene
from edge.vision.waters import WaterWatch
from models.manifest import WaterManifest, WaterThresholds
from models.water import WaterSegmenter
from tests.fixtures.vision import ScriptedDetector

ROWS, COLUMNS = 18, 32
HALF = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
"""The lower half of the picture is road."""
STILL: Image = np.full((240, 320, 3), 90, np.uint8)


# --- when it looks ---


def test_it_looks_at_once_and_then_by_the_clock() -> None:
    scene = _scene(every_s=20)
    assert scene.due(1_000)
    scene.look(_dry(), 1_000)
    assert not scene.due(20_999)
    assert scene.due(21_000)


def test_a_clock_that_ran_backwards_does_not_stop_the_looks() -> None:
    scene = _scene()
    scene.look(_dry(), 1_000_000)
    assert scene.due(5_000)


# --- what counts ---


def test_only_water_on_the_road_counts() -> None:
    scene = _scene()
    river = _dry()
    river[: ROWS // 2] = 1.0
    assert scene.level(river).share == 0.0
    assert scene.level(_flooded(1.0)).share == 1.0


def test_what_shines_when_it_is_dry_is_no_water() -> None:
    scene = _scene()
    glossy = _flooded(0.5)
    assert scene.level(glossy).share == pytest.approx(0.5)
    scene.learn_dry(glossy)
    assert scene.level(glossy).share == 0.0
    assert scene.level(_flooded(1.0)).share == pytest.approx(0.5)


def test_the_reference_learnt_for_certain_is_never_forgotten() -> None:
    scene = _scene(forget_days=1)
    glossy = _flooded(0.5)
    scene.learn_dry(glossy)
    for number in range(200):
        scene.look(_dry(), number * 20_000)
    assert scene.level(glossy).share == 0.0


def test_what_shines_faintly_for_days_is_forgotten_but_a_flood_never_is() -> None:
    scene = _scene(every_s=3600, forget_days=1)
    glossy = _flooded(0.06)
    assert scene.level(glossy).share > 0
    at = 0
    for _ in range(24 * 3):
        scene.look(glossy, at)
        at += 3_600_000
    assert scene.level(glossy).share == 0.0
    for _ in range(24 * 30):
        scene.look(_flooded(0.9), at)
        at += 3_600_000
    assert scene.is_open
    assert scene.level(_flooded(0.9)).share > 0.5


def test_a_map_of_another_size_begins_with_a_new_reference() -> None:
    scene = _scene()
    scene.learn_dry(_flooded(1.0))
    assert scene.level(np.ones((9, 16), np.float32)).share == 1.0


# --- how deep ---


def test_depth_is_how_far_up_the_gauge_the_water_reaches() -> None:
    scene = _scene(gauge={"foot": (0.5, 0.99), "top": (0.5, 0.49), "metres": 1.0})
    assert scene.level(_dry()).depth_m == 0.0
    assert scene.level(_flooded(0.4)).depth_m == pytest.approx(0.4, abs=0.08)
    assert scene.level(_flooded(1.0)).depth_m == pytest.approx(1.0, abs=0.05)


def test_a_reflection_above_the_edge_of_the_water_adds_no_depth() -> None:
    scene = _scene(gauge={"foot": (0.5, 0.99), "top": (0.5, 0.49), "metres": 1.0})
    picture = _flooded(0.2)
    picture[ROWS // 2 + 1] = 1.0
    depth = scene.level(picture).depth_m
    assert depth is not None
    assert depth < 0.3


def test_without_a_gauge_there_is_no_depth() -> None:
    assert _scene().level(_flooded(1.0)).depth_m is None


# --- the condition ---


def test_water_starts_goes_on_and_ends_with_its_figures() -> None:
    scene = _scene(road_m2=200, update_s=60)
    events = _play(scene, [_flooded(0.5)] * 6 + [_dry()] * 5)
    assert [event.phase for event in events] == ["start", "update", "update", "end"]
    start, end = events[0], events[-1]
    assert start.category == "camera.standing_water"
    assert BY_CODE[start.category].kind == "condition"
    assert (start.started_at, start.at) == (0, 40_000)
    assert start.detail["share"] == pytest.approx(0.5, abs=0.1)
    assert start.detail["area_m2"] == pytest.approx(100, abs=20)
    assert (end.count, end.detail["share"]) == (0, 0.0)
    assert end.peak == pytest.approx(0.5, abs=0.1)
    assert {event.started_at for event in events} == {0}


def test_a_road_smaller_than_a_cell_is_watched_too() -> None:
    scene = _scene(road=((0.5, 0.9), (0.51, 0.9), (0.51, 0.92), (0.5, 0.92)))
    assert _play(scene, [_dry()] * 5) == []
    assert [event.phase for event in _play(scene, [_flooded(0.5)] * 3, begin=5)] == ["start"]


def test_deep_water_on_little_road_starts_it() -> None:
    scene = _scene(gauge={"foot": (0.02, 0.99), "top": (0.02, 0.49), "metres": 0.5}, start_share=0.5)
    narrow = _dry()
    narrow[:, :2] = 1.0
    assert [event.phase for event in _play(scene, [narrow] * 3)] == ["start"]


def test_headlights_that_pass_now_and_then_start_nothing() -> None:
    assert _play(_scene(), [_flooded(0.5), _dry(), _flooded(0.5), _dry(), _dry()] * 20) == []


def test_two_looks_hours_apart_are_not_in_a_row() -> None:
    scene = _scene(enter_looks=2)
    scene.look(_flooded(0.5), 0)
    scene.look(_flooded(0.5), 3_600_000)
    assert scene.step((), 3_600_000) == []


@given(st.integers(20_000, 1_500_000), st.floats(0.6, 1.4))
def test_pictures_that_are_uploaded_now_and_then_agree_at_their_own_pace(pace_ms: int, late: float) -> None:
    """A camera that uploads a picture every ten minutes would else never say that water stands, nor that it has gone."""
    scene, events = _scene(), []
    shown = [_flooded(0.5)] * 5 + [_dry()] * 7
    for number, level in enumerate(shown):
        at = round((number + (late if number % 2 else 1.0)) * pace_ms)
        scene.look(level, at)
        events += scene.step((), at)
    assert [event.phase for event in events if event.phase != "update"] == ["start", "end"]


def test_looks_before_and_after_a_gap_are_not_in_a_row() -> None:
    scene = _scene(enter_looks=3)
    for hour in range(20):
        for look in range(2):
            scene.look(_flooded(0.5), hour * 7_200_000 + look * 20_000)
    assert scene.step((), 0) == []


def test_a_condition_from_before_a_restart_goes_on_and_ends() -> None:
    scene = _scene()
    scene.restore(7)
    events = _play(scene, [_flooded(0.5)] + [_dry()] * 6)
    assert [event.phase for event in events] == ["update", "end"]
    assert {event.started_at for event in events} == {7}


levels = st.lists(st.sampled_from([0.0, 0.06, 0.2, 0.6, 1.0]), max_size=60)


@given(levels)
def test_phases_come_in_order_and_ids_of_time_do_too(shown: list[float]) -> None:
    events = _play(_scene(update_s=40), [_flooded(level) for level in shown])
    is_open = False
    for event in events:
        assert (event.phase == "start") != is_open
        is_open = event.phase != "end"
        assert event.started_at <= event.at
        share, peak = event.detail["share"], event.detail["peak_share"]
        assert isinstance(share, float)
        assert isinstance(peak, float)
        assert 0 <= share <= peak <= 1
    assert [event.at for event in events] == sorted(event.at for event in events)


@given(levels)
def test_a_road_that_never_holds_enough_water_is_never_said(shown: list[float]) -> None:
    dry = [_flooded(min(level, 0.05)) for level in shown]
    assert _play(_scene(), dry) == []


@given(st.lists(st.floats(0.0, 0.49), min_size=1, max_size=40))
def test_below_the_threshold_nothing_counts(shown: list[float]) -> None:
    assert _play(_scene(), [_flooded(1.0) * np.float32(level) for level in shown]) == []


@given(levels, st.integers(3, 12))
def test_enough_looks_at_a_flood_always_start_it(before: list[float], looks: int) -> None:
    scene = _scene()
    _play(scene, [_flooded(min(level, 0.05)) for level in before])
    _play(scene, [_flooded(0.6)] * looks, begin=len(before))
    assert scene.is_open


# --- configuration ---


@pytest.mark.parametrize(
    "changes",
    [
        {"stop_share": 0.5},
        {"stop_depth_m": 0.5},
        {"every_s": 0},
        {"gauge": {"foot": (0.5, 0.5), "top": (0.5, 0.51), "metres": 1}},
        {"gauge": {"foot": (0.5, 0.9), "top": (0.5, 0.5), "metres": 0}},
        {"road": ((0.0, 0.0), (1.0, 0.0), (0.5, 0.0))},
    ],
)
def test_a_faulty_configuration_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _scene(**changes)


# --- with a camera ---


def test_a_camera_looks_for_water_while_nothing_moves_at_all() -> None:
    segmenter = _Scripted(_flooded(0.5))
    scene = {"scene": "water", "id": "low-point", "road": HALF, "every_s": 1}
    settings = VisionSettings.model_validate({"scenes": [scene], "gate": {"empty_s": 10}})
    pipeline = VisionPipeline(settings, ScriptedDetector(), open_segmenter=lambda _: segmenter)
    results = [pipeline.process(Frame(STILL, number * 100, number)) for number in range(60)]
    assert segmenter.looks == 6
    events = [event for result in results for event in result.events]
    assert [event.phase for event in events] == ["start"]
    started = next(result for result in results if result.events)
    assert started.picture is not None


def test_a_dry_picture_that_is_none_is_said(tmp_path: Path) -> None:
    scene = build_scene(_scene(dry_pictures=[tmp_path / "dry.jpg"]).config)
    with pytest.raises(InvalidError, match="picture of the dry road"):
        WaterWatch([scene], lambda _: _Scripted(_dry()))


class _Scripted(WaterSegmenter):
    """Sees the same in every picture."""

    def __init__(self, seen: NDArray[np.float32]) -> None:
        self.manifest = WaterManifest.model_construct(thresholds=WaterThresholds(water=0.5))
        self.seen = seen
        self.looks = 0

    def probability(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        del picture
        self.looks += 1
        return self.seen


def _scene(**changes: object) -> WaterScene:
    return WaterScene(WaterConfig.model_validate({"scene": "water", "id": "low", "road": HALF} | changes))


def _dry() -> NDArray[np.float32]:
    return np.zeros((ROWS, COLUMNS), np.float32)


def _flooded(share: float) -> NDArray[np.float32]:
    """Water from the lower edge up, over about so much of the road: exact to a cell."""
    seen = np.zeros(ROWS // 2 * COLUMNS, np.float32)
    seen[seen.size - round(share * seen.size) :] = 1.0
    return np.concatenate((np.zeros((ROWS // 2, COLUMNS), np.float32), seen.reshape(ROWS // 2, COLUMNS)))


def _play(scene: WaterScene, shown: list[NDArray[np.float32]], begin: int = 0) -> list[SceneEvent]:
    events = []
    for number, seen in enumerate(shown, start=begin):
        at = number * 20_000
        assert scene.due(at)
        scene.look(seen, at)
        events += scene.step((), at)
    return events
