"""A thread whose death is noticed."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

from common.runtime.log import get_logger
from common.runtime.stop import Stop

_log = get_logger("worker")


class Worker(threading.Thread):
    """Runs one loop of the agent; if the loop fails, everything is asked to stop and the failure kept.

    Args:
        name: of the thread.
        run: the loop.
        stop: set when the loop fails.
    """

    def __init__(self, name: str, run: Callable[[], None], stop: Stop) -> None:
        super().__init__(name=name, daemon=True)
        self.failure: BaseException | None = None
        self._loop = run
        self._stop_all = stop
        # What the maker's log lines carry, this thread's carry too.
        self._context = contextvars.copy_context()

    def run(self) -> None:
        """The loop, and what it dies of."""
        try:
            self._context.run(self._loop)
        except BaseException as error:  # noqa: BLE001 - the outermost loop of a thread: kept, told and raised again
            self.failure = error
            _log.error("worker.failed", thread=self.name, error=repr(error), exc_info=error)
            self._stop_all.set(f"{self.name} failed")
