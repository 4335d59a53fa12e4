"""The reading thread keeps the newest frame and passes on how its camera ends."""

from __future__ import annotations

import threading
import time

import pytest

from edge.camera.latest import LatestFrame
from edge.camera.source import CameraError
from tests.fixtures.vision import SyntheticSource


def _wait_for_reads(reader: LatestFrame, count: int) -> None:
    deadline = time.monotonic() + 60
    while reader.read < count:
        assert time.monotonic() < deadline, f"expected {count} frames read, got {reader.read}"
        time.sleep(0.002)


def test_the_newest_frame_wins_and_the_others_are_counted_as_dropped() -> None:
    gate = threading.Semaphore(0)
    with LatestFrame(SyntheticSource(20, gate=gate)) as reader:
        gate.release(7)
        _wait_for_reads(reader, 7)
        frame = reader.take(1.0)
        assert frame is not None
        assert frame.n == 6
        assert reader.dropped == 6
        assert reader.take(0.01) is None
        assert not reader.ended


def test_nothing_is_dropped_when_all_frames_are_wanted() -> None:
    with LatestFrame(SyntheticSource(50), keep_all=True) as reader:
        numbers = []
        while (frame := reader.take(5.0)) is not None:
            numbers.append(frame.n)
        assert numbers == list(range(50))
        assert reader.dropped == 0
        assert reader.ended


def test_the_end_of_a_source_is_said_once_its_last_frame_was_taken() -> None:
    with LatestFrame(SyntheticSource(3)) as reader:
        _wait_for_reads(reader, 3)
        last = reader.take(5.0)
        assert last is not None
        assert last.n == 2
        assert reader.take(5.0) is None
        assert reader.ended


def test_the_sources_error_comes_after_its_last_frame() -> None:
    error = CameraError("camera.corrupt", "expected frames, got none", "look at it")
    with LatestFrame(SyntheticSource(2, error=error)) as reader:
        _wait_for_reads(reader, 2)
        assert reader.take(5.0) is not None
        with pytest.raises(CameraError, match="expected frames"):
            reader.take(5.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_thread_is_not_taken_for_the_end() -> None:
    source = SyntheticSource(0, error=ZeroDivisionError("a bug"))
    with LatestFrame(source) as reader, pytest.raises(RuntimeError, match="ZeroDivisionError") as raised:
        reader.take(5.0)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("keep_all", [False, True])
def test_stopping_ends_the_thread_and_closes_the_source(*, keep_all: bool) -> None:
    source = SyntheticSource(100_000)
    reader = LatestFrame(source, "gate-camera", keep_all=keep_all).start()
    assert reader.take(5.0) is not None
    reader.stop()
    assert not source.is_open
    assert not any(thread.name == "read-gate-camera" for thread in threading.enumerate())


def test_a_reader_that_was_never_started_can_be_stopped() -> None:
    LatestFrame(SyntheticSource(1)).stop()
