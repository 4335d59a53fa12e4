"""Beginning on a disk that is full: a box that cannot number anything waits for room, and says so, until there is some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from common.runtime.log import get_logger
from common.runtime.stop import Stop
from edge.database import DiskFullError

_FIRST_S: Final = 1.0
_LONGEST_S: Final = 30.0
_T = TypeVar("_T")
_log = get_logger("agent")


def when_there_is_room(make: Callable[[], _T], stop: Stop, first_s: float = _FIRST_S) -> _T | None:
    """Make what needs room on the disk, as soon as there is some.

    Args:
        make: called again and again until it raises no ``DiskFullError``; what it began it has to let go of then.
        stop: ends the waiting.
        first_s: the first wait; each is twice the one before, up to half a minute.

    Returns:
        What was made; None when asked to stop before.
    """
    wait_s = first_s
    while not stop.is_set():
        try:
            return make()
        except DiskFullError as error:
            _log.error(error.code, message=error.message, hint=error.hint, retry_in_s=wait_s)
        stop.wait(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_S)
    return None
