"""Cameras that see and cameras that cannot: real footage, real model, and every way to lack them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import yaml

import models.store
from common.runtime.clock import SystemClock
from common.runtime.stop import Stop
from common.wire.categories import BY_CODE
from common.wire.codec import decode_packet
from common.wire.messages import Events, Observation, Readings
from edge.camera.frame import Frame
from edge.camera_loop import CameraLoop
from edge.camera_sight import BLIND
from edge.cameras import Camera
from edge.config import CameraConfig, DeviceConfig, load_device
from edge.database import Database
from edge.detectors import Detectors
from edge.evidence import EvidenceStore
from edge.inspect import inspect
from edge.observations import ObservationBook
from edge.outbox import SqliteOutbox
from edge.vision.pipeline import VisionCounters
from models.describe import SIDE, described
from tests.fixtures.codecs import of_unknown_codec
from tests.fixtures.edge_gateway import eventually
from tests.fixtures.edge_messages import ADDRESS
from tests.fixtures.onnx_files import answering

T0 = 1_767_225_600_000
FOOTAGE = Path(__file__).parents[2] / "firmware_configs" / "footage" / "bikes.mp4"
OCCUPIED = {
    "scene": "zone",
    "id": "crossing",
    "category": "camera.zone_occupied",
    "zone": [[0, 0], [1, 0], [1, 1], [0, 1]],
    "labels": ["car", "truck", "bus"],
    "limit": 1,
    "enter_s": 0.5,
    "exit_s": 3600,
}


@dataclass
class Box:
    """The parts of an agent that cameras need."""

    directory: Path

    def __post_init__(self) -> None:
        self.database = Database(self.directory)
        self.clock = SystemClock()
        self.outbox = SqliteOutbox(self.database, ADDRESS, self.clock)
        self.evidence = EvidenceStore(self.database, self.clock)
        self.book = ObservationBook(self.database, self.outbox, self.clock)
        self.detectors = Detectors(None, 1)

    def camera(
        self,
        path: Path = FOOTAGE,
        name: str = "cam-1",
        redrawn: Callable[[], CameraConfig | None] = lambda: None,
        **more: Any,
    ) -> Camera:
        told = {"name": name, "path": str(path), "paced": False, "loop": False, "scenes": [OCCUPIED], **more}
        return Camera(
            CameraConfig.model_validate(told),
            path,
            detectors=self.detectors,
            book=self.book,
            evidence=self.evidence,
            clock=self.clock,
            redrawn=redrawn,
        )

    @property
    def observations(self) -> list[Observation]:
        found = []
        for packet in self.outbox.pending(1000):
            held = self.outbox.payload(packet.id)
            assert held is not None
            data = decode_packet(held[1], ADDRESS).data
            assert isinstance(data, Events)
            found += data.observations
        return found


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path / "box")
    yield box
    box.database.close()


def watch(box: Box, *cameras: Camera, until: int = 1) -> None:
    """Run the loop until so many observations were made."""
    stop = Stop()
    loop = CameraLoop(cameras, box.book)
    thread = threading.Thread(target=loop.run, args=(stop,), name="cameras")
    thread.start()
    try:
        eventually(lambda: box.outbox.stats().numbered >= until, 60)
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def test_recorded_footage_without_a_gate_is_looked_at_frame_by_frame_to_its_end(box: Box) -> None:
    camera = box.camera(gate={"enabled": False})
    stop = Stop()
    thread = threading.Thread(target=CameraLoop([camera], box.book).run, args=(stop,), name="cameras")
    thread.start()
    try:
        eventually(lambda: camera.finished, 120)
    finally:
        stop.set()
        thread.join(60)
    assert camera.counters.frames == camera.counters.analysed == camera.read == 250
    assert [one.phase for one in box.observations] == ["start"]


def test_a_camera_says_what_it_sees_with_a_picture_that_is_kept(box: Box) -> None:
    camera = box.camera()
    watch(box, camera)
    first = box.observations[0]
    assert (first.phase, first.category, first.source, first.sensor) == (
        "start",
        "camera.zone_occupied",
        "scene:cam-1:crossing",
        "cam-1",
    )
    (shown,) = first.evidence
    kept = box.database.directory / "evidence" / f"{shown.sha256}.jpg"
    assert kept.stat().st_size == shown.size
    assert kept.read_bytes().startswith(b"\xff\xd8\xff")
    assert box.evidence.stats().waiting == 1
    assert camera.read >= camera.counters.analysed > 0


def test_a_condition_that_was_open_goes_on_after_a_restart(tmp_path: Path) -> None:
    before = Box(tmp_path / "box")
    watch(before, before.camera())
    started = before.observations[0]
    before.database.close()
    after = Box(tmp_path / "box")
    watch(after, after.camera(), until=2)
    again = after.observations[-1]
    assert (again.observation_id, again.phase, again.started_at) == (
        started.observation_id,
        "update",
        started.started_at,
    )
    after.database.close()


def test_a_condition_whose_scene_is_gone_is_ended(tmp_path: Path) -> None:
    before = Box(tmp_path / "box")
    watch(before, before.camera())
    started = before.observations[0]
    before.database.close()
    after = Box(tmp_path / "box")
    watch(after, after.camera(scenes=[]), until=2)
    assert [(one.observation_id, one.phase) for one in after.observations] == [
        (started.observation_id, "start"),
        (started.observation_id, "end"),
    ]
    after.database.close()


def test_a_condition_of_which_the_scene_is_said_under_another_category_now_is_ended(tmp_path: Path) -> None:
    """Its end would be told of the new one, and the old one stay open for ever."""
    before = Box(tmp_path / "box")
    watch(before, before.camera())
    started = before.observations[0]
    before.database.close()
    after = Box(tmp_path / "box")
    watch(after, after.camera(scenes=[{**OCCUPIED, "category": "camera.zone_crowded"}]), until=3)
    _, ended, other = after.observations[:3]
    assert (ended.observation_id, ended.phase, ended.category) == (
        started.observation_id,
        "end",
        started.category,
    )
    assert (other.phase, other.category) == ("start", "camera.zone_crowded")
    after.database.close()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "camera.missing"),
        (b"", "camera.corrupt"),
        (b"this is no video" * 1000, "camera.not_video"),
        (of_unknown_codec(), "camera.codec"),
    ],
    ids=["no file", "empty", "no video", "unknown codec"],
)
def test_a_camera_without_usable_footage_says_so_and_the_others_go_on(
    box: Box, tmp_path: Path, content: bytes | None, code: str
) -> None:
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        watch(box, box.camera(path, "cam-2"), box.camera(), until=2)
    by_source = {one.source: one for one in box.observations}
    blind = by_source["camera:cam-2"]
    assert (blind.phase, blind.category, blind.detail["code"]) == ("start", BLIND, code)
    assert by_source["scene:cam-1:crossing"].phase == "start"
    assert [log["code"] for log in logs if log["event"] == "camera.blind"] == [code]


def test_a_camera_whose_place_the_system_refuses_ends_no_other(box: Box, tmp_path: Path) -> None:
    watch(box, box.camera(tmp_path / ("x" * 300), "cam-2"), box.camera(), until=2)
    by_source = {one.source: one for one in box.observations}
    assert by_source["camera:cam-2"].detail["code"] == "camera.missing"
    assert by_source["scene:cam-1:crossing"].phase == "start"


def test_time_in_vision_only_grows_and_what_is_told_goes_by_the_clock_as_it_is(
    box: Box, tmp_path: Path
) -> None:
    """The box's clock was eight hours ahead until a time service set it right; the camera must not wait for that time."""
    camera, back = box.camera(tmp_path / "never-opened.mp4"), 8 * 3_600_000
    instants = [T0, T0 + 100, T0 + 100, T0 + 200 - back, T0 + 300 - back, T0 + 5000 - back]
    seen = [
        camera._in_order(Frame(np.zeros((4, 4, 3), np.uint8), at, n)).captured_at
        for n, at in enumerate(instants)
    ]
    assert seen == [T0, T0 + 100, T0 + 101, T0 + 102, T0 + 202, T0 + 4902]
    assert [camera._wall(at) for at in seen[3:]] == instants[3:]


