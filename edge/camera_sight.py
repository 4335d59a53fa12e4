"""Whether a camera gives pictures at all, what is told when it does not, and when to open it again."""

from __future__ import annotations

from typing import Final, Literal

from common.runtime.clock import Clock
from common.runtime.errors import DrumtowerError, TransientError
from common.runtime.log import get_logger
from edge.camera.live import LiveSource
from edge.camera.retry import Patience
from edge.camera.source import FrameSource
from edge.observations import ObservationBook, Seen

BLIND: Final = "device.camera_blind"
STALLED: Final = "device.camera_stalled"

_log = get_logger("cameras")


class Sight:
    """One camera's: lost, said once, and seeing again.

    Args:
        name: the camera's.
        book: where it is told.
        clock: time.
    """

    def __init__(self, name: str, book: ObservationBook, clock: Clock) -> None:
        self.reopen_at = 0.0
        self._name = name
        self._book = book
        self._clock = clock
        self._patience = Patience()
        self._blind: str | None = None
        self._codec = ""

    @property
    def lost(self) -> bool:
        """Whether it gives no pictures."""
        return self._blind is not None

    def lose(self, error: DrumtowerError) -> bool:
        """It gives no pictures: say so once; whether it is of use to try again, at ``reopen_at``."""
        again = isinstance(error, TransientError)
        if again:
            self.reopen_at = self._clock.monotonic() + self._patience.after(error)
        if self._blind is None:
            self._blind = STALLED if error.code == "camera.stalled" else BLIND
            _log.error(
                "camera.blind", camera=self._name, code=error.code, message=error.message, hint=error.hint
            )
            self._say("start", self._blind, {"code": error.code, "message": _plain(error.message)})
        return again

    def see(self, source: FrameSource) -> None:
        """A picture came from this source: whatever was said is over, also what a box said before it was started anew."""
        self._patience.reset()
        self._note_codec(source.codec if isinstance(source, LiveSource) else "")
        open_ones = [one for one in (BLIND, STALLED) if self._book.is_open(f"camera:{self._name}", one)]
        for category in open_ones:
            _log.info("camera.sees_again", camera=self._name)
            self._say("end", category, {})
        self._blind = None

    def _note_codec(self, codec: str) -> None:
        """A camera whose encoder was set otherwise is lost and opened again: say what became of it."""
        if self._codec and codec != self._codec:
            _log.warning(
                "camera.codec_changed",
                camera=self._name,
                before=self._codec,
                now=codec,
                hint="somebody set the camera's encoder otherwise; it is looked through as before",
            )
        self._codec = codec

    def _say(
        self, phase: Literal["start", "end"], category: str, detail: dict[str, str | float | int]
    ) -> None:
        now = self._clock.now_ms()
        self._book.say(Seen(phase, f"camera:{self._name}", self._name, category, now, now, detail=detail))


def _plain(text: str) -> str:
    return text.replace("\0", "\ufffd")[:400]
