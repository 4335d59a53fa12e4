"""Room on the disk that is kept for the moment when there is none left.

On a full disk SQLite's write-ahead log can neither grow nor be carried over into the database, which would have to
grow for it; then even giving packets up fails, because that is written to the log first. What this file holds is
let go at that moment, and is enough to carry the log over once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: More than the log and the database can want at once: the log is carried over every 256 pages of 4 KiB.
RESERVE_BYTES: Final = 2 * 2**20


class Reserve:
    """A file of so many bytes that means nothing.

    Args:
        path: where; a file that is there already is ours.
        size: bytes; 0 for no reserve.
    """

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size

    @property
    def held(self) -> bool:
        """Whether the room is kept."""
        return self._path.exists()

    def take(self) -> bool:
        """Keep the room, if that leaves as much again for everybody else; whether it is kept now."""
        if self._size == 0:
            return False
        if self.held:
            return True
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize < 2 * self._size:
            return False
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            with beside.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
            beside.rename(self._path)
        except OSError:  # somebody else was quicker
            beside.unlink(missing_ok=True)
            return False
        return True

    def let_go(self) -> None:
        """Give the room back to the disk."""
        self._path.unlink(missing_ok=True)
