"""The whole path of a frame, with a detector that finds what it is told to."""

from __future__ import annotations

import numpy as np
import pytest

from edge.camera.frame import Frame, Image
from edge.vision.detections import Detections
from edge.vision.pipeline import FrameResult, VisionPipeline, VisionSettings, tracker_settings
from edge.vision.tracker import TrackerSettings
from models.manifest import Manifest, Thresholds
from models.store import load_manifest
from tests.fixtures.vision import LABELS, ScriptedDetector, detections

STILL: Image = np.full((240, 320, 3), 90, np.uint8)


def _settings(**changes: object) -> VisionSettings:
    zone = {
        "scene": "zone",
        "id": "square",
        "zone": [[0, 0], [1, 0], [1, 1], [0, 1]],
        "limit": 1,
        "enter_s": 1,
        "exit_s": 1,
        "update_s": 60,
    }
    content: dict[str, object] = {"scenes": [zone], "gate": {"enabled": False}}
    return VisionSettings.model_validate(content | changes)


def _somebody(score: float = 0.9) -> Detections:
    return detections((100, 80, 130, 170), score=score)


def _play(pipeline: VisionPipeline, count: int, *, image: Image = STILL, first: int = 0) -> list[FrameResult]:
    return [pipeline.process(Frame(image, n * 100, n)) for n in range(first, first + count)]


def test_a_frame_becomes_a_track_an_event_and_evidence() -> None:
    pipeline = VisionPipeline(_settings(), ScriptedDetector(_somebody()))
    results = _play(pipeline, 20)
    assert all(result.analysed for result in results)
    (told,) = [result for result in results if result.events]
    assert told.events[0].phase == "start"
    assert told.picture is not None
    assert told.picture.captured_at == told.at
    assert told.picture.blurred >= 1
    counters = pipeline.counters
    assert (counters.frames, counters.analysed, counters.detections) == (20, 20, 20)
    assert (counters.events, counters.pictures) == (1, 1)


def test_the_end_comes_without_a_picture_unless_asked_for() -> None:
    gone = [_somebody()] * 20 + [Detections.empty(LABELS)]
    plain = _play(VisionPipeline(_settings(evidence={"search_persons": False}), ScriptedDetector(*gone)), 60)
    ends = [result for result in plain if any(event.phase == "end" for event in result.events)]
    assert len(ends) == 1
    assert ends[0].picture is None
    asked = _settings(evidence={"phases": ["end"], "search_persons": False})
    pictures = [result.picture for result in _play(VisionPipeline(asked, ScriptedDetector(*gone)), 60)]
    assert sum(picture is not None for picture in pictures) == 1


def test_while_nothing_moves_the_detector_is_asked_now_and_then_only() -> None:
    detector = ScriptedDetector()
    gate = {"enabled": True, "hold_s": 1, "idle_s": 0.5, "empty_s": 2}
    pipeline = VisionPipeline(_settings(gate=gate), detector)
    results = _play(pipeline, 110)
    late = [result.n for result in results if result.analysed and result.n > 11]
    assert late == list(range(late[0], 110, 20))
    assert detector.looks == pipeline.counters.analysed < 20
    assert pipeline.resting


def test_while_somebody_stands_still_the_detector_is_asked_more_often_and_no_frame_is_left_out() -> None:
    gate = {"enabled": True, "hold_s": 1, "idle_s": 0.4, "empty_s": 2}
    pipeline = VisionPipeline(_settings(gate=gate), ScriptedDetector(_somebody()))
    results = _play(pipeline, 110)
    late = [result.n for result in results if result.analysed and result.n > 11]
    assert late == list(range(late[0], 110, 6))
    assert not pipeline.resting


def test_motion_wakes_the_detector_at_once() -> None:
    pipeline = VisionPipeline(
        _settings(gate={"enabled": True, "hold_s": 0.2, "idle_s": 1}), ScriptedDetector()
    )
    _play(pipeline, 50)
    moved = STILL.copy()
    moved[100:160, 100:140] = 250
    assert all(result.analysed for result in _play(pipeline, 3, image=moved, first=50))


