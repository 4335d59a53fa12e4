"""A network camera that goes away, falls silent, changes its mind or does not know us: on a real RTSP server."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from edge.camera.frame import Frame
from edge.camera.rtsp import RtspSettings, RtspSource, read_credential
from edge.camera.source import CameraLostError, CameraRefusedError
from local.paths import REPOSITORY
from tests.fixtures.rtsp import RtspServer, Unit, encode, scene
from tests.fixtures.tcp_proxy import TcpProxy

PASSWORD = "s3cret/with:odd@signs"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    server = RtspServer(tmp_path)
    server.add("street", encode(scene(n) for n in range(30)))
    yield server
    server.kill()


def _source(server: RtspServer, name: str = "street", **more: object) -> RtspSource:
    return RtspSource(RtspSettings.model_validate({"url": server.url(name), "stalled_s": 5.0, **more}))


def _until_lost(
    source: RtspSource, after: int, then: Callable[[], object]
) -> tuple[list[Frame], CameraLostError]:
    """Frames up to the error that comes once ``then`` was called after so many."""
    frames: list[Frame] = []
    with source:
        try:
            for frame in source.frames():
                frames.append(frame)
                if len(frames) == after:
                    then()
        except CameraLostError as error:
            return frames, error
    raise AssertionError(f"expected the camera to be lost, it gave {len(frames)} frames and ended")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_server_that_is_killed_is_a_lost_camera_that_can_be_opened_again(
    server: RtspServer, transport: str
) -> None:
    server.start()
    frames, error = _until_lost(_source(server, transport=transport), 5, server.kill)
    assert len(frames) >= 5
    assert error.code in {"camera.lost", "camera.stalled"}
    with pytest.raises(CameraLostError) as caught, _source(server):
        pass
    assert caught.value.code == "camera.unreachable"
    server.start()
    with _source(server, transport=transport) as source:
        assert len(list(itertools.islice(source.frames(), 5))) == 5


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stream_that_falls_silent_is_found_stalled(server: RtspServer, transport: str) -> None:
    server.start()
    began = []

    def hold() -> None:
        server.hold("street")
        began.append(time.monotonic())

    _, error = _until_lost(_source(server, transport=transport, stalled_s=1.5), 5, hold)
    assert error.code == "camera.stalled"
    assert "none for 1.5 s" in error.message
    assert time.monotonic() - began[0] >= 1.4
    server.release("street")
    with _source(server, transport=transport) as source:
        assert len(list(itertools.islice(source.frames(), 3))) == 3


def test_time_is_the_streams_and_not_that_of_a_late_arrival(server: RtspServer) -> None:
    """The reader sleeps on every frame's way; what it then finds waiting was still taken a tenth of a second apart."""
    server.start()
    times = []
    with _source(server) as source:
        for frame in source.frames():
            times.append(frame.captured_at)
            if frame.n == 5:
                time.sleep(0.8)
            if frame.n == 20:
                break
    assert np.diff(times[1:]).tolist() == pytest.approx([100] * 19, abs=8)


def test_pictures_that_change_their_size_midway_come_in_their_new_size(server: RtspServer) -> None:
    small = encode(scene(n) for n in range(10))
    large = encode((scene(n, 640, 480) for n in range(10)), begins_ms=1000)
    server.add("growing", small + large)
    server.start()
    with _source(server, "growing") as source:
        sizes = [frame.image.shape[:2] for frame in itertools.islice(source.frames(), 25)]
    assert set(sizes) == {(240, 320), (480, 640)}


def test_a_camera_that_comes_back_with_another_codec_is_read_again(server: RtspServer) -> None:
    server.start()
    _until_lost(_source(server), 3, server.kill)
    server.add("street", encode((scene(n) for n in range(30)), codec="libx265"), codec="hevc")
    server.start()
    with _source(server) as source:
        assert next(iter(source.frames())).image.shape == (240, 320, 3)


