"""Files in the folder of evidence: written whole or not at all, named by the SHA-256 of what they hold."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from common.runtime.disk import sync
from common.runtime.errors import InvalidError, TransientError
from common.schema.evidence import SEALED_MEDIA_TYPE, SEALED_SUFFIX

JPEG: Final = "image/jpeg"
_SUFFIXES: Final = {JPEG: ".jpg", SEALED_MEDIA_TYPE: SEALED_SUFFIX}
_MODE: Final = 0o440


def file_at(directory: Path, sha256: str, media_type: str) -> Path:
    """Where a file is."""
    return directory / sha256[:2] / f"{sha256}{_SUFFIXES[media_type]}"


def require_place(directory: Path | None) -> Path:
    """The folder of evidence.

    Raises:
        InvalidError: this ticket centre has no place for pictures.
    """
    if directory is None:
        raise InvalidError(
            "report.no_place_for_photos",
            "expected a place for pictures, this ticket centre has none",
            "send the report without photos, or have the operator set DRUMTOWER_EVIDENCE_DIR",
        )
    return directory


def keep_file(directory: Path, sha256: str, media_type: str, content: bytes) -> None:
    """Put a file there, synced; one that is there already is left.

    Raises:
        TransientError: the disk does not take it.
    """
    target = file_at(directory, sha256, media_type)
    if target.is_file():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, content)
        # The name must outlast a power cut as well as the content.
        sync(target.parent)
    except OSError as error:
        raise TransientError(
            "report.photo_not_kept",
            f"the disk for evidence does not take a photo: {error.strerror}",
            "the ticket centre must be able to write where DRUMTOWER_EVIDENCE_DIR is, and find room there",
        ) from error


def remove_file(directory: Path, sha256: str, media_type: str) -> None:
    """Remove a file for good, and what a writer that was killed left of it: not there after a power cut either.

    One that is not there is no error.

    Raises:
        OSError: the disk does not let it go.
    """
    target = file_at(directory, sha256, media_type)
    target.unlink(missing_ok=True)
    if target.parent.is_dir():
        for unfinished in target.parent.glob(_unfinished(target) + "*"):
            unfinished.unlink(missing_ok=True)
        sync(target.parent)


def _unfinished(target: Path) -> str:
    return f".{target.name}."


def _write(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=_unfinished(target))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), _MODE)
        Path(name).replace(target)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
