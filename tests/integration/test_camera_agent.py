"""Cameras in the box's own loop: lost and found again on a real RTSP server, looked through in turns, and always booked."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import structlog
import yaml

from edge.camera.frame import Image
from edge.camera.stills import StillsSettings, StillsSource
from edge.camera_sight import BLIND, STALLED
from edge.detectors import Detectors
from edge.vision.detections import Detections
from models.store import MANIFESTS, WEIGHTS
from tests.fixtures.edge_cameras import CameraBox, NobodyDetectors, camera_box, rtsp_of, two_streets, video
from tests.fixtures.edge_gateway import eventually
from tests.fixtures.rtsp import RtspServer, scene
from tests.fixtures.vision import BIKES, LABELS, ScriptedDetector


class _SlowDetectors(NobodyDetectors):
    """One detector that takes a quarter of a second over every look."""

    def get(self, model: str) -> ScriptedDetector:
        return _SlowDetector(Detections.empty(LABELS))


class _SlowDetector(ScriptedDetector):
    def detect(self, image: Image) -> Detections:
        time.sleep(0.25)
        return super().detect(image)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[CameraBox]:
    with camera_box(tmp_path / "box") as opened:
        yield opened


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    with two_streets(tmp_path / "streams") as made:
        yield made


def test_a_camera_whose_server_is_killed_is_blind_and_sees_again_by_itself(
    box: CameraBox, server: RtspServer
) -> None:
    server.start()
    camera = box.camera(rtsp_of(server))
    with box.running():
        eventually(lambda: camera.valid_looks > 3, 30)
        server.kill()
        eventually(lambda: camera.blind, 30)
        server.start()
        eventually(lambda: not camera.blind, 60)
        seen = camera.valid_looks
        eventually(lambda: camera.valid_looks > seen, 30)
    assert box.said("device.camera") in (
        [("start", BLIND), ("end", BLIND)],
        [("start", STALLED), ("end", STALLED)],
    )
    coverage = box.coverage()
    assert coverage["coverage_looked"] > 0
    assert coverage["coverage_lost"] > 0


def test_a_stream_that_stands_still_is_said_and_the_other_cameras_are_not_kept_waiting(
    box: CameraBox, server: RtspServer
) -> None:
    server.start()
    held = box.camera(rtsp_of(server, stalled_s=1.0))
    other = box.camera(rtsp_of(server, "other"), "cam-2")
    with box.running():
        eventually(lambda: held.valid_looks > 3 and other.valid_looks > 3, 30)
        server.hold("street")
        eventually(lambda: held.blind, 30)
        seen = other.valid_looks
        eventually(lambda: other.valid_looks > seen + 3, 30)
        assert not other.blind
        server.release("street")
        eventually(lambda: not held.blind, 60)
    said = [one for one in box.observations() if (one.category, one.sensor) == (STALLED, "cam-1")]
    start, end, *more = said  # more where the machine itself stood still for a second
    assert [one.phase for one in (start, end, *more)] == (["start", "end"] * len(said))[: len(said)]
    assert start.detail["code"] == "camera.stalled"


def test_the_seconds_of_a_run_are_all_booked(box: CameraBox, server: RtspServer) -> None:
    server.start()
    camera = box.camera(rtsp_of(server))
    idle = box.camera(rtsp_of(server, "other"), "cam-2", scenes=[])
    began = box.clock.monotonic()
    with box.running():
        eventually(lambda: camera.valid_looks > 10 and idle.valid_looks > 10, 60)
    lasted = box.clock.monotonic() - began
    for name in ("cam-1", "cam-2"):
        books = {
            metric: value for metric, value in box.coverage(name).items() if metric.startswith("coverage_")
        }
        assert sum(books.values()) == pytest.approx(lasted, abs=2)
    assert box.coverage("cam-2")["coverage_not_asked"] > 0
    assert box.coverage("cam-1")["frames_dropped"] >= 0


def test_a_box_with_more_cameras_than_it_can_look_through_serves_all_alike_and_says_so(
    box: CameraBox, tmp_path: Path
) -> None:
    street = video(tmp_path / "street.mp4", scene, 30)
    off: dict[str, object] = {"gate": {"enabled": False}, "health": {"enabled": False}}
    more = {"loop": True, "detectors": _SlowDetectors()} | off
    cameras = [box.camera(street, f"cam-{n}", **more) for n in range(4)]
    with structlog.testing.capture_logs() as logs, box.running() as loop:
        eventually(lambda: min(camera.valid_looks for camera in cameras) >= 4, 60)
        looks = [camera.valid_looks for camera in cameras]
        assert max(looks) - min(looks) <= 2
        assert all(loop.late(camera) for camera in cameras)
    for camera in cameras:
        books = box.coverage(camera.config.name)
        assert min(books["frames_late"], books["frames_dropped"]) > 0
    said = {str(line["camera"]) for line in logs if line["event"] == "camera.overloaded"}
    assert said == {camera.config.name for camera in cameras}


def test_a_model_of_the_wrong_input_blinds_its_camera_alone_and_says_what_was_found(
    box: CameraBox, tmp_path: Path
) -> None:
    told = yaml.safe_load((MANIFESTS / "cocossd.yaml").read_text(encoding="utf-8"))
    told |= {"name": "wrong", "ships": False, "input": {**told["input"], "dtype": "float32"}}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    shutil.copy(WEIGHTS / told["file"], tmp_path)
    real = Detectors(tmp_path, 1)
    bad = box.camera(BIKES, "cam-1", detectors=real, model="wrong", loop=False, paced=False)
    good = box.camera(BIKES, "cam-2", loop=False, paced=False)
    with box.running():
        eventually(lambda: good.finished and bad.finished, 60)
    (blind,) = [one for one in box.observations() if one.category == BLIND]
    assert (blind.sensor, blind.detail["code"]) == ("cam-1", "model.shape")
    assert "float32" in str(blind.detail["message"])
    assert "uint8" in str(blind.detail["message"])
    assert good.valid_looks > 10


def test_an_uploaded_picture_stands_for_the_time_until_the_next_is_missed(
    box: CameraBox, tmp_path: Path
) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    camera = box.camera(StillsSettings(directory=uploads, stalled_s=600))
    assert cv2.imwrite(str(uploads / "before.jpg"), scene(0))
    assert cv2.imwrite(str(tmp_path / "new.jpg"), scene(0))

    def follows() -> bool:
        """Whether the folder was gone through, so that what comes now is new."""
        source = camera._reader and camera._reader.source
        return isinstance(source, StillsSource) and "before.jpg" in source._noticed

    with box.running():
        eventually(follows, 30)
        assert camera.valid_looks == 0
        (tmp_path / "new.jpg").rename(uploads / "new.jpg")
        eventually(lambda: camera.valid_looks == 1, 30)
    assert camera._looked_at is not None
    camera._looked_at -= 500
    assert camera.state() == "looked"
    camera._looked_at -= 500
    assert camera.state() == "lost"


def test_looks_that_are_wanted_seldom_stand_for_the_time_between_them(box: CameraBox, tmp_path: Path) -> None:
    """With nobody to follow one look in ten seconds may be enough: the camera was not lost in between."""
    camera = box.camera(tmp_path / "never-opened.mp4", gate={"empty_s": 10})
    camera._looked_at = box.clock.monotonic() - 9
    assert camera.state() == "looked"
    camera._looked_at -= 3
    assert camera.state() == "lost"