@pytest.mark.parametrize("how", ["within", "ended"])
@pytest.mark.parametrize(("encoder", "codec"), [("libx265", "hevc"), ("mjpeg", "mjpeg")])
def test_another_codec_and_size_midway_is_a_lost_camera_whose_pictures_come_at_the_next_opening(
    server: RtspServer, encoder: str, codec: str, how: Literal["within", "ended"]
) -> None:
    """Within the session, as from a camera whose encoder was set otherwise, and where another publisher came."""
    after = encode((scene(n, 640, 480) for n in range(30)), codec=encoder)
    server.add("after", after, codec=codec, size=(640, 480))
    server.start()
    source = _source(server)
    frames, error = _until_lost(source, 8, lambda: server.become("street", "after", how))
    assert source.codec == "h264"
    assert error.code in {"camera.undecodable", "camera.stalled", "camera.lost"}
    assert {frame.image.shape for frame in frames} == {(240, 320, 3)}
    with _source(server) as again:
        assert again.codec == codec
        assert {frame.image.shape for frame in itertools.islice(again.frames(), 5)} == {(480, 640, 3)}


def test_packets_that_are_no_pictures_are_counted_and_the_next_ones_seen(server: RtspServer) -> None:
    whole = encode((scene(n) for n in range(30)), gop=5)
    spoilt = [
        Unit(unit.content[:40] + bytes(len(unit.content) - 40), unit.due_ms, unit.time_ms)
        if 6 <= n < 9
        else unit
        for n, unit in enumerate(whole)
    ]
    server.add("spoilt", spoilt)
    server.start()
    with _source(server, "spoilt") as source:
        frames = list(itertools.islice(source.frames(), 25))
        assert source.corrupt > 0
    assert len(frames) == 25


def test_a_stream_of_nothing_but_rubbish_is_said_to_be_undecodable(server: RtspServer) -> None:
    whole = encode((scene(n) for n in range(60)), gop=1)
    rubbish = [Unit(unit.content[:60] + b"\x55" * 200, unit.due_ms, unit.time_ms) for unit in whole[5:]]
    server.add("rubbish", whole[:5] + rubbish)
    server.start()
    frames, error = _until_lost(_source(server, "rubbish"), 1, lambda: None)
    assert error.code == "camera.undecodable"
    assert frames


def test_a_stream_that_is_joined_long_before_its_next_key_frame_is_waited_for(server: RtspServer) -> None:
    """Encoders that save bits send one in ten or twenty seconds, and nothing before it can be decoded."""
    server.add("rare", encode((scene(n) for n in range(70)), gop=70))
    server.start()
    with _source(server, "rare") as first:
        assert next(first.frames()).n == 0
        began = time.monotonic()
        with _source(server, "rare", stalled_s=1) as source:
            frame = next(source.frames())
    assert time.monotonic() - began > 4
    assert float(np.abs(frame.image.astype(int) - scene(0).astype(int)).mean()) < 6


def test_a_cut_link_is_found_at_once_and_a_dead_one_in_time(server: RtspServer) -> None:
    server.start()
    with TcpProxy(server.port) as proxy:
        through = {"url": f"rtsp://127.0.0.1:{proxy.port}/street"}
        _, error = _until_lost(_source(server, **through), 5, proxy.cut)
        assert error.code == "camera.lost"
        _, error = _until_lost(_source(server, **through, stalled_s=1.5), 5, proxy.stall)
        assert error.code == "camera.stalled"
        proxy.stall(False)
        with _source(server, **through) as source:
            assert next(iter(source.frames())).n == 0


def test_who_is_not_known_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    server = RtspServer(tmp_path, user="viewer", password=PASSWORD)
    server.add("street", encode(scene(n) for n in range(10)))
    try:
        server.start()
        for credential in ("", "viewer:wrong-password"):
            source = RtspSource(RtspSettings(url=server.url("street")), credential=credential)
            with pytest.raises(CameraRefusedError) as caught, source:
                pass
            assert caught.value.code == "camera.refused"
            assert "wrong-password" not in f"{caught.value!r}{caught.value}{caught.value.__cause__!r}"
        with RtspSource(RtspSettings(url=server.url("street")), credential=f"viewer:{PASSWORD}") as source:
            assert PASSWORD not in source.where
            assert len(list(itertools.islice(source.frames(), 3))) == 3
    finally:
        server.kill()