def test_riders_are_counted_in_every_slice_also_where_there_were_none(box: Box, tmp_path: Path) -> None:
    """None without a helmet among twelve, nobody at all, and nobody looked: three answers."""
    riders = box.camera(tmp_path / "a.mp4", scenes=[{"scene": "helmet", "id": "riders"}])
    plain = box.camera(tmp_path / "b.mp4", "cam-2")
    loop = CameraLoop([riders, plain], box.book, box.outbox)
    for counted in (
        VisionCounters(riders=12, helmetless=2, unknown=3),
        VisionCounters(riders=12, helmetless=2, unknown=3),
    ):
        riders._counted = counted
        loop._clock.sleep(0.2)
        loop._book_coverage(closing=True)
    told = [
        (series.sensor, series.metric, series.value)
        for packet in sorted(waiting.id for waiting in box.outbox.pending(10))
        for held in [box.outbox.payload(packet)]
        if held is not None
        for data in [decode_packet(held[1], ADDRESS).data]
        if isinstance(data, Readings)
        for series in data.series
        if series.metric.startswith("riders")
    ]
    assert told == [
        *[
            ("cam-1", f"riders_{what}", [count])
            for what, count in (("passed", 12), ("helmetless", 2), ("unknown", 3))
        ],
        *[("cam-1", f"riders_{what}", [0]) for what in ("passed", "helmetless", "unknown")],
    ]


