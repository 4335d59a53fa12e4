"""Cameras in the box's own loop: lost and found again on a real RTSP server, covered, spoilt, and always told."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
import pytest
import structlog
import yaml

from common.runtime.clock import SystemClock
from common.runtime.stop import Stop
from common.wire.codec import decode_packet
from common.wire.messages import Events, Observation, Readings
from edge.camera.build import SourceSettings
from edge.camera.frame import Frame, Image
from edge.camera.rtsp import RtspSettings
from edge.camera.stills import StillsSettings
from edge.camera_loop import CameraLoop
from edge.camera_sight import BLIND, STALLED
from edge.cameras import Camera
from edge.clip_seal import new_key, unseal
from edge.clips import ClipSettings, ClipStore
from edge.config import CameraConfig
from edge.database import Database
from edge.detectors import Detectors
from edge.evidence import EvidenceStore
from edge.observations import ObservationBook
from edge.outbox import SqliteOutbox
from edge.vision.detections import Detections
from models.fire import FireLook, FireSegmenter
from models.manifest import FireManifest, FireThresholds
from models.store import MANIFESTS, WEIGHTS
from tests.fixtures.edge_gateway import eventually
from tests.fixtures.edge_messages import ADDRESS
from tests.fixtures.rtsp import RtspServer, Unit, encode, scene
from tests.fixtures.vision import BIKES, LABELS, ScriptedDetector, detections, street

SCENE = {
    "scene": "zone",
    "id": "all",
    "zone": [[0, 0], [1, 0], [1, 1], [0, 1]],
    "enter_s": 0.2,
    "exit_s": 0.5,
}
QUICK = {"every_s": 0.1, "after_s": 1, "clear_s": 1, "frozen_s": 5}


class _Detectors(Detectors):
    """Finds nobody, at no cost: what is looked with is not the matter here."""

    def __init__(self) -> None:
        super().__init__(None, 1)

    def get(self, model: str) -> ScriptedDetector:
        return ScriptedDetector(Detections.empty(LABELS))

    def single(self, model: str) -> ScriptedDetector:
        return self.get(model)


class _SlowDetectors(_Detectors):
    """One detector that takes a quarter of a second over every look."""

    def get(self, model: str) -> ScriptedDetector:
        return _SlowDetector(Detections.empty(LABELS))


class _SlowDetector(ScriptedDetector):
    def detect(self, image: Image) -> Detections:
        time.sleep(0.25)
        return super().detect(image)


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


class Box:
    """The parts of an agent that cameras need, with its loop."""

    def __init__(self, directory: Path) -> None:
        self.clock = SystemClock()
        self.database = Database(directory)
        self.outbox = SqliteOutbox(self.database, ADDRESS, self.clock)
        self.book = ObservationBook(self.database, self.outbox, self.clock)
        self.evidence = EvidenceStore(self.database, self.clock)
        self.cameras: list[Camera] = []

    def camera(self, source: SourceSettings, name: str = "cam-1", **more: Any) -> Camera:
        """Add one."""
        detectors = more.pop("detectors", None) or _Detectors()
        clips: ClipStore | None = more.pop("clips", None)
        told: dict[str, Any] = {"name": name, "scenes": [SCENE], "health": QUICK, **more}
        keys = {RtspSettings: "rtsp", StillsSettings: "stills"}
        key = next((name for kind, name in keys.items() if isinstance(source, kind)), "path")
        config = CameraConfig.model_validate(told | {key: source})
        camera = Camera(
            config,
            source,
            detectors=detectors,
            book=self.book,
            evidence=self.evidence,
            clock=self.clock,
            clips=clips,
        )
        self.cameras.append(camera)
        return camera

    @contextmanager
    def running(self) -> Iterator[CameraLoop]:
        """Look, until the end of the block."""
        stop = Stop()
        loop = CameraLoop(self.cameras, self.book, self.outbox, self.clock)
        thread = threading.Thread(target=loop.run, args=(stop,))
        thread.start()
        try:
            yield loop
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()

    def packets(self) -> list[Events | Readings]:
        """All that was accepted, oldest first."""
        ids = sorted(waiting.id for waiting in self.outbox.pending(10_000))
        found = []
        for one in ids:
            held = self.outbox.payload(one)
            assert held is not None
            data = decode_packet(held[1], ADDRESS).data
            assert isinstance(data, Events | Readings)
            found.append(data)
        return found

    def said(self, category: str = "") -> list[tuple[str, str]]:
        """Phase and category of all observations."""
        return [(one.phase, one.category) for one in self.observations() if category in one.category]

    def observations(self) -> list[Observation]:
        """All of them."""
        return [one for data in self.packets() if isinstance(data, Events) for one in data.observations]

    def coverage(self, name: str = "cam-1") -> Mapping[str, float]:
        """Metric and sum of a camera's books."""
        sums: dict[str, float] = {}
        for data in self.packets():
            for series in data.series if isinstance(data, Readings) else []:
                if series.sensor == name:
                    sums[series.metric] = sums.get(series.metric, 0.0) + sum(series.value)
        return sums


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path / "box")
    yield box
    box.database.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    directory = tmp_path / "streams"
    directory.mkdir()
    server = RtspServer(directory)
    server.add("street", encode(scene(n) for n in range(30)))
    server.add("other", encode(scene(n) for n in range(30)))
    yield server
    server.kill()


