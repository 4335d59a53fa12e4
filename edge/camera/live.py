"""What all live cameras share: packets as they come, the stream's time, an end when nothing comes any more."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Literal, Self

import av
import av.error
from av.container import InputContainer

from common.runtime.clock import Clock, SystemClock
from edge.camera.decoder import Decoder
from edge.camera.frame import Frame
from edge.camera.pictures import Pictures
from edge.camera.recorder import Recorder
from edge.camera.source import CameraError, CameraLostError
from edge.camera.timeline import LiveTimeline

_OPEN_S = 10.0
KEY_S = 30.0
"""So long the first key frame may take: encoders that save bits send one in twenty seconds, and we join in between."""
_PICTURE_S = 3.0
"""So long at least a stream that has begun may give no picture."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What FFmpeg ran into; ``said`` never holds the address."""

    kind: Literal["silent", "refused", "missing", "other"]
    said: str


class LiveSource(ABC):
    """A camera that FFmpeg opens (PyAV) and that gives frames when it likes.

    It does not come back by itself: when it is lost, ``frames`` raises, and whoever reads it opens it again.

    Args:
        where: what messages call it; never holds a password.
        stalled_s: so long without anything new is an error.
        clock: when frames arrive.
    """

    def __init__(self, where: str, *, stalled_s: float, clock: Clock | None = None) -> None:
        self.where = where
        self.recorder: Recorder | None = None
        self._stalled_s = stalled_s
        self._clock = clock or SystemClock()
        self._stopped = threading.Event()
        self._pictures = Pictures()
        self._timeline = LiveTimeline()
        self._container: InputContainer | None = None
        self._decoder: Decoder | None = None
        self._resting = False
        self._fps = 0.0
        self._size = (0, 0)
        self._codec = ""

    @abstractmethod
    def _address(self) -> str:
        """What FFmpeg opens."""

    @abstractmethod
    def _options(self) -> Mapping[str, str]:
        """FFmpeg's options."""

    @abstractmethod
    def _not_opened(self, trouble: Trouble) -> CameraError | CameraLostError:
        """What it means that it could not be opened."""

    _format: str | None = None

    @property
    def width(self) -> int:
        """Pixels across, as announced."""
        return self._size[0]

    @property
    def height(self) -> int:
        """Pixels down, as announced."""
        return self._size[1]

    @property
    def nominal_fps(self) -> float:
        """Frames a second, as announced; 25 when nothing is."""
        return self._fps

    @property
    def codec(self) -> str:
        """What it is encoded with, as announced; empty before it was opened."""
        return self._codec

    @property
    def corrupt(self) -> int:
        """Frames left out so far because they could not be decoded."""
        return self._pictures.refused + (self._decoder.corrupt if self._decoder else 0)

    @property
    def skipped(self) -> int:
        """Frames not decoded because key frames would do."""
        return self._decoder.skipped if self._decoder else 0

    @property
    def jumps(self) -> int:
        """Times that the stream's clock jumped or ran backwards."""
        return self._timeline.jumps

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            CameraError, CameraLostError: as the source says.
        """
        try:
            container = av.open(
                self._address(),
                mode="r",
                format=self._format,
                options=dict(self._options()),
                timeout=(_OPEN_S, self._stalled_s),
                metadata_errors="ignore",
            )
        except (av.error.FFmpegError, OSError) as error:
            # FFmpeg's own text may repeat the address, password and all: it goes no further.
            raise self._not_opened(_trouble(error)) from None
        if not container.streams.video:
            container.close()
            # A camera that starts, or a relay whose camera is away, answers so for a while.
            raise CameraLostError(
                "camera.not_video",
                f"expected a video stream of {self.where}, found none",
                "check the address; it is opened again",
            )
        stream = container.streams.video[0]
        if stream.codec_context is None:  # FFmpeg has no decoder for it; PyAV's types do not tell of that
            container.close()
            raise CameraLostError(
                "camera.codec",
                f"expected a video stream of {self.where} in a codec that FFmpeg decodes, found one that it does not know",
                "set the camera's encoder to H.264 or H.265, without the maker's own additions; it is opened again",
            )
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        rate: Fraction | None = stream.average_rate or stream.guessed_rate
        self._fps = float(rate) if rate and 0 < rate <= 240 else 25.0
        self._size = stream.codec_context.width, stream.codec_context.height
        self._codec = stream.codec_context.name
        self._container, self._decoder = container, Decoder(stream.codec_context)
        self._decoder.rest(self._resting)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it go."""
        self.stop()
        if self.recorder is not None:
            self.recorder.end()
        if self._container is not None:
            self._container.close()
            self._container = None

    def stop(self) -> None:
        """Let ``frames`` end with the next frame, or when it is found stalled."""
        self._stopped.set()

    def rest(self, resting: bool) -> None:
        """Say whether key frames will do for now."""
        self._resting = resting
        if self._decoder is not None:
            self._decoder.rest(resting)

    def frames(self) -> Iterator[Frame]:
        """Every frame that can be decoded, until stopped.

        Raises:
            CameraLostError: ``camera.lost`` when the camera ended it, ``camera.stalled`` when nothing comes any
                more, ``camera.undecodable`` when what comes is no picture.
        """
        assert self._container is not None
        assert self._decoder is not None
        stream = self._container.streams.video[0]
        packets = self._container.demux(stream)
        n, seen_at, begun = 0, self._clock.monotonic(), False
        while not self._stopped.is_set():
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                raise self._lost(_trouble(error)) from None
            if packet is None or packet.size == 0:
                raise self._lost(None)
            if self.recorder is not None:
                self.recorder.packet(packet, stream)
            if packet.is_keyframe and not begun:
                seen_at, begun = self._clock.monotonic(), True
            for decoded in self._decoder.decode(packet):
                at_ms = self._timeline.stamp(decoded.time, self._clock.now_ms())
                if (picture := self._pictures.of(decoded)) is None:
                    continue
                seen_at, begun = self._clock.monotonic(), True
                yield Frame(picture, at_ms, n)
                n += 1
                if self._stopped.is_set():
                    return
            patience_s = max(self._stalled_s, _PICTURE_S if begun else KEY_S)
            if self._clock.monotonic() - seen_at > patience_s:
                raise self._undecodable(patience_s, begun)

    def _undecodable(self, patience_s: float, begun: bool) -> CameraLostError:
        if not begun:
            return CameraLostError(
                "camera.undecodable",
                f"expected a key frame of {self.where}, but none came for {patience_s:g} s, and no picture can be "
                "decoded before it",
                "set the camera's key frame interval (GOP) to a few seconds; it is opened again",
            )
        return CameraLostError(
            "camera.undecodable",
            f"expected pictures of {self.where}, but nothing that came for {patience_s:g} s "
            f"could be decoded ({self.corrupt} frames)",
            "check the camera's encoder and the line; it is opened again",
        )

    def _lost(self, trouble: Trouble | None) -> CameraLostError:
        if trouble is not None and trouble.kind == "silent":
            return CameraLostError(
                "camera.stalled",
                f"expected a frame of {self.where} every now and then, got none for {self._stalled_s:g} s",
                "check the camera's power and line; it is opened again",
            )
        said = f": {trouble.said}" if trouble is not None else ""
        return CameraLostError(
            "camera.lost",
            f"expected {self.where} to go on, but it ended{said}",
            "check the camera's power and line; it is opened again",
        )


def _trouble(error: Exception) -> Trouble:
    """The kind of an error and its words without the address, which may hold a password."""
    said = str(getattr(error, "strerror", "") or type(error).__name__)
    if isinstance(error, av.error.ExitError):  # FFmpeg was interrupted, and only our own time limit does that
        return Trouble("silent", "no answer in time")
    if isinstance(error, TimeoutError):
        return Trouble("silent", said)
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return Trouble("refused", said)
    if isinstance(error, av.error.HTTPNotFoundError | FileNotFoundError):
        return Trouble("missing", said)
    return Trouble("other", said)
