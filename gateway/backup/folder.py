"""The folders that a backup is written into and that its evidence comes back to, on disks that may take no more.

The first holds a whole backup in the end, or nothing. In the other what came whole stays.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from common.runtime.errors import ConfigError, TransientError

#: No room: on the disk, in this account's share of it, in one file. PostgreSQL's programs say so in the C locale, or are
#: ended by a signal.
_FULL: Final = {
    errno.ENOSPC: ("No space left on device",),
    errno.EDQUOT: ("Disk quota exceeded",),
    errno.EFBIG: ("File too large", "File size limit exceeded"),
}
_MB: Final = 1_000_000


@contextmanager
def backup_folder(folder: Path) -> Iterator[None]:
    """Make a folder for this account's eyes only; what is in it when an error ends the work is removed again.

    Whoever is killed leaves a folder without a manifest, which no restore takes for a backup.

    Raises:
        ConfigError: when it cannot be made, or holds something already.
        TransientError: when the disk does not take what is written, or the system refuses something else.
    """
    made = _make(folder)
    finished = False
    try:
        yield
        finished = True
    except OSError as error:
        if error.errno in _FULL:
            raise _full(folder, error.strerror or "") from error
        raise TransientError(
            "backup.not_written",
            f"expected the system to run PostgreSQL's programs, read the evidence and write the backup into {folder}, "
            f"got: {error.strerror or error} ({error.filename or folder})",
            "see to what it names, or where that is the backup's disk name a folder on another; "
            "what it had written is removed as far as the disk lets it",
        ) from error
    except TransientError as error:
        if any(said in error.message for words in _FULL.values() for said in words):
            raise _full(folder, error.message) from error
        raise
    finally:
        if not finished:
            _remove(folder, itself=made)


@contextmanager
def evidence_folder(folder: Path) -> Iterator[None]:
    """Complete a folder of evidence before the store is restored; what came whole stays there.

    Raises:
        TransientError: when the disk does not take what is written, or the system refuses something else.
    """
    again = "restore again: the database was not touched, and what came whole is not copied a second time"
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise TransientError(
                "backup.disk_full",
                f"expected room for the backup's evidence in {folder}, "
                f"found the disk full{_free(folder)}: {error.strerror}",
                f"free some room there, or name a folder on a larger disk in DRUMTOWER_EVIDENCE_DIR, and {again}",
            ) from error
        raise TransientError(
            "backup.evidence_not_restored",
            f"expected the system to read the backup's evidence and write it into {folder}, "
            f"got: {error.strerror or error} ({error.filename or folder})",
            f"see to what it names, and {again}",
        ) from error


def _free(folder: Path) -> str:
    with suppress(OSError):  # the disk may be past being asked
        return f" ({shutil.disk_usage(folder).free / _MB:.1f} MB are free)"
    return ""


def _make(folder: Path) -> bool:
    """Whether it was not there."""
    there = folder.is_dir()
    if there and any(folder.iterdir()):
        raise ConfigError(
            "backup.folder",
            f"expected an empty folder or none, found things in {folder}",
            "name a new folder",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            "backup.folder",
            f"cannot make {folder}: {error.strerror}",
            "name a folder that this account may make",
        ) from error
    return not there


def _full(folder: Path, said: str) -> TransientError:
    measured = ""
    with suppress(OSError):  # the disk may be past being asked
        written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        free = shutil.disk_usage(folder).free
        measured = f" after {written / _MB:.1f} MB ({free / _MB:.1f} MB are free)"
    return TransientError(
        "backup.disk_full",
        f"expected room for the whole backup in {folder}, found the disk full{measured}: {said}",
        "free some room there, or name a folder on a larger disk; "
        "what it had written is removed as far as the disk lets it",
    )


def _remove(folder: Path, *, itself: bool) -> None:
    """As far as the disk lets it: one that is read-only by now must not hide why the work ended."""
    with suppress(OSError):
        for path in folder.glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
    if itself:
        shutil.rmtree(folder, ignore_errors=True)
