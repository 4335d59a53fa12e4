"""Decoding less while nothing moves, and all of it again at once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from edge.camera.decoder import Decoder
from edge.camera.frame import Image
from tests.fixtures.rtsp import scene


def _still(n: int) -> Image:
    return scene(0)


def _startled(n: int) -> Image:
    """Rest, but for a moment in which everything moves."""
    return scene(n * 9)[:, ::-1].copy() if 70 <= n < 76 else scene(0)


def _video(
    path: Path,
    picture: Callable[[int], Image],
    gop: int,
    count: int = 120,
    keys: Collection[int] = (),
    **options: str,
) -> Path:
    """Ten frames a second in a file with times; with ``keys`` those are key frames too."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 320, 240, "yuv420p", gop
        stream.codec_context.options = {
            "preset": "ultrafast",
            "x264-params": "scenecut=0:threads=1",
            "forced-idr": "1",
        } | options
        for n in range(count):
            frame = av.VideoFrame.from_ndarray(picture(n), format="bgr24")
            frame.pts, frame.time_base = n, Fraction(1, 10)
            if n in keys:
                frame.pict_type = PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _play(path: Path, resting: range) -> tuple[list[tuple[int, Image]], Decoder]:
    """What came out, numbered by its own time, resting during those packets."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = Decoder(stream.codec_context)
        shown = []
        for n, packet in enumerate(container.demux(stream)):
            decoder.rest(n in resting)
            for frame in decoder.decode(packet):
                assert frame.time is not None
                shown.append((round(frame.time * 10), frame.to_ndarray(format="bgr24").astype(np.uint8)))
    return shown, decoder


def test_awake_every_frame_is_decoded(tmp_path: Path) -> None:
    shown, decoder = _play(_video(tmp_path / "a.mp4", scene, 20), range(0))
    assert [n for n, _ in shown] == list(range(120))
    assert (decoder.corrupt, decoder.skipped) == (0, 0)


@pytest.mark.parametrize("tune", ["zerolatency", "film"])
def test_resting_key_frames_alone_are_decoded_and_at_once(tmp_path: Path, tune: str) -> None:
    """Also where the encoder reorders frames, so that the decoder would hold them back."""
    shown, decoder = _play(_video(tmp_path / "a.mp4", _still, 10, tune=tune, preset="medium"), range(40, 100))
    resting = [n for n, _ in shown if 45 <= n < 95]
    assert resting == [50, 60, 70, 80, 90]
    assert decoder.skipped >= 50
    assert decoder.corrupt == 0


@pytest.mark.parametrize("tune", ["zerolatency", "film"])
def test_when_rest_is_over_frames_are_whole_again_at_once(tmp_path: Path, tune: str) -> None:
    path = _video(tmp_path / "a.mp4", scene, 20, tune=tune, preset="medium")
    whole = dict(_play(path, range(0))[0])
    shown, _ = _play(path, range(40, 87))
    after = [(n, image) for n, image in shown if n > 90]
    assert [n for n, _ in after] == list(range(91, 120))
    assert all(np.array_equal(image, whole[n]) for n, image in after)


def test_a_burst_wakes_before_the_next_key_frame(tmp_path: Path) -> None:
    shown, _ = _play(_video(tmp_path / "a.mp4", _startled, 25, tune="zerolatency"), range(200))
    assert any(70 <= n < 75 for n, _ in shown)


def test_with_key_frames_far_apart_there_is_no_rest(tmp_path: Path) -> None:
    shown, decoder = _play(_video(tmp_path / "a.mp4", _still, 50), range(200))
    assert len(shown) == 120
    assert decoder.skipped == 0


def test_where_key_frames_grow_rarer_while_nothing_moves_rest_ends(tmp_path: Path) -> None:
    """Cameras save so at night: the stream would pass for one that cannot be decoded."""
    path = _video(tmp_path / "a.mp4", _still, 1000, keys=(0, 20, 40, 60))
    shown, decoder = _play(path, range(45, 200))
    numbers = [n for n, _ in shown]
    assert [n for n in numbers if 60 <= n < 85] == [60]
    assert max(after - before for before, after in pairwise(numbers)) <= 26
    assert numbers[-1] == 119
    assert decoder.corrupt == 0
