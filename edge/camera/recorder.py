"""A stream's packets around a moment, copied into a file as they came: nothing is decoded or encoded again.

A clip is of one codec: packets that hold no picture of the codec that the stream announced are left out, for some
cameras change it without a word.
"""

from __future__ import annotations

import io
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, cast

import av
import av.error
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from common.runtime.log import get_logger

_CODECS: Final = {"h264", "hevc"}
_UNIT: Final = re.compile(rb"\x00\x00\x01(..)", re.DOTALL)
"""How a unit of a byte stream begins (ITU-T H.264 and H.265, annex B), and its header."""
_LONGEST_S: Final = 120.0
"""Of a clip: where one moment follows the other all day, a later one begins a clip of its own."""
_CLIP_SHARE: Final = 4
"""A clip may have so many times the bytes that are kept for its beginning."""
_STEP_BACK_S: Final = 1.0
_STEP_ON_S: Final = 10.0
"""A stream whose clock goes back or on by more than these is not joined on to what was before."""
_log = get_logger("recorder")


@dataclass(frozen=True, slots=True)
class _Kept:
    """A packet's content and times; a packet itself is changed by being written."""

    content: bytes
    pts: int
    dts: int
    base: Fraction
    key: bool

    @property
    def at(self) -> float:
        return float(self.pts * self.base)

    @property
    def decoded_at(self) -> float:
        return float(self.dts * self.base)


