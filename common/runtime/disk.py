"""Having the disk know what must outlast a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have the disk know a file's content, or a folder's names; raises OSError.

    A file that was given its name is there after a power cut only once its folder was synced too (Linux, fsync(2)).
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
