"""What a file as a camera must do besides what all cameras must (``tests/contract/test_camera_contract.py``)."""

from __future__ import annotations

import random
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from common.runtime.clock import ManualClock
from edge.camera.file import FileSource
from edge.camera.source import CameraError, CameraLostError
from edge.camera.usb import DeviceSource
from tests.fixtures.codecs import of_unknown_codec
from tests.fixtures.vision import BIKES


def _play(path: Path) -> tuple[int, int]:
    with FileSource(path, paced=False) as source:
        count = sum(1 for _ in source.frames())
        return count, source.corrupt


def test_a_file_gives_every_frame_it_has() -> None:
    assert _play(BIKES) == (250, 0)


def test_stream_time_is_the_start_plus_the_presentation_time() -> None:
    clock = ManualClock(now_ms=1_000_000)
    with FileSource(BIKES, paced=False, clock=clock) as source:
        times = [frame.captured_at for frame in source.frames()]
    assert times[:3] == [1_000_000, 1_000_040, 1_000_080]
    assert times[-1] == 1_000_000 + 249 * 40


def test_a_paced_file_takes_as_long_as_it_was_filmed() -> None:
    clock = ManualClock(now_ms=0)
    with FileSource(BIKES, clock=clock) as source:
        for frame in source.frames():
            assert clock.now_ms() == pytest.approx(frame.captured_at, abs=1)
    assert clock.monotonic() == pytest.approx(249 * 0.04, abs=0.01)


def test_a_looped_file_goes_on_for_ever_with_time_and_numbers_growing() -> None:
    with FileSource(BIKES, paced=False, loop=True, clock=ManualClock(now_ms=0)) as source:
        frames = []
        for frame in source.frames():
            frames.append((frame.n, frame.captured_at))
            if frame.n == 620:
                source.stop()
    assert frames == [(n, n * 40) for n in range(621)]


def _without_file(directory: Path) -> Path:
    return directory / "missing.mp4"


def _directory(directory: Path) -> Path:
    return directory


def _empty(directory: Path) -> Path:
    path = directory / "empty.mp4"
    path.touch()
    return path


def _text(directory: Path) -> Path:
    path = directory / "letter.mp4"
    path.write_text("no pictures here\n" * 500, encoding="utf-8")
    return path


def _half(directory: Path) -> Path:
    path = directory / "half.mp4"
    path.write_bytes(BIKES.read_bytes()[:250_000])
    return path


def _sound(directory: Path) -> Path:
    path = directory / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0" * 16000)
    return path


def _foreign(directory: Path) -> Path:
    path = directory / "foreign.mp4"
    path.write_bytes(of_unknown_codec())
    return path


@pytest.mark.parametrize(
    ("make", "code", "found"),
    [
        (_without_file, "camera.missing", "found nothing"),
        (_directory, "camera.missing", "found a directory"),
        (_empty, "camera.corrupt", "found 0 bytes"),
        (_text, "camera.not_video", "Invalid data"),
        (_half, "camera.not_video", "Invalid data"),
        (_sound, "camera.not_video", "found: audio"),
        (_foreign, "camera.codec", "does not know"),
    ],
)
def test_what_is_no_video_is_refused_with_its_name_what_was_found_and_what_to_do(
    tmp_path: Path, make: Callable[[Path], Path], code: str, found: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(CameraError) as caught, FileSource(path):
        pass
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert found in caught.value.message
    assert caught.value.hint


def test_a_live_camera_of_an_unknown_codec_may_be_set_otherwise_yet(tmp_path: Path) -> None:
    path = _foreign(tmp_path)
    with pytest.raises(CameraLostError) as caught, DeviceSource("mp4", str(path), {}):
        pass
    assert caught.value.code == "camera.codec"
    assert str(path) in caught.value.message
    assert "H.264" in caught.value.hint


def test_a_live_camera_that_answers_without_video_is_asked_again(tmp_path: Path) -> None:
    """So does one that is starting, or a relay whose camera is."""
    with pytest.raises(CameraLostError) as caught, DeviceSource("wav", str(_sound(tmp_path)), {}):
        pass
    assert caught.value.code == "camera.not_video"
    assert "again" in caught.value.hint


def _damaged(tmp_path: Path, begin: int, end: int) -> Path:
    content = bytearray(BIKES.read_bytes())
    content[begin:end] = random.Random(1).randbytes(end - begin)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    return path


def test_damage_midway_costs_the_damaged_frames_and_is_counted(tmp_path: Path) -> None:
    count, corrupt = _play(_damaged(tmp_path, 200_000, 260_000))
    assert corrupt > 0
    assert 200 <= count < 250
    assert count + corrupt <= 251


def test_time_goes_on_across_damaged_frames(tmp_path: Path) -> None:
    with FileSource(_damaged(tmp_path, 200_000, 260_000), paced=False, clock=ManualClock(0)) as source:
        times = [frame.captured_at for frame in source.frames()]
    assert times == sorted(set(times))
    assert times[-1] == 249 * 40


@pytest.mark.parametrize("loop", [False, True])
def test_a_wholly_corrupt_video_is_one_clear_error(tmp_path: Path, *, loop: bool) -> None:
    path = _damaged(tmp_path, 48, 506_000)
    with FileSource(path, paced=False, loop=loop) as source, pytest.raises(CameraError) as caught:
        list(source.frames())
    assert caught.value.code == "camera.corrupt"
    assert str(path) in caught.value.message