def test_who_stands_still_is_not_lost_to_the_gate() -> None:
    pipeline = VisionPipeline(_settings(gate={"enabled": True}), ScriptedDetector(_somebody()))
    results = [result for result in _play(pipeline, 600) if result.analysed]
    assert {track.id for result in results for track in result.tracks} == {1}
    assert [event.phase for result in results for event in result.events] == ["start"]


def test_a_box_as_wide_as_the_square_is_not_believed() -> None:
    pipeline = VisionPipeline(_settings(), ScriptedDetector(detections((0, 10, 300, 200))))
    assert not any(result.tracks for result in _play(pipeline, 20))


def test_a_picture_of_another_size_begins_new_tracks_and_is_counted() -> None:
    pipeline = VisionPipeline(_settings(), ScriptedDetector(_somebody()))
    _play(pipeline, 5)
    results = _play(pipeline, 15, image=np.zeros((480, 640, 3), np.uint8), first=5)
    assert results[0].tracks[0].hits == 1
    assert pipeline.counters.resized == 1
    assert any(result.events for result in results)


def test_who_stood_there_before_nobody_could_look_is_not_whoever_stands_there_after() -> None:
    pipeline = VisionPipeline(_settings(), ScriptedDetector(_somebody()))
    (before,) = _play(pipeline, 8)[-1].tracks
    pipeline.pause(600_000)
    (after,) = pipeline.process(Frame(STILL, 600_000, 9)).tracks
    assert after.id != before.id
    assert after.hits == 1
    assert after.first_seen_ms == 600_000


def test_who_was_hidden_for_a_moment_is_the_same() -> None:
    pipeline = VisionPipeline(_settings(), ScriptedDetector(_somebody()))
    (before,) = _play(pipeline, 8)[-1].tracks
    pipeline.pause(2000)
    assert [track.id for track in pipeline.process(Frame(STILL, 2000, 9)).tracks] == [before.id]


def test_an_open_condition_is_taken_up_again() -> None:
    pipeline = VisionPipeline(_settings(), ScriptedDetector(_somebody()))
    assert pipeline.restore("square", 5)
    assert not pipeline.restore("a scene that was taken out", 5)
    first = pipeline.process(Frame(STILL, 10_000, 0)).events[0]
    assert (first.phase, first.started_at) == ("update", 5)


@pytest.mark.parametrize("score", [0.1, 0.3])
def test_weak_detections_are_blurred_but_prove_nothing(score: float) -> None:
    pipeline = VisionPipeline(_settings(), ScriptedDetector(_somebody(score)))
    assert not any(result.events for result in _play(pipeline, 30))
    assert pipeline.counters.detections == 0


@pytest.mark.parametrize("name", ["cocossd", "yolox_nano"])
def test_the_detectors_that_the_tracker_was_tuned_with_are_followed_as_it_was_tuned(name: str) -> None:
    manifest = load_manifest(name)
    assert isinstance(manifest, Manifest)
    assert (manifest.thresholds.strong, manifest.thresholds.birth) == (0.5, 0.75)
    assert tracker_settings(manifest.thresholds) == TrackerSettings()


def test_of_another_detector_what_the_manifest_believes_in_is_strong_and_a_little_more_begins_a_track() -> (
    None
):
    settings = tracker_settings(Thresholds(score=0.25, weak=0.05, overlap=0.6))
    assert (settings.weak_score, settings.strong_score) == (0.05, 0.25)
    assert settings.birth_score == pytest.approx(0.325)
    assert settings.strong_score < settings.confirm_score < settings.birth_score
    said = tracker_settings(Thresholds(score=0.25, weak=0.05, overlap=0.6, strong=0.6))
    assert said.strong_score == 0.6
    assert said.birth_score == pytest.approx(0.64)


def test_a_picture_of_another_size_is_followed_by_the_same_scores() -> None:
    unsure = Thresholds(score=0.25, weak=0.1, overlap=0.6)
    pipeline = VisionPipeline(_settings(), ScriptedDetector(_somebody(0.4), thresholds=unsure))
    _play(pipeline, 5)
    larger = _play(pipeline, 15, image=np.zeros((480, 640, 3), np.uint8), first=5)
    assert pipeline.counters.resized == 1
    assert any(result.events for result in larger)
