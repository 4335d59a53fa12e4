"""Decoding only what is needed: every frame while something moves, key frames while nothing does."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Final

import av.error
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_LONGEST_REST_S: Final = 2.5
"""With key frames further apart than this, resting would not notice in time that something moves."""

_MOST_KEPT: Final = 300
_STARTLED_BY: Final = 4.0
_SMALLEST_START: Final = 1500


class Decoder:
    """Decodes one stream's packets; while resting only its key frames.

    Packets that were passed over are kept until the next key frame. When rest is over they are decoded first, for
    later frames build on them: so waking costs a moment's work and no picture. While resting, a packet several
    times larger than its fellows wakes as well: an encoder spends bits where something moves (that the size of
    packets tells of motion is old surveillance practice), so nobody has to wait for the next key frame.

    Args:
        context: the stream's decoder.
    """

    def __init__(self, context: VideoCodecContext) -> None:
        self.corrupt = 0
        self.skipped = 0
        self._context = context
        self._resting = False
        self._passed: list[Packet[VideoStream]] = []
        self._sizes: deque[int] = deque(maxlen=32)
        self._key_at: float | None = None
        self._key_every: float | None = None

    def rest(self, resting: bool) -> None:
        """Say whether key frames will do; may be called from any thread."""
        self._resting = resting

    def decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """The frames that this packet gives; what cannot be decoded is counted and left out."""
        if packet.size == 0:  # the demuxer's last: what the decoder still holds
            return self._catch_up() + self._decoded(packet)
        if packet.is_keyframe:
            self._note_key(packet)
        if not self._may_rest(packet):
            return self._catch_up() + self._decoded(packet)
        if packet.is_keyframe:
            return self._key_alone(packet)
        if not self._passed:
            # Resting begins at a key frame: before the first one there is nothing to go on from.
            return self._decoded(packet)
        startled = self._is_startling(packet.size)
        self._sizes.append(packet.size)
        self._passed.append(packet)
        if startled:
            kept = self._catch_up()
            return kept[-1:]
        self.skipped += 1
        return []

    def _may_rest(self, packet: Packet[VideoStream]) -> bool:
        """Many a camera sends key frames ever more rarely while nothing moves: the last one must not be too old either."""
        return (
            self._resting
            and self._key_every is not None
            and max(self._key_every, self._since_key(packet)) <= _LONGEST_REST_S
            and len(self._passed) < _MOST_KEPT
        )

    def _note_key(self, packet: Packet[VideoStream]) -> None:
        if packet.pts is None or packet.time_base is None:
            return
        at = float(packet.pts * packet.time_base)
        if self._key_at is not None:
            self._key_every = at - self._key_at if at > self._key_at else None
        self._key_at = at

    def _since_key(self, packet: Packet[VideoStream]) -> float:
        """Seconds; 0 where the stream says no time."""
        if packet.pts is None or packet.time_base is None or self._key_at is None:
            return 0.0
        return float(packet.pts * packet.time_base) - self._key_at

    def _is_startling(self, size: int) -> bool:
        return (
            len(self._sizes) >= 8
            and size >= _SMALLEST_START
            and size > _STARTLED_BY * max(median(self._sizes), 1)
        )

    def _key_alone(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """A key frame out of its order: the decoder is emptied before, and made to give it at once."""
        self._passed = [packet]
        self._context.flush_buffers()
        found = self._decoded(packet)
        if not found:
            found = self._decoded(None)
            self._context.flush_buffers()
            for frame in found:  # drained frames come without the unit of their time
                frame.time_base = packet.time_base
        return found[-1:]

    def _catch_up(self) -> list[VideoFrame]:
        """Decode what was passed over; those frames are old, and only what follows builds on them."""
        if not self._passed:
            return []
        passed, self._passed = self._passed, []
        self._context.flush_buffers()
        found: list[VideoFrame] = []
        for packet in passed:
            found = self._decoded(packet) or found
        return found[-1:] if len(passed) > 1 else []

    def _decoded(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError:
            self.corrupt += 1
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        self.corrupt += len(frames) - len(whole)
        return whole
