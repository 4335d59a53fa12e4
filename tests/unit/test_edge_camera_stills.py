"""A folder of pictures of every kind that cameras write, whole, half there, from another machine's clock, or no picture."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from common.runtime.clock import ManualClock, SystemClock
from edge.camera.file import FileSource
from edge.camera.frame import Frame, Image
from edge.camera.source import CameraError, CameraLostError
from edge.camera.stills import StillsSettings, StillsSource
from tests.fixtures.edge_gateway import eventually
from tests.fixtures.rtsp import scene


def _through(directory: Path) -> tuple[list[Frame], int]:
    """All pictures of a folder, and how many were none."""
    with StillsSource(StillsSettings(directory=directory, follow=False), clock=ManualClock()) as source:
        return list(source.frames()), source.corrupt


def _png(directory: Path, name: str, picture: NDArray[Any]) -> None:
    assert cv2.imwrite(str(directory / name), picture)


def test_grey_deep_transparent_and_odd_pictures_become_plain_ones(tmp_path: Path) -> None:
    plain = scene(3)
    grey = cv2.cvtColor(plain, cv2.COLOR_BGR2GRAY)
    _png(tmp_path, "1-plain.png", plain)
    _png(tmp_path, "2-grey.png", grey)
    _png(tmp_path, "3-deep.png", plain.astype(np.uint16) * 257)
    _png(tmp_path, "4-deep-grey.png", grey.astype(np.uint16) * 257)
    _png(tmp_path, "5-transparent.png", cv2.cvtColor(plain, cv2.COLOR_BGR2BGRA))
    _png(tmp_path, "6-odd.png", plain[:239, :317])
    _png(tmp_path, "7-grey.jpg", grey)
    frames, corrupt = _through(tmp_path)
    assert corrupt == 0
    assert [frame.image.dtype for frame in frames] == [np.uint8] * 7
    assert [frame.image.shape for frame in frames] == [
        (239, 317, 3) if place == 5 else (240, 320, 3) for place in range(7)
    ]
    for place in (2, 4):
        assert np.abs(frames[place].image.astype(int) - plain).max() <= 1
    for place in (1, 3, 6):
        assert np.abs(frames[place].image.astype(int) - grey[..., None]).mean() <= 3


def test_a_cmyk_jpeg_is_a_picture_too(tmp_path: Path) -> None:
    (tmp_path / "cmyk.jpg").write_bytes(_cmyk())
    (frame,), corrupt = _through(tmp_path)
    assert corrupt == 0
    assert frame.image.shape == (16, 16, 3)


def _cmyk() -> bytes:
    """The least JPEG of four components: 16 x 16, each component flat (ITU-T T.81, baseline, one block table)."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body

    quantised = segment(0xDB, b"\x00" + bytes([1] * 64))
    frame = segment(0xC0, bytes([8, 0, 16, 0, 16, 4]) + b"".join(bytes([n, 0x11, 0]) for n in (1, 2, 3, 4)))
    # One code of one bit each: "0" says that a difference is nought, and that a block has ended.
    table = bytes([1] + [0] * 15) + b"\x00"
    huffman = segment(0xC4, b"\x00" + table) + segment(0xC4, b"\x10" + table)
    scan = segment(0xDA, bytes([4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]))
    adobe = segment(0xEE, b"Adobe" + bytes([0, 100, 0, 0, 0, 0, 0]))
    blocks = 4 * 4
    return b"\xff\xd8" + adobe + quantised + frame + huffman + scan + bytes(blocks * 2 // 8) + b"\xff\xd9"


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_half_a_picture_is_none(tmp_path: Path, kept: float) -> None:
    """Its lower part would be grey: no car, no water, nobody."""
    for suffix in (".jpg", ".png", ".bmp", ".webp"):
        whole = cv2.imencode(suffix, scene(1))[1].tobytes()
        (tmp_path / f"half{suffix}").write_bytes(whole[: round(len(whole) * kept)])
    _png(tmp_path, "whole.jpg", scene(1))
    frames, corrupt = _through(tmp_path)
    assert (len(frames), corrupt) == (1, 4)


def test_a_thumbnail_is_no_end_of_the_picture_and_what_follows_the_end_is_no_harm(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", scene(1))[1].tobytes()
    small = cv2.imencode(".jpg", scene(1)[::4, ::4])[1].tobytes()
    with_thumbnail = whole[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + whole[2:]
    (tmp_path / "1.jpg").write_bytes(with_thumbnail)
    (tmp_path / "2.jpg").write_bytes(with_thumbnail[: -len(whole) // 2])
    (tmp_path / "3.jpg").write_bytes(whole + bytes(500))
    frames, corrupt = _through(tmp_path)
    assert (len(frames), corrupt) == (2, 1)


def test_a_dot_is_no_view_and_a_tower_none_that_can_be_told_of(tmp_path: Path) -> None:
    """A tracking pixel, or a counter: it would be looked at, and nothing found."""
    _png(tmp_path, "dot.png", np.zeros((1, 1, 3), np.uint8))
    _png(tmp_path, "line.png", np.zeros((2, 3000, 3), np.uint8))
    _png(tmp_path, "tower.png", np.zeros((21_000, 20, 3), np.uint8))
    _png(tmp_path, "view.png", scene(0))
    frames, corrupt = _through(tmp_path)
    assert (len(frames), corrupt) == (1, 3)


def test_a_place_that_cannot_be_looked_into_is_an_error_of_its_camera(tmp_path: Path) -> None:
    """The operating system's own error would end the whole box."""
    nowhere = tmp_path / ("x" * 300)
    for follow, error in ((True, CameraLostError), (False, CameraError)):
        settings = StillsSettings(directory=nowhere, follow=follow)
        with pytest.raises(error, match="name too long"), StillsSource(settings):
            pass
    with pytest.raises(CameraError, match="name too long"), FileSource(nowhere):
        pass


def test_a_followed_folder_that_goes_and_comes_back_is_lost_for_that_time_and_not_for_good(
    tmp_path: Path,
) -> None:
    """A disk that is unmounted, an uploader that makes its folder anew: it is tried again."""
    uploads = tmp_path / "uploads"
    settings = StillsSettings(directory=uploads)
    for _ in range(2):
        with pytest.raises(CameraLostError) as caught, StillsSource(settings):
            pass
        assert caught.value.code == "camera.missing"
        assert "found nothing" in caught.value.message
        assert "again" in caught.value.hint
        uploads.mkdir()
        with StillsSource(settings) as source:
            uploads.rmdir()
            with pytest.raises(CameraLostError, match="No such file"):
                next(source.frames())


def _upload(directory: Path, *numbers: int) -> None:
    """Whole, each at an instant of its own, the higher the later."""
    for number in numbers:
        part = directory / f"{number}.part"
        part.write_bytes(cv2.imencode(".png", scene(number))[1].tobytes())
        os.utime(part, ns=(0, (1_767_225_600 + number) * 1_000_000_000))
        part.rename(directory / f"{number}.png")


def _numbers(settings: StillsSettings) -> list[int]:
    """Of the pictures that one opening gives until the folder is stalled."""
    with StillsSource(settings, clock=ManualClock(now_ms=1_800_000_000_000)) as source:
        found: list[Frame] = []
        with pytest.raises(CameraLostError, match="got none for 5 s"):
            _collect(source, found)
    return [frame.captured_at // 1000 - 1_767_225_600 for frame in found]


def test_pictures_that_came_while_the_folder_was_stalled_come_at_the_next_opening_and_none_twice(
    tmp_path: Path,
) -> None:
    settings = StillsSettings(directory=tmp_path, stalled_s=5)
    _upload(tmp_path, 1, 2)
    assert _numbers(settings) == []
    _upload(tmp_path, 3, 4)
    assert _numbers(settings) == [3, 4]
    assert _numbers(settings) == []
    _upload(tmp_path, 5)
    assert _numbers(settings) == [5]
    # A box that was started anew begins with what comes from then on.
    assert _numbers(StillsSettings(directory=tmp_path, stalled_s=5)) == []


@pytest.mark.parametrize("place", ["kept", "gone"])
def test_of_a_disk_that_was_unmounted_only_what_is_new_comes(tmp_path: Path, place: str) -> None:
    """An unmounted disk is an empty folder, or none."""
    uploads, disk = tmp_path / "uploads", tmp_path / "disk"
    settings = StillsSettings(directory=uploads, stalled_s=5)
    uploads.mkdir()
    _upload(uploads, 1, 2)
    assert _numbers(settings) == []
    uploads.rename(disk)
    if place == "kept":
        uploads.mkdir()
        assert _numbers(settings) == []
        uploads.rmdir()
    else:
        with pytest.raises(CameraLostError), StillsSource(settings):
            pass
    _upload(disk, 3)
    disk.rename(uploads)
    assert _numbers(settings) == [3]


@contextmanager
def _followed(directory: Path) -> Iterator[list[Frame]]:
    """What comes of a followed folder."""
    source = StillsSource(StillsSettings(directory=directory))
    found: list[Frame] = []
    with source:
        thread = threading.Thread(target=_collect, args=(source, found))
        thread.start()
        try:
            yield found
        finally:
            source.stop()
            thread.join(30)


def _collect(source: StillsSource, found: list[Frame]) -> None:
    for frame in source.frames():  # each as it comes
        found.append(frame)  # noqa: PERF402


def test_a_picture_from_a_clock_that_is_ahead_comes_at_once_and_not_when_that_time_has_come(
    tmp_path: Path,
) -> None:
    with _followed(tmp_path) as found:
        _png(tmp_path, "ahead.png", scene(0))
        ahead = SystemClock().now_ms() + 8 * 3_600_000
        os.utime(tmp_path / "ahead.png", ns=(0, ahead * 1_000_000))
        eventually(lambda: len(found) == 1, 30)
        assert found[0].captured_at <= SystemClock().now_ms()


def test_a_picture_that_still_grows_is_waited_for(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", scene(2))[1].tobytes()
    path = tmp_path / "slow.jpg"
    with _followed(tmp_path) as found:
        with path.open("wb") as file:
            for begin in range(0, len(whole), len(whole) // 8 + 1):
                file.write(whole[begin : begin + len(whole) // 8 + 1])
                file.flush()
                SystemClock().sleep(0.1)
        eventually(lambda: bool(found), 30)
    assert len(found) == 1
    assert _alike(found[0].image, scene(2))


def _alike(first: Image, second: Image) -> bool:
    return float(np.abs(first.astype(int) - second).mean()) < 8


def test_instants_go_back_with_the_boxs_clock(tmp_path: Path) -> None:
    """The clock was eight hours ahead until a time service set it right: pictures are not of the future until then."""
    now = SystemClock().now_ms()
    with _followed(tmp_path) as found:
        for number, at in enumerate((now - 1000, now - 8 * 3_600_000, now - 8 * 3_600_000 + 500)):
            part = tmp_path / f"{number}.part"
            part.write_bytes(cv2.imencode(".png", scene(number))[1].tobytes())
            os.utime(part, ns=(0, at * 1_000_000))
            part.rename(tmp_path / f"{number}.png")
            eventually(lambda count=number + 1: len(found) == count, 30)  # type: ignore[misc]
    apart = [after.captured_at - before.captured_at for before, after in itertools.pairwise(found)]
    assert apart == [-8 * 3_600_000 + 1000, 500]
