"""Looking at several pictures of recorded footage at once: order matters to tracks and scenes, not to the detector."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from common.runtime.errors import DrumtowerError
from edge.camera.frame import Frame
from edge.vision.detections import Detections
from edge.vision.detector import Detector


class LookAhead:
    """Takes pictures from a reader, has as many looked at at once as there are threads, and hands them on in order.

    On the cores of a small box two looks of one thread each are done sooner than one after the other with two threads: a
    network's layers do not divide evenly. A live camera cannot use it: its next picture is not there yet.

    Args:
        take: gives the next picture within so many seconds, or None; ``LatestFrame.take``.
        detector: may be called from several threads at once; of one thread itself.
        threads: looks at once.
    """

    def __init__(self, take: Callable[[float], Frame | None], detector: Detector, threads: int = 2) -> None:
        self._take = take
        self._detector = detector
        self._room = threads + 1
        self._waiting: deque[tuple[Frame, Future[Detections]]] = deque()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="look")

    def __enter__(self) -> Self:
        """Ready to be asked."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads."""
        self.close()

    def close(self) -> None:
        """End the threads; what was looked at ahead is let go."""
        self._threads.shutdown(cancel_futures=True)

    @property
    def waiting(self) -> bool:
        """Whether there is a picture to be handed on."""
        return bool(self._waiting)

    def next(self, timeout: float) -> tuple[Frame, Detections] | None:
        """The next picture and what was found in it; None when none came within ``timeout`` seconds or no more will.

        Raises:
            DrumtowerError: the source's own error, once the pictures before it were handed on.
        """
        while len(self._waiting) < self._room:
            try:
                frame = self._take(0.0 if self._waiting else timeout)
            except DrumtowerError:
                if not self._waiting:
                    raise
                # It is said again when the pictures before it were handed on.
                break
            if frame is None:
                break
            self._waiting.append((frame, self._threads.submit(self._detector.detect, frame.image)))
        if not self._waiting:
            return None
        frame, found = self._waiting.popleft()
        return frame, found.result()

    def settle(self) -> None:
        """Wait until every look that was begun is done."""
        wait([found for _, found in self._waiting])
