"""What hides or changes a camera's view, in the box's own loop: dark, covered, in smoke, of another shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.frame import Frame, Image
from edge.vision.detections import Detections
from models.fire import FireLook, FireSegmenter
from models.manifest import FireManifest, FireThresholds
from tests.fixtures.edge_cameras import SCENE, CameraBox, NobodyDetectors, camera_box, video
from tests.fixtures.edge_gateway import eventually
from tests.fixtures.rtsp import scene
from tests.fixtures.vision import LABELS, ScriptedDetector, street


class _Sniffer(FireSegmenter):
    """Calls smoke whatever has no edges."""

    def __init__(self) -> None:
        self.manifest = FireManifest.model_construct(thresholds=FireThresholds(fire=0.9, smoke=0.5))

    def look(self, picture: Image) -> FireLook:
        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)
        rough = cv2.resize(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (80, 48), interpolation=cv2.INTER_AREA)
        bright = np.asarray(cv2.resize(grey, (80, 48), interpolation=cv2.INTER_AREA), np.float32)
        smoke = (rough < 10).astype(np.float32)
        return FireLook(np.zeros_like(smoke), smoke, bright)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[CameraBox]:
    with camera_box(tmp_path / "box") as opened:
        yield opened


def test_a_stream_that_goes_black_is_dark_and_no_look_counts_until_it_is_over(
    box: CameraBox, tmp_path: Path
) -> None:
    grain = np.random.default_rng(3).integers(0, 9, (120, 240, 320, 3), dtype=np.uint8)

    def picture(n: int) -> Image:
        return np.asarray(grain[n] // 2 if 40 <= n < 80 else np.maximum(scene(n), grain[n]), np.uint8)

    camera = box.camera(video(tmp_path / "black.mp4", picture, 120), loop=False, paced=False)
    with box.running():
        eventually(lambda: camera.finished, 60)
    said = [(phase, category) for phase, category in box.said() if category.startswith("device.camera")]
    assert said == [("start", "device.camera_dark"), ("end", "device.camera_dark")]
    (start, _) = [one for one in box.observations() if one.category == "device.camera_dark"]
    assert start.at - start.started_at == pytest.approx(1000, abs=250)
    assert camera.valid_looks <= 85
    assert camera.read == 120


def test_a_condition_is_not_ended_by_a_hand_before_the_lens(box: CameraBox, tmp_path: Path) -> None:
    """Somebody stands in the zone; then the lens is covered, and nobody is found. That is not "gone"."""

    class Somebody(NobodyDetectors):
        def get(self, model: str) -> ScriptedDetector:
            found = Detections(
                np.array([[100, 60, 140, 180]], np.float32),
                np.array([0.9], np.float32),
                np.array([0], np.int32),
                LABELS,
            )
            return ScriptedDetector(*[found] * 40, Detections.empty(LABELS))

    def picture(n: int) -> Image:
        grain = np.random.default_rng(n).integers(0, 5, (240, 320, 3), dtype=np.uint8)
        return grain + 60 if n >= 35 else np.asarray(street(seed=1) // 2 + grain, np.uint8)

    camera = box.camera(
        video(tmp_path / "covered.mp4", picture, 120),
        loop=False,
        paced=False,
        detectors=Somebody(),
        gate={"enabled": False},
    )
    with box.running():
        eventually(lambda: camera.finished, 60)
    assert ("end", "camera.zone_occupied") not in box.said()
    assert ("start", "camera.zone_occupied") in box.said()
    assert ("start", "device.camera_blocked") in box.said()


def test_smoke_that_fills_the_picture_is_said_as_smoke_and_as_a_blocked_view(
    box: CameraBox, tmp_path: Path
) -> None:
    """After one look at its edge it covers nine tenths of the street: all later looks are at a hidden view."""

    class Sniffing(NobodyDetectors):
        def fire(self, model: str) -> FireSegmenter:
            del model
            return _Sniffer()

    def picture(n: int) -> Image:
        grain = np.random.default_rng(n).integers(0, 5, (240, 320, 3), dtype=np.uint8)
        seen = np.asarray(street(seed=1) // 2 + grain, np.uint8)
        if n >= 40:
            # It drifts: brighter and darker from look to look.
            across = 50 if n < 47 else 290
            seen[:, :across] = grain[:, :across] + 60 + 20 * (n // 5 % 2)
        return seen

    camera = box.camera(
        video(tmp_path / "smoke.mp4", picture, 120),
        loop=False,
        paced=False,
        detectors=Sniffing(),
        gate={"enabled": False},
        scenes=[SCENE, {"scene": "fire", "id": "smoke", "category": "camera.smoke", "every_s": 0.5}],
    )
    with box.running():
        eventually(lambda: camera.finished, 60)
    assert ("start", "camera.smoke") in box.said()
    assert ("start", "device.camera_blocked") in box.said()
    assert ("end", "camera.smoke") not in box.said()


def test_a_camera_that_changes_its_size_and_so_its_view_was_not_moved(box: CameraBox, tmp_path: Path) -> None:
    """Switched from 4:3 to 16:9 it shows another part of the street, and is looked through as before."""
    camera = box.camera(tmp_path / "never-opened.mp4")

    def good(n: int, whole: Image) -> bool:
        grain = np.random.default_rng(n).integers(0, 5, whole.shape, dtype=np.uint8)
        return camera._view.is_good(Frame(np.maximum(whole, grain), n * 100, n))

    before, after = street(seed=1), np.asarray(cv2.resize(street(seed=2), (640, 360)), np.uint8)
    assert all(good(n, before) for n in range(40))
    assert all(good(n, after) for n in range(40, 80))
    box.book.flush()
    assert box.said("device.camera") == []
    moved = np.asarray(cv2.resize(street(seed=3), (640, 360)), np.uint8)
    judged_by = [good(n, moved) for n in range(80, 100)]
    assert not any(judged_by)
    box.book.flush()
    assert box.said("device.camera") == [("start", "device.camera_moved")]
