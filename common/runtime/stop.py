"""Stopping in good order: one flag that signals set and loops wait on."""

from __future__ import annotations

import signal
import threading
from queue import SimpleQueue
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
        # A handler runs in the middle of whatever the main thread does. Were that setting or waiting for the event,
        # setting it here would wait for itself; only a SimpleQueue takes something at any moment.
        arrived: SimpleQueue[str] = SimpleQueue()
        asked: list[int] = []

        def handle(number: int, _frame: FrameType | None) -> None:
            if (asked or self.is_set()) and number == signal.SIGINT:
                raise SystemExit(128 + number)
            asked.append(number)
            arrived.put(signal.Signals(number).name)

        threading.Thread(target=lambda: self.set(arrived.get()), name="signals", daemon=True).start()
        signal.signal(signal.SIGINT, handle)
        signal.signal(signal.SIGTERM, handle)
        return self
