"""Streams that are spoilt or become others on a real RTSP server: looked through as far as they go, and said."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
import structlog

from edge.camera_sight import BLIND, STALLED
from edge.clip_seal import new_key, unseal
from edge.clips import ClipSettings, ClipStore
from tests.fixtures.edge_cameras import QUICK, CameraBox, NobodyDetectors, camera_box, rtsp_of, two_streets
from tests.fixtures.edge_gateway import eventually
from tests.fixtures.rtsp import RtspServer, Unit, encode, scene
from tests.fixtures.vision import ScriptedDetector, detections


class _Somebody(NobodyDetectors):
    """Finds one person in the middle of every picture."""

    def get(self, model: str) -> ScriptedDetector:
        return ScriptedDetector(detections((100, 60, 140, 180)))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[CameraBox]:
    with camera_box(tmp_path / "box") as opened:
        yield opened


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    with two_streets(tmp_path / "streams") as made:
        yield made


def test_corrupt_frames_and_another_size_midway_are_survived(box: CameraBox, server: RtspServer) -> None:
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
    camera = box.camera(rtsp_of(server, "mixed"), health={**QUICK, "ignore": ["moved", "blocked", "blurred"]})
    with box.running():
        eventually(lambda: camera.counters.resized >= 2 and camera.valid_looks > 20, 60)
    assert box.said("device.camera") == []


def test_a_camera_that_comes_back_with_another_codec_goes_on(box: CameraBox, server: RtspServer) -> None:
    server.start()
    camera = box.camera(rtsp_of(server))
    with box.running():
        eventually(lambda: camera.valid_looks > 3, 30)
        server.kill()
        eventually(lambda: camera.blind, 30)
        server.add("street", encode((scene(n) for n in range(30)), codec="libx265"), codec="hevc")
        server.start()
        eventually(lambda: not camera.blind, 60)


@pytest.mark.parametrize("how", ["within", "ended"])
@pytest.mark.parametrize("codec", ["hevc", "mjpeg"])
def test_a_camera_whose_codec_and_size_change_midway_says_so_and_goes_on_and_no_clip_is_of_both(
    box: CameraBox, server: RtspServer, tmp_path: Path, codec: str, how: Literal["within", "ended"]
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
        rtsp_of(server),
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


def test_time_that_runs_backwards_never_runs_backwards_in_what_is_said(
    box: CameraBox, server: RtspServer
) -> None:
    units = encode(scene(n) for n in range(40))
    back = [
        Unit(one.content, one.due_ms, one.time_ms - (1500 if n >= 20 else 0)) for n, one in enumerate(units)
    ]
    server.add("back", back)
    server.start()
    camera = box.camera(rtsp_of(server, "back"), gate={"enabled": False})
    times: list[int] = []
    inner = camera._in_order
    camera._in_order = lambda frame: times.append((found := inner(frame)).captured_at) or found  # type: ignore[method-assign, func-returns-value]
    with box.running():
        eventually(lambda: len(times) > 45, 60)
    assert times == sorted(set(times))
    assert max(np.diff(times)) < 4000