class Recorder:
    """Keeps the last seconds of one stream, and on demand writes them and what follows as MP4.

    All but :meth:`ask` runs in the thread that reads the camera.

    Args:
        before_s: how much before the moment; the key frame before that comes along.
        after_s: how much after it. A moment within a clip becomes a part of it, until that is two minutes long.
        most_bytes: of packets kept, and a quarter of what a clip may have; a stream that needs more keeps fewer seconds.
        done: given the names that were asked for and the file.
    """

    def __init__(
        self,
        before_s: float,
        after_s: float,
        most_bytes: int,
        done: Callable[[tuple[str, ...], bytes], None],
    ) -> None:
        self._before_s = before_s
        self._after_s = after_s
        self._most_bytes = most_bytes
        self._done = done
        self._ring: deque[_Kept] = deque()
        self._held = 0
        self._asked: list[str] = []
        self._lock = threading.Lock()
        self._writing: _Writer | None = None
        self._template: VideoStream | None = None
        self._last: _Kept | None = None
        self._declined = ""

    @property
    def held_bytes(self) -> int:
        """Of packets kept."""
        return self._held

    def ask(self, name: str) -> None:
        """Want a clip of now, under a name; from any thread."""
        with self._lock:
            self._asked.append(name)

    def packet(self, packet: Packet[VideoStream], stream: VideoStream) -> None:
        """Take in the next packet of the stream."""
        if stream.codec_context.name not in _CODECS:
            self._decline(stream.codec_context.name)
            return
        if packet.pts is None or packet.time_base is None:
            return
        content = bytes(packet)
        if _is_byte_stream(stream) and not holds_picture(content, stream.codec_context.name):
            return
        dts = packet.pts if packet.dts is None else packet.dts
        kept = _Kept(content, packet.pts, dts, packet.time_base, packet.is_keyframe)
        if self._breaks_off(kept):
            self.end()
            self._forget()
        self._last, self._template = kept, stream
        self._begin()
        self._keep(kept)
        if self._writing is not None:
            self._writing.write(kept)
            if kept.at >= self._writing.until or self._writing.size > _CLIP_SHARE * self._most_bytes:
                self._finish()

    def end(self) -> None:
        """The camera is gone, or its clock was set: finish what was asked for with what there is."""
        self._begin()
        self._finish()

    def _begin(self) -> None:
        """Begin a clip where one is wanted, or go on with the one being written."""
        with self._lock:
            # Without a key frame yet there is nothing a clip could begin with: what is asked for waits.
            if not self._asked or not (self._ring or self._writing):
                return
            asked, self._asked = self._asked, []
        assert self._last is not None
        assert self._template is not None
        until = self._last.at + self._after_s
        if self._writing is not None and self._ring and until > self._writing.began + _LONGEST_S:
            self._finish()
        if self._writing is None:
            self._writing = _Writer(self._template, list(self._ring))
        self._writing.extend(asked, until)

    def _finish(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None and (content := writing.close()):
            self._done(tuple(writing.names), content)

    def _decline(self, codec: str) -> None:
        """There are no clips of this stream: say so once, and remember nobody's wish."""
        if codec != self._declined:
            self._declined = codec
            _log.warning(
                "clip.codec",
                codec=codec,
                hint="clips are copied, which goes with H.264 and H.265: set the camera to one of them",
            )
        with self._lock:
            self._asked.clear()

    def _breaks_off(self, kept: _Kept) -> bool:
        """Whether the stream's clock was set before this packet."""
        if self._last is None:
            return False
        step = kept.decoded_at - self._last.decoded_at
        return not -_STEP_BACK_S <= step <= _STEP_ON_S

    def _forget(self) -> None:
        self._ring.clear()
        self._held = 0

    def _keep(self, kept: _Kept) -> None:
        if not self._ring and not kept.key:
            return
        self._ring.append(kept)
        self._held += len(kept.content)
        while (second := self._second_key()) is not None and (
            self._ring[second].at <= kept.at - self._before_s or self._held > self._most_bytes
        ):
            for _ in range(second):
                self._held -= len(self._ring.popleft().content)
        if self._held > self._most_bytes:
            self._forget()

    def _second_key(self) -> int | None:
        return next((n for n, one in enumerate(self._ring) if n and one.key), None)


class _Writer:
    """One MP4 in memory."""

    def __init__(self, template: VideoStream, past: list[_Kept]) -> None:
        self.names: list[str] = []
        self.size = 0
        self._file = io.BytesIO()
        self._failed = False
        self._container: OutputContainer = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream_from_template(template, opaque=True)
        self.began = self.until = past[0].at
        self._begins = past[0].dts
        self._last_dts = -1
        for one in past:
            self.write(one)

    def extend(self, names: list[str], until: float) -> None:
        """Go on until then, also for these."""
        self.names += names
        self.until = max(self.until, until)

    def write(self, one: _Kept) -> None:
        """Copy a packet."""
        if self._failed:
            return
        packet = cast("Packet[VideoStream]", Packet(one.content))
        # MP4 wants times that grow; cameras now and then say one twice, or a little too early.
        packet.dts = self._last_dts = max(one.dts - self._begins, self._last_dts + 1)
        packet.pts = max(one.pts - self._begins, packet.dts)
        packet.time_base, packet.is_keyframe = one.base, one.key
        packet.stream = self._stream
        self.size += len(one.content)
        try:
            self._container.mux(packet)
        except (av.error.FFmpegError, ValueError) as error:
            self._fail(error)

    def close(self) -> bytes:
        """The file; empty when it could not be written."""
        try:
            self._container.close()
        except (av.error.FFmpegError, ValueError) as error:
            self._fail(error)
        return b"" if self._failed else self._file.getvalue()

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            _log.warning("clip.not_written", error=repr(error), hint="the stream's times do not suit MP4")
        self._failed = True


def _is_byte_stream(stream: VideoStream) -> bool:
    """Whether its units begin with a mark, as cameras send them, and not with their length, as they stand in files."""
    return not (stream.codec_context.extradata or b"").startswith(b"\x01")


def holds_picture(content: bytes, codec: str) -> bool:
    """Whether a packet holds a part of a picture of this codec, as far as that can be told.

    Units of one codec read as the other's are none: the first byte of a header is odd in H.264's pictures (type 1 or 5 in
    its lower five bits) and even in all that cameras send as H.265 (its last bit is of the layer's number, which is 0).

    Args:
        content: of the packet, as a byte stream.
        codec: ``h264`` or ``hevc``.
    """
    headers = [found[1] for found in _UNIT.finditer(content)]
    if codec == "h264":
        return any(header[0] & 0x80 == 0 and header[0] & 0x1F in {1, 5} for header in headers)
    base = all(header[0] & 1 == 0 and header[1] >> 3 == 0 for header in headers)
    return base and any(header[0] >> 1 < 32 for header in headers)
