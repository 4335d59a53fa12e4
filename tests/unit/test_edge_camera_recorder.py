"""Clips of streams that misbehave: their clock is set, they never rest, they end, or nobody can copy them."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import cast

import av
import pytest
import structlog
from av.packet import Packet
from av.video.stream import VideoStream

from edge.camera.recorder import Recorder, holds_picture
from tests.fixtures.rtsp import encode, scene

FPS = 10
GOP = 10


class Stream:
    """Packets of a stream at ten a second, for as long as anybody wants, each at the instant it is given."""

    def __init__(self, codec: str = "libx264", container: str = "matroska") -> None:
        file = io.BytesIO()
        with av.open(file, "w", format=container) as made:
            stream = cast("VideoStream", made.add_stream(codec, rate=FPS))
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if codec == "libx264":
                stream.codec_context.options = {"preset": "ultrafast", "tune": "zerolatency"}
            for number in range(GOP):
                frame = av.VideoFrame.from_ndarray(scene(number, 64, 48), format="bgr24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                made.mux(stream.encode(frame))
            made.mux(stream.encode(None))
        file.seek(0)
        self._container = av.open(file, "r")
        self.stream: VideoStream = self._container.streams.video[0]
        self._packets = [packet for packet in self._container.demux(self.stream) if packet.size]

    def packet(self, number: int, at_ms: int) -> Packet[VideoStream]:
        """The packet of this place in the stream, at that instant."""
        source = self._packets[number % GOP]
        packet = cast("Packet[VideoStream]", Packet(bytes(source)))
        packet.pts = packet.dts = at_ms
        packet.time_base = Fraction(1, 1000)
        packet.is_keyframe = number % GOP == 0
        return packet


class Clips:
    """What a recorder made."""

    def __init__(self, before_s: float = 2.0, after_s: float = 3.0, most: int = 10**7) -> None:
        self.made: list[tuple[tuple[str, ...], bytes]] = []
        self.recorder = Recorder(before_s, after_s, most, lambda names, file: self.made.append((names, file)))

    @property
    def names(self) -> list[tuple[str, ...]]:
        """Of each clip."""
        return [names for names, _ in self.made]

    def lasts(self, number: int) -> float:
        """Seconds of a clip, all of whose pictures can be decoded."""
        with av.open(io.BytesIO(self.made[number][1]), "r") as container:
            times = [frame.time for frame in container.decode(video=0)]
        return times[-1] - times[0]


@pytest.fixture(scope="module")
def stream() -> Stream:
    return Stream()


def _play(
    clips: Clips, stream: Stream, numbers: range, *, begins_ms: int = 0, asked: dict[int, str] | None = None
) -> None:
    for number in numbers:
        clips.recorder.packet(stream.packet(number, begins_ms + number * 100), stream.stream)
        if asked and number in asked:
            clips.recorder.ask(asked[number])


def test_where_one_moment_follows_the_other_all_day_clips_end_and_others_begin(stream: Stream) -> None:
    """A lane that somebody goes the wrong way along every two seconds: one clip for all would fill the memory."""
    clips = Clips()
    asked = {number: f"act-{number}" for number in range(20, 6000, 20)}
    _play(clips, stream, range(6100), asked=asked)
    assert len(clips.made) >= 5
    assert [name for names in clips.names for name in names] == list(asked.values())
    assert all(clips.lasts(number) <= 122 for number in range(len(clips.made)))


def test_a_clip_has_a_limit_in_bytes_too(stream: Stream) -> None:
    clips = Clips(after_s=60, most=20_000)
    _play(clips, stream, range(700), asked={20: "one"})
    ((_, file),) = clips.made
    assert len(file) < 120_000


@pytest.mark.parametrize("step_ms", [-86_400_000, -30_000, -5_000, 60_000])
def test_a_stream_whose_clock_is_set_ends_its_clip_there_and_has_the_next_one_after(
    stream: Stream, step_ms: int
) -> None:
    """Otherwise the clip would last until the old time comes again, and swallow whatever happens until then."""
    clips = Clips()
    _play(clips, stream, range(40), asked={30: "before"})
    _play(clips, stream, range(40, 120), begins_ms=step_ms, asked={60: "after"})
    assert clips.names == [("before",), ("after",)]
    assert 2 <= clips.lasts(0) <= 4
    assert 4 <= clips.lasts(1) <= 6.5


@pytest.mark.parametrize("stumble_ms", [0, -40, -700])
def test_times_that_are_said_twice_or_a_little_too_early_cost_no_clip(
    stream: Stream, stumble_ms: int
) -> None:
    clips = Clips()
    for number in range(100):
        at = number * 100 if number != 35 else 3400 + stumble_ms
        clips.recorder.packet(stream.packet(number, at), stream.stream)
        if number == 30:
            clips.recorder.ask("one")
    assert clips.names == [("one",)]
    assert clips.lasts(0) >= 4


def test_a_camera_that_is_torn_down_leaves_the_seconds_before(stream: Stream) -> None:
    """What is said of its last picture is asked for when no packet comes any more."""
    clips = Clips()
    _play(clips, stream, range(40))
    clips.recorder.ask("torn down")
    clips.recorder.end()
    assert clips.names == [("torn down",)]
    assert clips.lasts(0) >= 1.5
    clips.recorder.end()
    assert len(clips.made) == 1


def test_a_stream_that_cannot_be_copied_is_said_once_and_nobodys_wish_is_kept() -> None:
    jpeg, clips = Stream("mjpeg"), Clips()
    with structlog.testing.capture_logs() as logs:
        _play(clips, jpeg, range(50), asked={number: f"act-{number}" for number in range(50)})
    assert [line["codec"] for line in logs if line["event"] == "clip.codec"] == ["mjpeg"]
    assert clips.made == []
    assert len(clips.recorder._asked) <= 1


@pytest.mark.parametrize(("codec", "other"), [("h264", "hevc"), ("hevc", "h264")])
def test_pictures_of_one_codec_are_none_of_the_other(codec: str, other: str) -> None:
    encoders = {"h264": "libx264", "hevc": "libx265"}
    units = encode((scene(n, 64, 48) for n in range(25)), codec=encoders[codec])
    assert all(holds_picture(unit.content, codec) for unit in units)
    assert not any(holds_picture(unit.content, other) for unit in units)


def test_a_clip_is_of_one_codec_though_the_camera_changes_it_without_a_word() -> None:
    """What the stream's description still calls H.264 is H.265 from the middle of the clip on."""
    clips, sent = Clips(after_s=10), Stream(container="h264")
    units = encode(scene(n, 64, 48) for n in range(30))
    units += encode((scene(n, 64, 48) for n in range(20)), codec="libx265")
    for number, unit in enumerate(units):
        packet = cast("Packet[VideoStream]", Packet(unit.content))
        packet.pts = packet.dts = number * 100
        packet.time_base = Fraction(1, 1000)
        packet.is_keyframe = number % GOP == 0
        clips.recorder.packet(packet, sent.stream)
        if number == 25:
            clips.recorder.ask("one")
    clips.recorder.end()
    ((_, file),) = clips.made
    with av.open(io.BytesIO(file), "r") as container:
        assert len([packet for packet in container.demux(video=0) if packet.size]) == 30
    assert 2.5 <= clips.lasts(0) <= 3.5