def _rtsp(server: RtspServer, name: str = "street") -> RtspSettings:
    return RtspSettings(url=server.url(name), stalled_s=1.0)


def video(path: Path, picture: Callable[[int], Image], count: int) -> Path:
    """Ten frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        first = picture(0)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = (
            first.shape[1],
            first.shape[0],
            "yuv420p",
            10,
        )
        stream.codec_context.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "12"}
        for n in range(count):
            frame = av.VideoFrame.from_ndarray(picture(n), format="bgr24")
            frame.pts, frame.time_base = n, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_camera_whose_server_is_killed_is_blind_and_sees_again_by_itself(
    box: Box, server: RtspServer
) -> None:
    server.start()
    camera = box.camera(_rtsp(server))
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
    box: Box, server: RtspServer
) -> None:
    server.start()
    held, other = box.camera(_rtsp(server)), box.camera(_rtsp(server, "other"), "cam-2")
    with box.running():
        eventually(lambda: held.valid_looks > 3 and other.valid_looks > 3, 30)
        server.hold("street")
        eventually(lambda: held.blind, 30)
        seen = other.valid_looks
        eventually(lambda: other.valid_looks > seen + 3, 30)
        assert not other.blind
        server.release("street")
        eventually(lambda: not held.blind, 60)
    (start, end) = [one for one in box.observations() if one.category == STALLED]
    assert (start.phase, end.phase, start.sensor) == ("start", "end", "cam-1")
    assert start.detail["code"] == "camera.stalled"


def test_the_seconds_of_a_run_are_all_booked(box: Box, server: RtspServer) -> None:
    server.start()
    camera = box.camera(_rtsp(server))
    idle = box.camera(_rtsp(server, "other"), "cam-2", scenes=[])
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
    box: Box, tmp_path: Path
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


def test_a_stream_that_goes_black_is_dark_and_no_look_counts_until_it_is_over(
    box: Box, tmp_path: Path
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


def test_a_condition_is_not_ended_by_a_hand_before_the_lens(box: Box, tmp_path: Path) -> None:
    """Somebody stands in the zone; then the lens is covered, and nobody is found. That is not "gone"."""

    class Somebody(_Detectors):
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
    box: Box, tmp_path: Path
) -> None:
    """After one look at its edge it covers nine tenths of the street: all later looks are at a hidden view."""

    class Sniffing(_Detectors):
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


def test_corrupt_frames_and_another_size_midway_are_survived(box: Box, server: RtspServer) -> None:
    small = encode((scene(n) for n in range(15)), gop=5)
    spoilt = [
        Unit(unit.content[:40] + bytes(len(unit.content) - 40), unit.due_ms, unit.time_ms)
        if n in {6, 7}
        else unit
        for n, unit in enumerate(small)
    ]
    large = encode((scene(n, 640, 480) for n in range(15)), gop=5, begins_ms=1500)
    server.add("mixed", spoilt + large)
    server.start()
    camera = box.camera(_rtsp(server, "mixed"), health={**QUICK, "ignore": ["moved", "blocked", "blurred"]})
    with box.running():
        eventually(lambda: camera.counters.resized >= 2 and camera.valid_looks > 20, 60)
    assert box.said("device.camera") == []


def test_a_camera_that_changes_its_size_and_so_its_view_was_not_moved(box: Box, tmp_path: Path) -> None:
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


def test_a_camera_that_comes_back_with_another_codec_goes_on(box: Box, server: RtspServer) -> None:
    server.start()
    camera = box.camera(_rtsp(server))
    with box.running():
        eventually(lambda: camera.valid_looks > 3, 30)
        server.kill()
        eventually(lambda: camera.blind, 30)
        server.add("street", encode((scene(n) for n in range(30)), codec="libx265"), codec="hevc")
        server.start()
        eventually(lambda: not camera.blind, 60)


class _Somebody(_Detectors):
    """Finds one person in the middle of every picture."""

    def get(self, model: str) -> ScriptedDetector:
        return ScriptedDetector(detections((100, 60, 140, 180)))


@pytest.mark.parametrize("how", ["within", "ended"])
@pytest.mark.parametrize("codec", ["hevc", "mjpeg"])
def test_a_camera_whose_codec_and_size_change_midway_says_so_and_goes_on_and_no_clip_is_of_both(
    box: Box, server: RtspServer, tmp_path: Path, codec: str, how: Literal["within", "ended"]
) -> None:
    encoder = {"hevc": "libx265", "mjpeg": "mjpeg"}[codec]
    after = encode((scene(n, 640, 480) for n in range(30)), codec=encoder)
    server.add("after", after, codec=codec, size=(640, 480))
    server.start()
    private, public = new_key()
    (tmp_path / "public").write_text(public, encoding="ascii")
    settings = ClipSettings(public_key_file=Path("public"), before_s=1, after_s=4)
    clips = ClipStore(tmp_path / "clips", settings, tmp_path / "box.yaml", box.clock)
    camera = box.camera(
        _rtsp(server),
        clips=clips,
        detectors=_Somebody(),
        gate={"enabled": False},
        health={**QUICK, "ignore": ["moved", "blocked", "blurred"]},
    )
    with structlog.testing.capture_logs() as logs, box.running():
        eventually(lambda: ("start", "camera.zone_occupied") in box.said(), 30)
        server.become("street", "after", how)  # in the middle of the clip
        eventually(lambda: camera.blind, 30)
        eventually(lambda: not camera.blind, 60)
        assert camera._recorder is not None
        seen = camera.valid_looks
        eventually(lambda: camera.valid_looks > seen + 10, 30)
        camera._recorder.ask("after")
        seen = camera.valid_looks
        eventually(lambda: camera.valid_looks > seen + 10, 30)
    start, end = box.said("device.camera")
    assert (start[0], end) == ("start", ("end", start[1]))
    assert start[1] in {BLIND, STALLED}
    assert camera.counters.resized == 1
    changed = [(log["before"], log["now"]) for log in logs if log["event"] == "camera.codec_changed"]
    assert changed == [("h264", codec)]
    assert ("end", "camera.zone_occupied") not in box.said()
    made = [_streams(unseal(file.read_bytes(), private)) for file in clips.files()]
    # JPEG is not copied, which is said; what was asked for before it is there.
    assert made == [("h264", {(320, 240)}), ("hevc", {(640, 480)})][: 2 if codec == "hevc" else 1]
    assert [log["codec"] for log in logs if log["event"] == "clip.codec"] == ["mjpeg"] * (codec == "mjpeg")


def _streams(clip: bytes) -> tuple[str, set[tuple[int, int]]]:
    """The codec of a clip, and the sizes of its pictures, all of which can be decoded and are of that codec."""
    with av.open(io.BytesIO(clip), "r") as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert len(packets) >= 5
        sizes = [(frame.width, frame.height) for packet in packets for frame in packet.decode()]
        sizes += [(frame.width, frame.height) for frame in stream.decode(None)]
        assert len(sizes) == len(packets)
        return stream.codec_context.name, set(sizes)


def test_time_that_runs_backwards_never_runs_backwards_in_what_is_said(box: Box, server: RtspServer) -> None:
    units = encode(scene(n) for n in range(40))
    back = [
        Unit(one.content, one.due_ms, one.time_ms - (1500 if n >= 20 else 0)) for n, one in enumerate(units)
    ]
    server.add("back", back)
    server.start()
    camera = box.camera(_rtsp(server, "back"), gate={"enabled": False})
    times: list[int] = []
    inner = camera._in_order
    camera._in_order = lambda frame: times.append((found := inner(frame)).captured_at) or found  # type: ignore[method-assign, func-returns-value]
    with box.running():
        eventually(lambda: len(times) > 45, 60)
    assert times == sorted(set(times))
    assert max(np.diff(times)) < 4000


def test_a_model_of_the_wrong_input_blinds_its_camera_alone_and_says_what_was_found(
    box: Box, tmp_path: Path
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


def test_an_uploaded_picture_stands_for_the_time_until_the_next_is_missed(box: Box, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    camera = box.camera(StillsSettings(directory=uploads, stalled_s=600))
    with box.running():
        assert cv2.imwrite(str(tmp_path / "new.jpg"), scene(0))
        eventually(lambda: camera.valid_looks == 0 and camera._reader is not None, 30)
        (tmp_path / "new.jpg").rename(uploads / "new.jpg")
        eventually(lambda: camera.valid_looks == 1, 30)
    assert camera._looked_at is not None
    camera._looked_at -= 500
    assert camera.state() == "looked"
    camera._looked_at -= 500
    assert camera.state() == "lost"


def test_looks_that_are_wanted_seldom_stand_for_the_time_between_them(box: Box, tmp_path: Path) -> None:
    """With nobody to follow one look in ten seconds may be enough: the camera was not lost in between."""
    camera = box.camera(tmp_path / "never-opened.mp4", gate={"empty_s": 10})
    camera._looked_at = box.clock.monotonic() - 9
    assert camera.state() == "looked"
    camera._looked_at -= 3
    assert camera.state() == "lost"
