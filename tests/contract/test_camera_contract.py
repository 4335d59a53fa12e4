"""What every camera must do, whatever stands behind it: one suite for the fake and all the real ones."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.runtime.clock import ManualClock, SystemClock
from edge.camera.file import FileSource
from edge.camera.frame import Frame
from edge.camera.rtsp import RtspSettings, RtspSource
from edge.camera.source import FrameSource
from edge.camera.stills import StillsSettings, StillsSource
from edge.camera.usb import DeviceSource
from tests.fixtures.rtsp import RtspServer, encode, scene
from tests.fixtures.vision import BIKES, SyntheticSource


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspServer]:
    """One RTSP server for the module, with a stream of each kind that cameras send."""
    server = RtspServer(tmp_path_factory.mktemp("rtsp"))
    pictures = [scene(n) for n in range(30)]
    server.add("h264", encode(pictures))
    server.add("hevc", encode(pictures, codec="libx265"), codec="hevc")
    server.add("mjpeg", encode(pictures, codec="mjpeg"), codec="mjpeg")
    with server:
        yield server


def _some(source: FrameSource, count: int = 12) -> list[Frame]:
    """The first frames of an open source; a live one has no last."""
    return list(itertools.islice(source.frames(), count))


class FrameSourceContract:
    """Each source gives at least twelve frames."""

    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        """A fresh source."""
        raise AssertionError("each source brings its own")

    def test_it_knows_its_size_and_pace_once_open(self, source: FrameSource) -> None:
        with source:
            assert source.width > 0
            assert source.height > 0
            assert source.nominal_fps > 0
            assert source.corrupt == 0

    def test_frames_are_counted_from_nought_and_their_time_only_grows(self, source: FrameSource) -> None:
        with source:
            frames = _some(source)
        assert [frame.n for frame in frames] == list(range(12))
        times = [frame.captured_at for frame in frames]
        assert all(isinstance(at, int) for at in times)
        assert times == sorted(set(times))

    def test_frames_are_bgr_pictures_of_the_announced_size(self, source: FrameSource) -> None:
        with source:
            frame = next(iter(source.frames()))
            assert frame.image.dtype == np.uint8
            assert frame.image.shape == (source.height, source.width, 3)

    def test_frames_are_apart_as_the_pace_says(self, source: FrameSource) -> None:
        with source:
            times = [frame.captured_at for frame in _some(source)]
            # Live stream time is laid onto the box's clock, to within a twentieth.
            assert np.median(np.diff(times)) == pytest.approx(1000 / source.nominal_fps, rel=0.08, abs=2)

    def test_it_ends_soon_after_being_told_to_stop(self, source: FrameSource) -> None:
        with source:
            taken = 0
            for _ in source.frames():
                taken += 1
                source.stop()
                source.stop()
            assert taken <= 2

    def test_frames_go_on_while_nothing_moves_and_after(self, source: FrameSource) -> None:
        with source:
            frames = source.frames()
            source.rest(True)
            resting = list(itertools.islice(frames, 3))
            source.rest(False)
            awake = list(itertools.islice(frames, 5))
        times = [frame.captured_at for frame in resting + awake]
        assert times == sorted(set(times))
        assert all(frame.image.any() for frame in awake)

    def test_it_leaves_no_thread_behind(self, source: FrameSource) -> None:
        before = set(threading.enumerate())
        with source:
            next(iter(source.frames()))
        assert set(threading.enumerate()) - before == set()


class TestSynthetic(FrameSourceContract):
    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        return SyntheticSource(20)


class TestFile(FrameSourceContract):
    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        return FileSource(BIKES, paced=False)


class TestPacedFile(FrameSourceContract):
    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        return FileSource(BIKES, clock=ManualClock())


class TestRtspOverTcp(FrameSourceContract):
    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        return RtspSource(RtspSettings(url=server.url("h264")))


class TestRtspOverUdp(FrameSourceContract):
    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        return RtspSource(RtspSettings(url=server.url("h264"), transport="udp"))


class TestRtspHevc(FrameSourceContract):
    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        return RtspSource(RtspSettings(url=server.url("hevc")))


class TestRtspMjpeg(FrameSourceContract):
    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        return RtspSource(RtspSettings(url=server.url("mjpeg")))


class TestDevice(FrameSourceContract):
    """The way of a USB camera, with FFmpeg's test picture in its place: no machine of CI has a camera."""

    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        return DeviceSource("lavfi", "testsrc=size=320x240:rate=20,realtime", {})


class TestStillsGoneThrough(FrameSourceContract):
    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> FrameSource:
        for n in range(15):
            cv2.imwrite(str(tmp_path / f"{n:03d}.jpg"), scene(n))
        return StillsSource(
            StillsSettings(directory=tmp_path, follow=False, every_s=0.5), clock=ManualClock()
        )


class TestStillsFollowed(FrameSourceContract):
    """A camera that uploads a picture every 50 ms, as the clock of their files says."""

    @pytest.fixture
    def source(self, server: RtspServer, tmp_path: Path) -> Iterator[FrameSource]:
        cv2.imwrite(str(tmp_path / "before.png"), scene(0))
        began_ns = SystemClock().now_ms() * 1_000_000
        done = threading.Event()

        def upload() -> None:
            for n in range(400):
                if done.wait(0.02):
                    return
                part, path = tmp_path / f"{n:03d}.part", tmp_path / f"{n:03d}.jpg"
                part.write_bytes(cv2.imencode(".jpg", scene(n))[1].tobytes())
                os.utime(part, ns=(0, began_ns + n * 50_000_000 - 60_000_000_000))
                part.rename(path)

        thread = threading.Thread(target=upload)
        thread.start()
        yield StillsSource(StillsSettings(directory=tmp_path, every_s=0.05))
        done.set()
        thread.join()
