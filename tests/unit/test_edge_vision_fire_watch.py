"""How fire and smoke are watched for: what a camera's configuration may ask, and when its pictures are looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from common.runtime.config import InvalidConfigError
from edge.camera.frame import Frame, Image
from edge.config import load_device
from edge.vision.pipeline import VisionPipeline, VisionSettings
from models.fire import FireLook, FireSegmenter
from models.manifest import FireManifest, FireThresholds
from tests.fixtures.fires import fire_scene, flame
from tests.fixtures.vision import ScriptedDetector, detections

STILL: Image = np.full((240, 320, 3), 90, np.uint8)


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


@pytest.mark.parametrize(
    "changes",
    [{"stop_share": 0.5}, {"every_s": 0}, {"enter_looks": 1}, {"category": "camera.standing_water"}],
)
def test_a_faulty_configuration_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        fire_scene(**changes)


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
        fire, brightness = flame(flicker=self.looks % 2 + 1)
        return FireLook(fire, fire * np.float32(0.9), brightness)
