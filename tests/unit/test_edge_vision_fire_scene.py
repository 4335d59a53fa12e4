"""Fire and smoke: looks by the clock, agreement in one place, flicker or growth, start and end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from common.runtime.config import InvalidConfigError
from common.wire.categories import BY_CODE
from edge.camera.frame import Frame, Image
from edge.config import load_device
from edge.vision.pipeline import VisionPipeline, VisionSettings
from edge.vision.scenes.config import FireConfig
from edge.vision.scenes.fire import FireScene
from edge.vision.scenes.scene import SceneEvent
from models.burning import Agreement, Rule, widened
from models.fire import FireLook, FireSegmenter
from models.manifest import FireManifest, FireThresholds
from tests.fixtures.vision import ScriptedDetector, detections

ROWS, COLUMNS = 24, 40
EVERY_MS = 2000
STILL: Image = np.full((240, 320, 3), 90, np.uint8)
Grid = NDArray[np.float32]


# --- when it looks ---


def test_it_looks_at_once_and_then_by_the_clock() -> None:
    scene = _scene()
    assert scene.due(1_000)
    scene.look(*_calm(), 1_000)
    assert not scene.due(2_999)
    assert scene.due(3_000)


def test_a_clock_that_ran_backwards_does_not_stop_the_looks() -> None:
    scene = _scene()
    scene.look(*_calm(), 1_000_000)
    assert scene.due(5_000)


# --- what starts it ---


def test_a_flame_that_flickers_in_one_place_starts_it_at_the_third_look() -> None:
    events = _play(_scene(), [_flame(flicker=number) for number in range(3)])
    assert [event.phase for event in events] == ["start"]
    start = events[0]
    assert start.category == "camera.fire"
    assert BY_CODE[start.category].kind == "condition"
    assert (start.started_at, start.at) == (0, 2 * EVERY_MS)
    assert start.detail["share"] == pytest.approx(16 / (ROWS * COLUMNS), abs=1e-4)


def test_a_lamp_that_shines_evenly_starts_nothing() -> None:
    assert _play(_scene(), [_flame(flicker=0)] * 50) == []


def test_a_cloud_of_smoke_that_grows_evenly_starts_it() -> None:
    scene = _scene(category="camera.smoke", least_stir=200)
    events = _play(scene, [_flame(flicker=0, side=side) for side in (3, 4, 5, 6)])
    assert [event.phase for event in events] == ["start"]
    assert events[0].category == "camera.smoke"


def test_how_much_smoke_has_to_grow_is_as_the_camera_is_told() -> None:
    growing = [_flame(flicker=0, side=side) for side in (3, 4, 5, 6)]
    told = {"category": "camera.smoke", "least_stir": 200}
    assert _play(_scene(**told, least_growth=1.9), growing) == []
    assert [event.phase for event in _play(_scene(**told, least_growth=1.3), growing)] == ["start"]


def test_growth_asked_of_open_fire_is_refused_for_it_would_not_count(tmp_path: Path) -> None:
    """Told with its line, beside the same asked of smoke, which is right."""
    scenes = "".join(
        f"      - {{scene: fire, id: {category}, category: camera.{category}, least_growth: 1.3}}\n"
        for category in ("smoke", "fire")
    )
    path = tmp_path / "box.yaml"
    told = "site: gulou\ndevice: lamp-01\ncameras:\n  - name: yard\n    footage: bikes\n    scenes:\n"
    path.write_text(told + scenes, encoding="utf-8")
    with pytest.raises(InvalidConfigError) as refused:
        load_device(path)
    (fault,) = refused.value.faults
    assert (fault.line, fault.key) == (8, "cameras.0.scenes.1.least_growth")
    assert "expected with category camera.smoke alone, got 1.3 with camera.fire" in fault.message
    path.write_text(told + scenes.replace("camera.fire, least_growth: 1.3", "camera.fire"), encoding="utf-8")
    assert len(load_device(path).cameras[0].scenes) == 2


def test_a_wall_that_the_evening_sun_reddens_more_and_more_is_no_fire() -> None:
    wall = [_flame(flicker=0, side=side) for side in (3, 4, 5, 6)]
    assert _play(_scene(least_stir=200), wall) == []


def test_a_floor_no_brighter_than_what_is_around_it_is_no_fire_however_it_flickers() -> None:
    looks = [_flame(flicker=number) for number in range(20)]
    dim = [(fire, np.where(fire > 0, bright - 130, bright)) for fire, bright in looks]
    assert _play(_scene(), dim) == []
    assert [event.phase for event in _play(_scene(category="camera.smoke"), dim)][:1] == ["start"]


def test_a_coat_that_shines_in_one_look_of_three_is_no_fire() -> None:
    looks = [_flame(flicker=number) for number in range(30)]
    passing = [
        (fire, bright if number % 3 == 0 else np.where(fire > 0, bright - 140, bright))
        for number, (fire, bright) in enumerate(looks)
    ]
    assert _play(_scene(), passing) == []


def test_a_flame_that_fills_the_picture_has_nothing_to_outshine() -> None:
    agreement = Agreement(Rule().of_flames(), np.ones((4, 4), np.bool_))
    everywhere = np.ones((4, 4), np.bool_)
    looks = [agreement.look(everywhere, np.full((4, 4), 100 + 5 * (n % 2), np.float32)) for n in range(4)]
    assert looks[-1].alive


def test_a_lamp_that_something_lights_up_once_starts_nothing() -> None:
    looks = [_flame(flicker=int(number >= 4)) for number in range(12)]
    assert _play(_scene(), looks) == []


def test_a_grey_road_uncovered_by_a_lorry_is_no_smoke_that_grows() -> None:
    looks = [_flame(flicker=0, side=side) for side in (2, 8, 8, 2, 8, 8)]
    assert _play(_scene(), looks) == []


def test_a_red_bus_that_passes_starts_nothing() -> None:
    assert _play(_scene(), [_flame(flicker=number, left=number * 8) for number in range(5)]) == []


def test_two_looks_alone_start_nothing() -> None:
    lonely = [_flame(flicker=1), _flame(flicker=2), _calm(), _calm()]
    assert _play(_scene(), lonely * 10) == []


def test_a_cloud_before_the_sun_is_no_flicker() -> None:
    lamp, _ = _flame(flicker=0)
    assert _play(_scene(), [(lamp, np.full_like(lamp, 80 + 40 * (number % 2))) for number in range(20)]) == []


def test_a_camera_that_shakes_brings_no_lamp_to_life() -> None:
    """Everything in the picture changes, the lamp no more than its neighbours."""
    lamp, brightness = _flame(flicker=0)
    unrest = np.random.default_rng(1).normal(0, 12, (20, ROWS, COLUMNS)).astype(np.float32)
    assert _play(_scene(), [(lamp, brightness + one) for one in unrest]) == []


def test_a_flame_is_found_by_a_camera_that_shakes() -> None:
    unrest = np.random.default_rng(1).normal(0, 4, (20, ROWS, COLUMNS)).astype(np.float32)
    looks = [_flame(flicker=3 * number % 5) for number in range(20)]
    events = _play(
        _scene(), [(fire, bright + one) for (fire, bright), one in zip(looks, unrest, strict=True)]
    )
    assert [event.phase for event in events][:1] == ["start"]


def test_what_burns_outside_the_zone_starts_nothing() -> None:
    scene = _scene(zone=((0.6, 0.0), (1.0, 0.0), (1.0, 1.0), (0.6, 1.0)))
    assert _play(scene, [_flame(flicker=number) for number in range(20)]) == []


def test_what_burns_in_a_zone_smaller_than_a_cell_is_said() -> None:
    scene = _scene(zone=((0.138, 0.42), (0.149, 0.42), (0.149, 0.43), (0.138, 0.43)))
    events = _play(scene, [_flame(flicker=number) for number in range(3)])
    assert [(event.phase, event.peak) for event in events] == [("start", 1.0)]


def test_looks_before_and_after_a_gap_are_not_in_a_row() -> None:
    scene = _scene()
    times = [minute * 60_000 + look * EVERY_MS for minute in range(10) for look in range(2)]
    for number, at in enumerate(times):
        scene.look(*_flame(flicker=number), at)
    assert scene.step((), times[-1]) == []


@given(st.integers(EVERY_MS, 600_000), st.floats(0.8, 1.2))
def test_pictures_that_come_more_rarely_than_looks_are_wanted_agree_at_their_own_pace(
    pace_ms: int, late: float
) -> None:
    scene = _scene()
    times = [round((number + (late if number % 2 else 1.0)) * pace_ms) for number in range(5)]
    for number, at in enumerate(times):
        scene.look(*_flame(flicker=number), at)
    events = scene.step((), times[-1])
    assert [event.phase for event in events][:1] == ["start"]
    # The first interval is no pace yet.
    assert events[0].at in times[2:4]


def test_pictures_that_come_by_the_hour_are_never_in_a_row() -> None:
    scene = _scene()
    for number in range(10):
        scene.look(*_flame(flicker=number), number * 3_600_000)
    assert scene.step((), 36_000_000) == []


# --- what follows ---


def test_a_fire_is_said_again_and_ends_when_it_has_gone_out() -> None:
    scene = _scene(update_s=10, exit_looks=4)
    burning = [_flame(flicker=number) for number in range(12)]
    events = _play(scene, burning + [_calm()] * 4)
    assert [event.phase for event in events] == ["start", "update", "update", "end"]
    assert {event.started_at for event in events} == {0}
    assert events[-1].count == 0
    assert events[-1].peak > 0


def test_smoke_before_the_flame_for_a_moment_does_not_end_it() -> None:
    scene = _scene(exit_looks=4)
    _play(scene, [_flame(flicker=number) for number in range(4)])
    assert _play(scene, [_calm()] * 3 + [_flame(flicker=9)] + [_calm()] * 3, begin=4) == []
    assert scene.is_open


def test_whatever_hides_the_view_ends_no_fire() -> None:
    scene = _scene(exit_looks=4, update_s=600)
    events = _play(scene, [_flame(flicker=number) for number in range(3)])
    for number in range(3, 60):
        scene.look(*_calm(), number * EVERY_MS, hidden=True)
        events += scene.step((), number * EVERY_MS)
    assert [event.phase for event in events] == ["start"]
    assert scene.is_open
    assert [event.phase for event in _play(scene, [_calm()] * 4, begin=60)] == ["end"]


def test_smoke_that_hides_the_view_is_said() -> None:
    scene = _scene(category="camera.smoke")
    events = _play(scene, [_flame(flicker=0, side=2)])
    for number in (1, 2, 3):
        scene.look(*_flame(flicker=number, side=8), number * EVERY_MS, hidden=True)
        events += scene.step((), number * EVERY_MS)
    assert [(event.phase, event.category) for event in events] == [("start", "camera.smoke")]


def test_a_hand_before_the_lens_that_looks_like_smoke_is_not_said() -> None:
    scene = _scene(category="camera.smoke")
    assert _play(scene, [_calm()] * 3) == []
    for number in range(3, 60):
        scene.look(*_flame(flicker=number, side=8), number * EVERY_MS, hidden=True)
        assert scene.step((), number * EVERY_MS) == []
    # Nor does it help what is seen of its shadow afterwards.
    assert _play(scene, [_flame(flicker=60 + number, side=8) for number in range(2)], begin=60) == []
    assert [event.phase for event in _play(scene, [_flame(flicker=62, side=8)], begin=62)] == ["start"]


def test_a_condition_from_before_a_restart_goes_on_and_ends() -> None:
    scene = _scene(exit_looks=2)
    scene.restore(7)
    events = _play(scene, [_flame(flicker=0)] + [_calm()] * 2)
    assert [event.phase for event in events] == ["update", "end"]
    assert {event.started_at for event in events} == {7}


def test_maps_of_another_size_begin_a_new_agreement() -> None:
    scene = _scene()
    _play(scene, [_flame(flicker=number) for number in range(2)])
    fine = np.zeros((12, 20), np.float32)
    scene.look(fine, fine, 2 * EVERY_MS)
    assert not scene.is_open


# --- whatever is shown ---

shown = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 5), st.integers(0, COLUMNS - 8)), min_size=1, max_size=60
)


@given(shown)
def test_phases_come_in_order_and_never_before_the_looks_agree(cast: list[tuple[int, int, int]]) -> None:
    scene = _scene(update_s=4, exit_looks=3)
    events = _play(scene, [_flame(flicker=f, side=s, left=x) for s, f, x in cast])
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
        (_flame(flicker=0, side=side)[0], np.full((ROWS, COLUMNS), level, np.float32)) for side in shrinking
    ]
    assert _play(_scene(), looks) == []


@given(shown, st.integers(3, 10))
def test_a_fire_after_anything_is_found(before: list[tuple[int, int, int]], looks: int) -> None:
    scene = _scene()
    _play(scene, [_flame(flicker=f, side=s, left=x) for s, f, x in before])
    _play(scene, [_flame(flicker=number % 2 + 1) for number in range(looks)], begin=len(before))
    assert scene.is_open


@given(st.integers(0, 4), st.integers(0, ROWS - 1), st.integers(0, COLUMNS - 1))
def test_a_cell_is_widened_to_all_within_reach_and_no_further(reach: int, row: int, column: int) -> None:
    mask = np.zeros((ROWS, COLUMNS), np.bool_)
    mask[row, column] = True
    rows, columns = np.nonzero(widened(mask, reach))
    assert abs(rows - row).max() <= reach
    assert abs(columns - column).max() <= reach
    assert len(rows) == len(set(rows)) * len(set(columns))


def test_fog_that_fills_the_picture_is_not_taken_off_from_itself() -> None:
    agreement = Agreement(Rule(), np.ones((4, 4), np.bool_))
    everywhere = np.ones((4, 4), np.bool_)
    stirs = [
        agreement.look(everywhere, np.full((4, 4), 100 + 5 * (n % 2), np.float32)).stir for n in range(3)
    ]
    assert stirs[-1] == pytest.approx(5)


# --- configuration and camera ---


@pytest.mark.parametrize(
    "changes",
    [{"stop_share": 0.5}, {"every_s": 0}, {"enter_looks": 1}, {"category": "camera.standing_water"}],
)
def test_a_faulty_configuration_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _scene(**changes)


def test_a_camera_looks_once_for_both_of_its_scenes_while_nothing_moves() -> None:
    segmenter = _Scripted()
    scenes = [
        {"scene": "fire", "id": "flames"},
        {"scene": "fire", "id": "smoke", "category": "camera.smoke"},
    ]
    settings = VisionSettings.model_validate({"scenes": scenes, "gate": {"empty_s": 10}})
    pipeline = VisionPipeline(settings, ScriptedDetector(), open_fire=lambda _: segmenter)
    results = [pipeline.process(Frame(STILL, number * 100, number)) for number in range(100)]
    assert segmenter.looks == 5
    events = [event for result in results for event in result.events]
    assert [(event.phase, event.scene) for event in events] == [("start", "flames")]
    assert next(result for result in results if result.events).picture is not None


def test_a_camera_whose_view_is_hidden_looks_for_fire_and_smoke_and_judges_by_nothing_else() -> None:
    segmenter = _Scripted()
    zone = {"scene": "zone", "id": "all", "zone": [[0, 0], [1, 0], [1, 1], [0, 1]], "enter_s": 0.1}
    settings = VisionSettings.model_validate({"scenes": [zone, {"scene": "fire", "id": "flames"}]})
    somebody = detections((100, 80, 130, 170), score=0.9)
    pipeline = VisionPipeline(settings, ScriptedDetector(somebody), open_fire=lambda _: segmenter)
    assert pipeline.process(Frame(STILL, 0, 0)).analysed
    results = [pipeline.process_hidden(Frame(STILL, number * 100, number)) for number in range(1, 100)]
    assert segmenter.looks == 5
    assert not any(result.analysed for result in results)
    (told,) = [result for result in results if result.events]
    assert [(event.phase, event.scene) for event in told.events] == [("start", "flames")]
    assert told.picture is not None
    assert told.picture.blurred >= 1
    assert (pipeline.counters.frames, pipeline.counters.events, pipeline.counters.pictures) == (100, 1, 1)


class _Scripted(FireSegmenter):
    """Sees the same flame in every picture, brighter every other time, and smoke below its threshold."""

    def __init__(self) -> None:
        self.manifest = FireManifest.model_construct(thresholds=FireThresholds(fire=0.5, smoke=0.95))
        self.looks = 0

    def look(self, picture: NDArray[np.uint8]) -> FireLook:
        del picture
        self.looks += 1
        fire, brightness = _flame(flicker=self.looks % 2 + 1)
        return FireLook(fire, fire * np.float32(0.9), brightness)


def _scene(**changes: object) -> FireScene:
    return FireScene(FireConfig.model_validate({"scene": "fire", "id": "yard"} | changes))


def _calm() -> tuple[Grid, Grid]:
    return np.zeros((ROWS, COLUMNS), np.float32), np.full((ROWS, COLUMNS), 80, np.float32)


def _flame(*, flicker: int, side: int = 4, left: int = 4) -> tuple[Grid, Grid]:
    """A square of certain fire, and the brightness of the picture: that of the flame depends on ``flicker``."""
    fire, brightness = _calm()
    fire[8 : 8 + side, left : left + side] = 0.9
    brightness[8 : 8 + side, left : left + side] = 150 + 15 * (flicker % 5)
    return fire, brightness


def _play(scene: FireScene, looks: list[tuple[Grid, Grid]], begin: int = 0) -> list[SceneEvent]:
    events = []
    for number, (probability, brightness) in enumerate(looks, start=begin):
        at = number * EVERY_MS
        assert scene.due(at)
        scene.look(probability, brightness, at)
        events += scene.step((), at)
    return events