def test_a_path_that_the_camera_does_not_have_is_named(server: RtspServer) -> None:
    server.start()
    with pytest.raises(CameraLostError) as caught, RtspSource(RtspSettings(url=server.url("none"))):
        pass
    assert caught.value.code == "camera.no_stream"
    assert "/none" in caught.value.message


def test_a_resting_reader_decodes_key_frames_and_wakes_without_losing_a_picture(server: RtspServer) -> None:
    """Key frames come every second; when rest is over each frame is there again, whole."""
    server.start()
    with _source(server) as source:
        frames = source.frames()
        list(itertools.islice(frames, 25))
        source.rest(True)
        resting = list(itertools.islice(frames, 8))  # it begins with the next key frame
        apart = np.diff([frame.captured_at for frame in resting[-3:]])
        skipped = source.skipped
        source.rest(False)
        awake = list(itertools.islice(frames, 8))
    assert apart.min() > 700
    assert skipped >= 15
    times = [frame.captured_at for frame in awake]
    assert np.diff(times).max() < 250
    expected = [scene(n) for n in range(30)]
    for frame in awake[1:]:
        nearest = min(float(np.abs(frame.image.astype(int) - other.astype(int)).mean()) for other in expected)
        assert nearest < 6


def test_credentials_come_from_the_environment_or_a_file_and_never_from_the_address(tmp_path: Path) -> None:
    file = tmp_path / "camera.credential"
    file.write_text("viewer:pass:word\n", encoding="utf-8")
    beside = tmp_path / "box.yaml"
    settings = RtspSettings(url="rtsp://192.0.2.1/1", credential_file=Path("camera.credential"))
    assert read_credential("cam-1", settings, beside, {}) == "viewer:pass:word"
    variables = {"DRUMTOWER_CAMERA_CREDENTIAL_CAM_1": "other:pw"}
    assert read_credential("cam-1", settings, beside, variables) == "other:pw"
    assert read_credential("cam-1", RtspSettings(url="rtsp://192.0.2.1/1"), beside, {}) == ""
    file.write_text("only-a-password", encoding="utf-8")
    with pytest.raises(CameraLostError) as caught:
        read_credential("cam-1", settings, beside, {})
    assert "only-a-password" not in str(caught.value)
    with pytest.raises(ValueError, match="credential_file"):
        RtspSettings(url="rtsp://viewer:pw@192.0.2.1/1")


def test_a_stop_ends_reading_from_another_thread(server: RtspServer) -> None:
    server.start()
    with _source(server) as source:
        threading.Timer(0.5, source.stop).start()
        assert sum(1 for _ in source.frames()) < 30


_STARTS = """
import sys, time
from pathlib import Path
from tests.fixtures.rtsp import RtspServer
server = RtspServer(Path(sys.argv[1]))
server.port = int(sys.argv[2])
print(server.start().pid, flush=True)
time.sleep(600)
"""


def _works(pid: str) -> bool:
    """Whether a process is there, and no zombie that nobody has reaped yet."""
    try:
        return "\nState:\tZ" not in Path("/proc", pid, "status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_server_of_these_tests_ends_with_a_worker_that_is_killed(
    server: RtspServer, tmp_path: Path
) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _STARTS, str(tmp_path), str(server.port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert worker.stdout is not None
    pid = worker.stdout.readline().strip()
    assert _works(pid)
    with _source(server) as source:
        assert next(source.frames()).image.size
    worker.kill()
    worker.communicate()
    deadline = time.monotonic() + 60
    while _works(pid):
        assert time.monotonic() < deadline, "expected the server to end with who started it"
        time.sleep(0.05)
    with pytest.raises(CameraLostError), _source(server):
        pass
