"""What a backup says of itself: ``manifest.json``, written last, so a folder without one is no backup."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from common.runtime.disk import sync
from common.runtime.errors import InvalidError

MANIFEST: Final = "manifest.json"
DUMP: Final = "store.dump"
EVIDENCE: Final = "evidence"
EVIDENCE_LIST: Final = "evidence.txt"
_FORMAT: Final = 1


class Step(msgspec.Struct, frozen=True):
    """A migration that had run."""

    version: int
    name: str
    checksum: str


class Manifest(msgspec.Struct, frozen=True):
    """A backup. ``pg_dump`` is the major version that wrote the archive; sizes are in bytes."""

    created_at: str
    postgresql: int
    pg_dump: int
    timescaledb: str
    incarnation: str
    migrations: list[Step]
    dump_bytes: int
    dump_sha256: str
    evidence_files: int
    evidence_bytes: int
    evidence_included: bool
    evidence_missing: int = 0
    format: int = _FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it, synced, after everything else is."""
    path = folder / MANIFEST
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - with a mode
        file.write(content + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync(folder)


def read_manifest(folder: Path) -> Manifest:
    """What a folder says.

    Raises:
        InvalidError: when it is no backup, or not of a kind that this release knows.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise InvalidError(
            "backup.no_backup", f"expected a backup in {folder}, found no {MANIFEST}", "it was not finished"
        ) from error
    except msgspec.DecodeError as error:
        raise InvalidError(
            "backup.no_backup", f"{path} is not what a backup says of itself: {error}"
        ) from error
    if manifest.format != _FORMAT:
        raise InvalidError(
            "backup.newer",
            f"expected a backup of format {_FORMAT}, found {manifest.format}",
            "use a newer release",
        )
    return manifest


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
