"""A thread that reads a camera, so that a slow look never makes the picture old."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from common.runtime.errors import DrumtowerError
from edge.camera.frame import Frame
from edge.camera.source import FrameSource


class LatestFrame:
    """Reads a source in a thread of its own and keeps only the newest frame.

    Args:
        source: opened and closed by the thread.
        name: the camera's, for the thread.
        keep_all: for footage that is analysed rather than watched: read a few frames ahead and wait
            instead of dropping.
        arrived: called from the thread when there is a frame to be taken, or no more will come.
    """

    def __init__(
        self,
        source: FrameSource,
        name: str = "camera",
        *,
        keep_all: bool = False,
        arrived: Callable[[], None] = lambda: None,
    ) -> None:
        self.source = source
        self._arrived = arrived
        self._keep_all = keep_all
        self._room = 4 if keep_all else 1
        self._waiting: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"read-{name}", daemon=True)
        self._stopping = False
        self._done = False
        self._clean = False
        self._error: DrumtowerError | None = None
        self._bug: BaseException | None = None
        self._read = 0
        self._dropped = 0

    def start(self) -> Self:
        """Begin to read."""
        self._thread.start()
        return self

    def stop_soon(self) -> None:
        """Ask the thread to end, without waiting for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self.source.stop()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and close the source; frames not yet taken are let go.

        A thread that waits for a silent camera may take longer: it then ends by itself.
        """
        self.stop_soon()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def __enter__(self) -> Self:
        """Begin to read."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread."""
        self.stop()

    @property
    def read(self) -> int:
        """Frames read so far."""
        return self._read

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before anybody took them."""
        return self._dropped

    @property
    def waiting(self) -> bool:
        """Whether there is a frame to be taken, or something to be said about there being none any more."""
        return bool(self._waiting) or self._done

    @property
    def ended(self) -> bool:
        """Whether the source has ended and every frame was taken."""
        with self._changed:
            return not self._waiting and self._done

    def take(self, timeout: float) -> Frame | None:
        """The newest frame not taken yet; None when none came within ``timeout`` seconds or the source ended.

        Raises:
            DrumtowerError: the source's own error, once the frames before it were taken.
            RuntimeError: the thread died of a bug, which is its cause.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._done, timeout)
            if self._waiting:
                frame = self._waiting.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            if self._done and not self._clean:
                raise RuntimeError(
                    f"the thread {self._thread.name} died of a bug: {self._bug!r}"
                ) from self._bug
            return None

    def _run(self) -> None:
        try:
            with self.source:
                for frame in self.source.frames():
                    if not self._put(frame):
                        break
            self._clean = True
        except DrumtowerError as error:
            self._error = error
        finally:
            with self._changed:
                self._bug = sys.exception()
                self._done = True
                self._changed.notify_all()
            self._arrived()

    def _put(self, frame: Frame) -> bool:
        """Lay a frame out to be taken; False when told to stop."""
        with self._changed:
            if self._keep_all:
                self._changed.wait_for(lambda: self._stopping or len(self._waiting) < self._room)
            if self._stopping:
                return False
            self._read += 1
            while len(self._waiting) >= self._room:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(frame)
            self._changed.notify_all()
        self._arrived()
        return True