def test_a_video_that_is_cut_short_is_played_as_far_as_it_goes(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    content = bytearray(FOOTAGE.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20_000] = bytes(20_000)
    path.write_bytes(content)
    watch(box, box.camera(path))
    assert box.observations[0].category == "camera.zone_occupied"


@pytest.mark.parametrize("fault", ["missing", "tampered"])
def test_a_camera_whose_model_is_missing_or_tampered_is_blind(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    if fault == "tampered":
        for file in models.store.WEIGHTS.glob("*.onnx"):
            shutil.copy(file, weights)
            (weights / file.name).open("ab").write(b"!")
    monkeypatch.setattr(models.store, "WEIGHTS", weights)
    watch(box, box.camera())
    (blind,) = box.observations
    assert (blind.category, blind.detail["code"]) == (BLIND, f"model.{fault}")


def test_a_camera_that_sees_again_ends_its_blindness(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    before = Box(tmp_path / "box")
    watch(before, before.camera(path))
    blind = before.observations[0]
    before.database.close()
    shutil.copy(FOOTAGE, path)
    after = Box(tmp_path / "box")
    watch(after, after.camera(path), until=2)
    ended = after.observations[1]
    assert (ended.observation_id, ended.phase, ended.category) == (blind.observation_id, "end", BLIND)
    after.database.close()


def test_scenes_that_are_drawn_anew_are_as_severe_as_the_file_says_now(box: Box) -> None:
    """Also one that was not there before, and no other camera's; one that is not named any more is as its category."""
    box.book.rate("scene:", {"scene:cam-1:crossing": 1, "scene:cam-1:plain": 4, "scene:cam-11:crossing": 4})
    anew = [{**OCCUPIED, "id": name} for name in ("crossing", "added", "plain")]
    drawn = box.camera(scenes=anew, severity={"crossing": 4, "added": 3}).config
    outside = {**OCCUPIED, "zone": [[0, 0], [640, 0], [1, 1]]}
    watch(box, box.camera(redrawn=lambda: drawn, scenes=[outside]), box.camera(name="cam-11"), until=4)
    own = BY_CODE["camera.zone_occupied"].severity
    assert own not in {3, 4}
    said = {one.source: one.severity for one in box.observations if one.source.startswith("scene:")}
    assert said == {
        "scene:cam-1:crossing": 4,
        "scene:cam-1:added": 3,
        "scene:cam-1:plain": own,
        "scene:cam-11:crossing": 4,
    }


@pytest.mark.parametrize("severity", [1, 4])
def test_a_picture_goes_and_stays_by_what_the_file_says_of_its_scene(box: Box, severity: int) -> None:
    """The severer goes first and stays longer: what a district calls urgent, not what its category is elsewhere."""
    camera = box.camera(scenes=[{**OCCUPIED, "id": "crossing"}], severity={"crossing": severity})
    box.book.rate("scene:cam-1:", camera.config.severities)
    watch(box, camera, until=1)
    (said,) = [one for one in box.observations if one.source == "scene:cam-1:crossing"]
    with box.database.reading() as connection:
        kept = dict(connection.execute("SELECT sha256, severity FROM evidence").fetchall())
    assert [kept[proof.sha256] for proof in said.evidence] == [severity]


def test_a_check_opens_the_pictures_of_the_dry_road(tmp_path: Path) -> None:
    water = {
        "scene": "water",
        "id": "low-point",
        "road": [[0, 0], [1, 0], [1, 1]],
        "dry_pictures": [str(tmp_path / "dry.jpg")],
    }
    camera = {"name": "one", "path": str(FOOTAGE), "scenes": [water]}
    config = DeviceConfig.model_validate({"site": "gulou", "device": "lamp-01", "cameras": [camera]})
    codes = [one.error.code if one.error else "ok" for one in inspect(config, tmp_path / "box.yaml", {})]
    assert codes == ["ok", "ok", "camera.dry_picture", "ok"]


def test_a_check_names_the_line_of_what_is_drawn_outside_the_picture_and_goes_on(tmp_path: Path) -> None:
    outside = OCCUPIED | {"zone": [[0, 0], [2, 0], [1, 1]]}
    cameras = [
        {"name": name, "path": str(FOOTAGE), "scenes": [scene]}
        for name, scene in (("one", outside), ("two", OCCUPIED))
    ]
    path = tmp_path / "box.yaml"
    path.write_text(
        yaml.safe_dump({"site": "gulou", "device": "lamp-01", "cameras": cameras}), encoding="utf-8"
    )
    found = list(inspect(load_device(path), path, {}))
    assert [one.error.code if one.error else "ok" for one in found] == ["scene.outside", *["ok"] * 4]
    assert found[0].what == "one: scenes"
    assert f"{path}:" in str(found[0].error)


def test_a_check_opens_the_detector_and_asks_whether_the_scenes_can_live_with_it(tmp_path: Path) -> None:
    file = answering(
        tmp_path / "detector.onnx", [np.zeros((1, 300, 6))], shape=(1, 3, SIDE, SIDE), name="pixels"
    )
    story = {"base": "base.pt", "epochs": 1, "seed": 0, "torch": "2"}
    told = described(file, "detector", None, ["person"], story)
    (tmp_path / "detector.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    people = {**OCCUPIED, "labels": ["person"]}
    cameras = [
        {"name": name, "path": str(FOOTAGE), "model": "detector", "scenes": [scene]}
        for name, scene in (("people", people), ("cars", OCCUPIED))
    ]
    box = {"site": "gulou", "device": "lamp-01", "models_directory": str(tmp_path), "cameras": cameras}
    config = DeviceConfig.model_validate(box)
    codes = [one.error.code if one.error else "ok" for one in inspect(config, tmp_path / "box.yaml", {})]
    assert codes == ["ok", "ok", "model.labels", "ok"]


def test_a_check_tells_each_fault_on_its_own(tmp_path: Path) -> None:
    config = DeviceConfig.model_validate(
        {
            "site": "gulou",
            "device": "lamp-01",
            "cameras": [
                {"name": "one", "path": str(FOOTAGE)},
                {"name": "two", "path": "none.mp4", "model": "yolo-none"},
            ],
        }
    )
    found = list(inspect(config, tmp_path / "devices" / "box.yaml", {}))
    assert [finding.error.code if finding.error else "ok" for finding in found] == [
        "ok",
        "ok",
        "model.unknown",
        "camera.missing",
    ]
