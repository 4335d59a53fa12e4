"""A box's clock that somebody else can set: the machine's time and an offset in a file of eight bytes."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final

from common.runtime.clock import SystemClock

_OFFSET: Final = struct.Struct("<q")


def set_offset(path: Path, seconds: float) -> None:
    """Set the clock of whoever reads this file so far ahead (behind when negative); seen at once."""
    if not path.exists():
        path.write_bytes(_OFFSET.pack(0))
    with path.open("r+b") as file:
        file.write(_OFFSET.pack(round(seconds * 1000)))


class MovedClock(SystemClock):
    """The wall clock as somebody set it; monotonic time does not notice, as on a real machine.

    Args:
        path: a file that ``set_offset`` made.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._offset = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, as this box believes."""
        moved: int = _OFFSET.unpack_from(self._offset)[0]
        return super().now_ms() + moved
