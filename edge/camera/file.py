"""A video file played as if it were a camera: at its own pace, once or for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from common.runtime.clock import Clock, SystemClock
from edge.camera.frame import Frame, Image
from edge.camera.source import CameraError

_LONGEST_NAP = 0.25
"""Seconds: a sleeping source notices within this time that it was told to stop."""

_FULL_RANGE = 2
_BT709 = 1


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
        self._pictures = _Pictures()
        self._container: InputContainer | None = None
        self._width = self._height = 0
        self._fps = 0.0
        self._corrupt = 0

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
        return self._corrupt

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            CameraError: ``camera.missing``, ``camera.not_video`` or ``camera.corrupt``.
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

    def frames(self) -> Iterator[Frame]:
        """Every frame that can be decoded.

        Raises:
            CameraError: ``camera.corrupt`` when a whole pass over the file gave none.
        """
        began_at, began = self._clock.now_ms(), self._clock.monotonic()
        timeline = _Timeline(step_ms=1000.0 / self._fps)
        n = 0
        while not self._stopped.is_set():
            before = n
            for decoded in self._decode_once():
                at_ms = timeline.stamp(decoded.time)
                if self._paced and not self._wait_until(began + at_ms / 1000.0):
                    return
                yield Frame(self._pictures.of(decoded), began_at + at_ms, n)
                n += 1
                if self._stopped.is_set():
                    return
            if n == before:
                raise CameraError(
                    "camera.corrupt",
                    f"expected frames in {self.path}, but none of its {self._corrupt} packets could be decoded",
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
        if not self.path.is_file():
            raise CameraError(
                "camera.missing",
                f"expected a video file at {self.path}, found "
                + ("a directory" if self.path.is_dir() else "nothing"),
                "check the camera's path",
            )
        if self.path.stat().st_size == 0:
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
        self._container = container
        stream = container.streams.video[0]
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
        packets = container.demux(container.streams.video[0])
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                # The container itself is broken from here on: what came before stands.
                self._corrupt += 1
                return
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                self._corrupt += 1
                continue
            for frame in decoded:
                if not isinstance(frame, VideoFrame):
                    continue
                if frame.is_corrupt:
                    self._corrupt += 1
                else:
                    yield frame


class _Timeline:
    """Stream time in milliseconds from 0: strictly growing, also where stamps are missing, stand still or
    run backwards, and from one pass over a looped file to the next.
    """

    def __init__(self, step_ms: float) -> None:
        self._step_ms = step_ms
        self._pass_begins_ms = 0.0
        self._first: float | None = None
        self._last_ms = -1

    def stamp(self, seconds: float | None) -> int:
        """The time of the next frame, given its presentation time."""
        if seconds is None:
            due = self._last_ms + self._step_ms if self._last_ms >= 0 else 0.0
        else:
            if self._first is None:
                self._first = seconds
            due = self._pass_begins_ms + (seconds - self._first) * 1000.0
        self._last_ms = max(round(due), self._last_ms + 1)
        return self._last_ms

    def begin_again(self) -> None:
        """A new pass follows one frame's time after the last frame."""
        self._pass_begins_ms = self._last_ms + self._step_ms
        self._first = None


class _Pictures:
    """Turns decoded frames into BGR."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def of(self, frame: VideoFrame) -> Image:
        """The frame as ``(height, width, 3)`` BGR.

        OpenCV's conversion of plain video-range 4:2:0 is several times cheaper than swscale's, which
        starts threads for each picture; all other formats, ranges and matrices go through swscale.
        """
        if (
            frame.format.name == "yuv420p"
            and frame.color_range != _FULL_RANGE
            and frame.colorspace != _BT709
            and frame.width % 2 == 0
            and frame.height % 2 == 0
        ):
            planes = frame.to_ndarray()
            return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), dtype=np.uint8)
        bgr = self._reformatter.reformat(frame, format="bgr24", threads=1)
        return np.ascontiguousarray(bgr.to_ndarray(), dtype=np.uint8)
