"""The port every camera stands behind, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from common.runtime.errors import InvalidError, TransientError
from edge.camera.frame import Frame


class CameraError(InvalidError):
    """This camera, as configured, will never give a picture: trying again is of no use."""


class CameraLostError(TransientError):
    """The camera gave pictures, or may yet, but not now: try again."""


class CameraRefusedError(CameraLostError):
    """The camera knows us not: try again, but seldom, for many lock out who asks too often."""


class FrameSource(Protocol):
    """Something that gives frames.

    Entering opens it (and raises :class:`CameraError` or :class:`CameraLostError` when it cannot be opened);
    ``width``, ``height`` and ``nominal_fps`` are known from then on. Frames that could not be decoded are
    left out and counted in ``corrupt``.
    """

    @property
    def width(self) -> int:
        """Pixels across, as announced; a frame's own shape has the last word."""
        ...

    @property
    def height(self) -> int:
        """Pixels down, as announced."""
        ...

    @property
    def nominal_fps(self) -> float:
        """Frames a second, as announced."""
        ...

    @property
    def corrupt(self) -> int:
        """Frames left out so far because they could not be decoded."""
        ...

    def __enter__(self) -> Self:
        """Open it."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Every frame, in order, until the source ends or is told to stop; to be asked for once."""
        ...

    def stop(self) -> None:
        """Let ``frames`` end soon; may be called from any thread, and more than once."""
        ...

    def rest(self, resting: bool) -> None:
        """Say whether key frames will do for now, since nothing moves; may be called from any thread.

        A source that saves nothing by it goes on as before.
        """
        ...
