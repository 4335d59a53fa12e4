"""Evidence in a backup: always named, and copied with its content checked where that is asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.backup.repo import EvidenceRow
from gateway.evidence import whole_path

_PIECE: Final = 1 << 20


@dataclass(slots=True)
class Copied:
    """What came of copying: ``missing`` are files that are not there, or not what their names say."""

    files: int = 0
    bytes: int = 0
    missing: list[str] = field(default_factory=list)


def copy_files(
    rows: Iterable[EvidenceRow], source: Path, target: Path, on_file: Callable[[int], None]
) -> Copied:
    """Copy files that ``target`` does not have whole; ``on_file`` is told the size of each row dealt with."""
    done = Copied()
    for row in rows:
        to = whole_path(target, row.sha256, row.media_type)
        if not (to.is_file() and to.stat().st_size == row.size):
            if _copy(whole_path(source, row.sha256, row.media_type), to, row.sha256):
                done.files += 1
                done.bytes += row.size
            else:
                done.missing.append(row.sha256)
        on_file(row.size)
    return done


def _copy(source: Path, target: Path, sha256: str) -> bool:
    """Copy one, synced and checked; False when it is not there or not what its name says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as read, partial.open("wb") as write:
            while piece := read.read(_PIECE):
                digest.update(piece)
                write.write(piece)
            write.flush()
            os.fsync(write.fileno())
    except FileNotFoundError:
        partial.unlink(missing_ok=True)
        return False
    if digest.hexdigest() != sha256:
        partial.unlink()
        return False
    partial.chmod(0o440)
    partial.replace(target)
    return True
