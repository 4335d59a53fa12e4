"""A video file played as if it were a camera: at its own pace, once or for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from common.runtime.clock import Clock, SystemClock
from edge.camera.decoder import Decoder
from edge.camera.frame import Frame
from edge.camera.pictures import Pictures
from edge.camera.source import CameraError
from edge.camera.timeline import Timeline

_LONGEST_NAP = 0.25
"""Seconds: a sleeping source notices within this time that it was told to stop."""


class FileSource:
    """Plays a video file through FFmpeg (PyAV).

    Args:
        path: the file.
        clock: what pacing and the start instant go by.
        paced: give frames at the pace they were filmed; otherwise as fast as they are taken.
        loop: begin again at the end, for ever; stream time goes on growing.
        threads: decoding threads.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        paced: bool = True,
        loop: bool = False,
        threads: int = 1,
    ) -> None:
        self.path = path
        self._clock = clock or SystemClock()
        self._paced = paced
        self._loop = loop
        self._threads = threads
        self._stopped = threading.Event()
        self._pictures = Pictures()
        self._container: InputContainer | None = None
        self._width = self._height = 0
        self._fps = 0.0
        self._broken = 0
        self._decoder: Decoder | None = None
        self._resting = False

    @property
    def width(self) -> int:
        """Pixels across."""
        return self._width

    @property
    def height(self) -> int:
        """Pixels down."""
        return self._height

    @property
    def nominal_fps(self) -> float:
        """Frames a second, as the file says; 25 when it says nothing."""
        return self._fps

    @property
    def corrupt(self) -> int:
        """Frames left out so far because they could not be decoded."""
        return self._broken + self._pictures.refused + (self._decoder.corrupt if self._decoder else 0)

    @property
    def skipped(self) -> int:
        """Frames of the present pass that were not decoded because key frames would do."""
        return self._decoder.skipped if self._decoder else 0

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            CameraError: ``camera.missing``, ``camera.not_video``, ``camera.codec`` or ``camera.corrupt``.
        """
        stream = self._open()
        self._width, self._height = stream.codec_context.width, stream.codec_context.height
        rate = stream.average_rate or stream.guessed_rate
        self._fps = float(rate) if rate else 25.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.stop()
        self._close()

    def stop(self) -> None:
        """Let ``frames`` end soon."""
        self._stopped.set()

    def rest(self, resting: bool) -> None:
        """Say whether key frames will do for now."""
        self._resting = resting
        if self._decoder is not None:
            self._decoder.rest(resting)

    def frames(self) -> Iterator[Frame]:
        """Every frame that can be decoded.

        Raises:
            CameraError: ``camera.corrupt`` when a whole pass over the file gave none.
        """
        began_at, began = self._clock.now_ms(), self._clock.monotonic()
        timeline = Timeline(step_ms=1000.0 / self._fps)
        n = 0
        while not self._stopped.is_set():
            before = n
            for decoded in self._decode_once():
                at_ms = timeline.stamp(decoded.time)
                if (picture := self._pictures.of(decoded)) is None:
                    continue
                if self._paced and not self._wait_until(began + at_ms / 1000.0):
                    return
                yield Frame(picture, began_at + at_ms, n)
                n += 1
                if self._stopped.is_set():
                    return
            if n == before:
                raise CameraError(
                    "camera.corrupt",
                    f"expected frames in {self.path}, but none of its {self.corrupt} packets could be decoded",
                    "record the file again or convert it to H.264",
                )
            if not self._loop:
                return
            timeline.begin_again()
            self._open()

    def _wait_until(self, due: float) -> bool:
        """Sleep until then; False when told to stop meanwhile."""
        while (remaining := due - self._clock.monotonic()) > 0:
            if self._stopped.is_set():
                return False
            self._clock.sleep(min(remaining, _LONGEST_NAP))
        return not self._stopped.is_set()

    def _open(self) -> VideoStream:
        self._close()
        try:
            found = "" if self.path.is_file() else "a directory" if self.path.is_dir() else "nothing"
            size = self.path.stat().st_size if not found else 0
        except OSError as error:  # a folder that this account may not enter, a name that is too long
            found, size = str(error.strerror), 0
        if found:
            raise CameraError(
                "camera.missing",
                f"expected a video file at {self.path}, found {found}",
                "check the camera's path",
            )
        if size == 0:
            raise CameraError(
                "camera.corrupt", f"expected a video in {self.path}, found 0 bytes", "copy the file again"
            )
        try:
            container = av.open(str(self.path), mode="r", metadata_errors="ignore")
        except (av.error.FFmpegError, OSError) as error:
            raise CameraError(
                "camera.not_video",
                f"expected a video in {self.path}, got: {error.strerror or error}",
                "check that the file is a video that FFmpeg knows and that it is complete",
            ) from error
        if not container.streams.video:
            found = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"
            container.close()
            raise CameraError(
                "camera.not_video",
                f"expected a video stream in {self.path}, found: {found}",
                "check the camera's path",
            )
        stream = container.streams.video[0]
        if stream.codec_context is None:  # FFmpeg has no decoder for it; PyAV's types do not tell of that
            container.close()
            raise CameraError(
                "camera.codec",
                f"expected a video in {self.path} in a codec that FFmpeg decodes, found one that it does not know",
                "convert the file to H.264",
            )
        self._container = container
        stream.thread_type = "AUTO" if self._threads > 1 else "NONE"
        stream.codec_context.thread_count = self._threads
        return stream

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _decode_once(self) -> Iterator[VideoFrame]:
        """One pass; what cannot be decoded is counted and left out."""
        container = self._container or self._open().container
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        if self._decoder is not None:
            self._broken += self._decoder.corrupt
        self._decoder = decoder = Decoder(stream.codec_context)
        decoder.rest(self._resting)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                # The container itself is broken from here on: what came before stands.
                self._broken += 1
                return
            yield from decoder.decode(packet)
