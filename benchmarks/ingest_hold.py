"""Processes held to a share of the time, as on small machines of their own: stopped and let go on again and again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

_PERIOD_S: Final = 0.04


class Held:
    """Holds processes while its block runs; their turns are spread over the period. Usable as a context manager.

    Args:
        pids: of processes of ours.
        share: of the time that each may run, 0…1.
    """

    def __init__(self, pids: Sequence[int], share: float) -> None:
        self._share = share
        self._ended = threading.Event()
        self._pids = list(pids)
        self._threads = [
            threading.Thread(
                target=self._hold, args=(pid, number * _PERIOD_S / len(pids)), name=f"hold {pid}"
            )
            for number, pid in enumerate(pids)
        ]

    def __enter__(self) -> Held:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let them run freely."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _hold(self, pid: int, offset_s: float) -> None:
        self._ended.wait(offset_s)
        with suppress(ProcessLookupError):  # it ended, which whoever waits for its work will say
            while not self._ended.wait(_PERIOD_S * self._share):
                os.kill(pid, signal.SIGSTOP)
                self._ended.wait(_PERIOD_S * (1 - self._share))
                os.kill(pid, signal.SIGCONT)
