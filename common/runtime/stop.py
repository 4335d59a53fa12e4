"""Stopping in good order: one flag that signals set and loops wait on."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


class Stop:
    """Set once, by a signal or by a part that cannot go on; every loop looks at it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def set(self, reason: str = "asked to") -> None:
        """Ask everything to stop; the first reason is kept."""
        if not self._event.is_set():
            self.reason = reason
        self._event.set()

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._event.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until stopped or until that many seconds have passed; True when stopped."""
        return self._event.wait(seconds)

    def on_signals(self) -> Stop:
        """Stop on SIGINT and SIGTERM.

        A second Ctrl-C ends the process at once, for a person who will not wait. A second SIGTERM does not:
        supervisors repeat themselves, and what is being sent should arrive.
        """
        # Python runs a handler in the main thread once that comes back to it; one that has just begun to wait for a lock
        # never does, and the signal would be lost (`Event.wait` says nothing of it). What writes to the wakeup
        # descriptor is the handler in C, at whatever moment and in whatever thread the signal came.
        told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        asked: list[int] = []

        def handle(number: int, _frame: FrameType | None) -> None:
            # The thread may have set it for this very signal already.
            stopping = self.is_set() and self.reason != signal.Signals(number).name
            if (asked or stopping) and number == signal.SIGINT:
                raise SystemExit(128 + number)
            asked.append(number)

        signal.signal(signal.SIGINT, handle)
        signal.signal(signal.SIGTERM, handle)
        threading.Thread(target=self._hear, args=(told,), name="signals", daemon=True).start()
        return self

    def _hear(self, told: int) -> None:
        """Wait for the first signal that asks to stop."""
        while not self.is_set():
            for number in os.read(told, 64):
                if number in (signal.SIGINT, signal.SIGTERM):
                    self.set(signal.Signals(number).name)
