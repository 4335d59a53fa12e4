"""The vision path on real footage: what ships, and a labelled street that stands beside the checkout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.mot import Labelled, read_mot_truth
from common.runtime.clock import ManualClock
from edge.camera.file import FileSource
from edge.camera.frame import Frame
from edge.vision.detections import Detections
from edge.vision.detector import OnnxDetector
from edge.vision.evidence import Picture
from edge.vision.pipeline import VisionPipeline, VisionSettings
from edge.vision.scenes.scene import SceneEvent
from models.manifest import Thresholds
from models.store import open_model
from tests.fixtures.vision import BIKES

#: What the detector finds on the square takes a minute of two cores: once is enough.
pytestmark = pytest.mark.xdist_group("footage")
BEGAN_AT = 1_767_225_600_000

VTEST: Mapping[str, object] = {
    "gate": {"enabled": False},
    # Lines drawn over a blurred head would look like detail.
    "evidence": {"mark": False},
    "scenes": [
        {
            "scene": "zone",
            "id": "junction-crowded",
            "category": "camera.zone_crowded",
            "zone": [[0.45, 0.30], [0.95, 0.36], [0.98, 0.72], [0.50, 0.62]],
            "limit": 4,
            "enter_s": 2,
            "exit_s": 4,
        },
        {
            "scene": "wrong_way",
            "id": "main-path",
            "lane": [[0.0, 0.24], [0.62, 0.27], [1.0, 0.42], [1.0, 0.90], [0.45, 0.66], [0.0, 0.47]],
            "direction": [1.0, 0.45],
            "labels": ["person"],
            "least_heights": 1.5,
            "least_s": 2,
        },
    ],
}


@dataclass
class Recorder:
    """A detector that remembers what it found in whole frames."""

    detector: OnnxDetector
    found: list[Detections] = field(default_factory=list)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.detector.labels

    @property
    def thresholds(self) -> Thresholds:
        return self.detector.thresholds

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        found = self.detector.detect(image)
        if image.shape[:2] == (576, 768):
            self.found.append(found)
        return found


@dataclass
class Played:
    """Everything that one pass over some footage gave."""

    detections: list[Detections]
    events: list[tuple[SceneEvent, float]]
    pictures: list[tuple[Frame, Picture]]


def _play(footage: Path, settings: Mapping[str, object], most: int) -> Played:
    recorder = Recorder(OnnxDetector(open_model("cocossd")))
    pipeline = VisionPipeline(VisionSettings.model_validate(settings), recorder)
    played = Played(recorder.found, [], [])
    with FileSource(footage, paced=False, clock=ManualClock(BEGAN_AT)) as source:
        for frame in source.frames():
            result = pipeline.process(frame)
            played.events += [(event, (event.at - BEGAN_AT) / 1000) for event in result.events]
            if result.picture is not None:
                played.pictures.append((frame, result.picture))
            if frame.n + 1 == most:
                break
    return played


def test_a_car_that_stands_in_the_shipped_footage_occupies_the_zone_and_leaves() -> None:
    zone = {
        "scene": "zone",
        "id": "crossing-occupied",
        "zone": [[0, 0], [1, 0], [1, 1], [0, 1]],
        "labels": ["car", "truck", "bus"],
        "enter_s": 0.5,
        "exit_s": 2,
    }
    played = _play(BIKES, {"scenes": [zone]}, 250)
    assert [event.phase for event, _ in played.events] == ["start", "end"]
    assert played.events[0][1] < 5
    ((_, picture),) = played.pictures
    assert picture.jpeg.startswith(b"\xff\xd8")
    assert len(picture.jpeg) < 200_000


@pytest.fixture(scope="module")
def vtest() -> Played:
    footage = Path(__file__).parents[3] / "shared" / "data" / "video" / "vtest.avi"
    assert footage.is_file(), "expected ../shared beside the checkout in CI, found nothing"
    return _play(footage, VTEST, 420)


@pytest.fixture(scope="module")
def truth() -> Labelled:
    return read_mot_truth(Path(__file__).parents[3] / "shared" / "data" / "video" / "vtest-gt" / "gt.txt")


@pytest.mark.shared_data
def test_a_crowd_gathers_at_the_junction_within_ten_seconds_and_scatters(vtest: Played) -> None:
    crowd = [(event.phase, at) for event, at in vtest.events if event.scene == "junction-crowded"]
    assert crowd[0][0] == "start"
    assert crowd[0][1] < 10
    ends = [at for phase, at in crowd if phase == "end"]
    assert ends
    assert 15 < ends[0] < 30
    peak = max(event.peak for event, _ in vtest.events if event.scene == "junction-crowded")
    assert 4 <= peak <= 8


@pytest.mark.shared_data
def test_people_walking_against_the_lane_are_each_seen_once(vtest: Played) -> None:
    acts = [event for event, _ in vtest.events if event.scene == "main-path"]
    assert 4 <= len(acts) <= 14
    assert len({event.tracks[0].id for event in acts}) == len(acts)
    assert all(float(event.detail["angle"]) <= 45 for event in acts)


@pytest.mark.shared_data
def test_the_heads_of_the_labelled_people_are_blurred_in_the_evidence(
    vtest: Played, truth: Labelled, capsys: pytest.CaptureFixture[str]
) -> None:
    covered = total = 0
    for frame, picture in vtest.pictures:
        shown = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        assert shown.shape == frame.image.shape
        for left, top, right, bottom in truth[frame.n][1].tolist():
            middle, width, height = (left + right) / 2, right - left, bottom - top
            x1, x2 = max(0, round(middle - width * 0.2)), round(middle + width * 0.2)
            y1, y2 = max(0, round(top)), round(top + height * 0.14)
            before = frame.image[y1:y2, x1:x2].astype(np.float64)
            after = shown[y1:y2, x1:x2].astype(np.float64)
            if before.size == 0 or _detail(before) < 10:
                continue
            total += 1
            covered += _detail(after) < 0.5 * _detail(before)
    with capsys.disabled():
        print(
            f"\nheads blurred in {len(vtest.pictures)} evidence pictures of vtest.avi: {covered} of {total}"
        )
    assert total > 30
    assert covered >= 0.95 * total


def _detail(values: NDArray[np.float64]) -> float:
    return float(np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=0)).mean())
