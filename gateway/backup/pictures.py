"""Evidence in a backup: always named, and copied with its content checked where that is asked for."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common.runtime.disk import sync
from common.runtime.errors import InvalidError
from gateway.backup.repo import EvidenceRow
from gateway.evidence import is_kept_type, whole_path

#: In a folder of evidence until the restore is done: the files that came from a backup, or were to.
NOTES: Final = ".restoring"
_NOTES_PARTIAL: Final = f"{NOTES}.partial"
_PIECE: Final = 1 << 20
#: SHA-256, size, media type.
_LINE: Final = re.compile(r"([0-9a-f]{64}) (\d+) (\S+)")
_ANOTHER_BACKUP: Final = (
    "use another backup; or unset DRUMTOWER_EVIDENCE_DIR to restore the store without the evidence"
)
_WITHOUT_NOTES: Final = "remove it and restore again: pictures that an earlier attempt brought and the store does not know stay there then"


@dataclass(slots=True)
class Copied:
    """What came of copying: ``missing`` are files that are not there, or not what their names say."""

    came: list[EvidenceRow] = field(default_factory=list)
    missing: list[EvidenceRow] = field(default_factory=list)


def write_list(path: Path, rows: Iterable[EvidenceRow]) -> None:
    """Name files, a line each."""
    path.write_text("".join(f"{row.sha256} {row.size} {row.media_type}\n" for row in rows), encoding="ascii")


def read_list(path: Path, otherwise: str = _ANOTHER_BACKUP) -> list[EvidenceRow]:
    """The files that a list names.

    Raises:
        InvalidError: when it is missing, or no such list; ``otherwise`` says what to do then.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _no_list(path, str(error), otherwise) from error
    rows = []
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or not is_kept_type(match[3]):
            raise _no_list(path, f"line {number} is {line[:100]!r}", otherwise)
        rows.append(EvidenceRow(match[1], match[3], int(match[2])))
    return rows


def note_files(rows: Iterable[EvidenceRow], folder: Path) -> list[EvidenceRow]:
    """Note in a folder, before any comes, which of these files it lacks; those, and what earlier attempts noted.

    Raises:
        InvalidError: when what an earlier attempt noted cannot be read.
        OSError: when it cannot be written.
    """
    path = folder / NOTES
    noted = read_list(path, _WITHOUT_NOTES) if path.exists() else []
    lacking = [row for row in rows if not _is_whole(row, whole_path(folder, row.sha256, row.media_type))]
    together = list(dict.fromkeys([*noted, *lacking]))
    if together == noted:
        return noted
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / _NOTES_PARTIAL
    try:
        write_list(partial, together)
        sync(partial)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync(folder)
    return together


def forget_notes(folder: Path) -> None:
    """The restore is done: nothing of what it brought is to be judged any more."""
    for left in (NOTES, _NOTES_PARTIAL):
        (folder / left).unlink(missing_ok=True)


def missing_of(rows: Iterable[EvidenceRow], folder: Path) -> int:
    """How many of these files a folder does not have whole."""
    return sum(not _is_whole(row, whole_path(folder, row.sha256, row.media_type)) for row in rows)


def remove_files(rows: Iterable[EvidenceRow], folder: Path) -> None:
    """Take files out of a folder."""
    for row in rows:
        whole_path(folder, row.sha256, row.media_type).unlink(missing_ok=True)


def copy_files(
    rows: Iterable[EvidenceRow], source: Path, target: Path, on_file: Callable[[int], None]
) -> Copied:
    """Copy files that ``target`` does not have whole; ``on_file`` is told the size of each row dealt with.

    Raises:
        OSError: when one cannot be written or read; those before it are whole then, and nothing is left of it.
    """
    done = Copied()
    folders: set[Path] = set()
    for row in rows:
        to = whole_path(target, row.sha256, row.media_type)
        if not _is_whole(row, to):
            copied = _copy(whole_path(source, row.sha256, row.media_type), to, row.sha256)
            (done.came if copied else done.missing).append(row)
            if not copied:
                on_file(row.size)
                continue
        folders.add(to.parent)  # also of one that an attempt brought which broke off before it came here
        on_file(row.size)
    # A name outlives a power cut only with its folder; once for all of it, for thousands of pictures.
    for folder in (*sorted(folders), *([target] if folders else [])):
        sync(folder)
    return done


def _is_whole(row: EvidenceRow, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == row.size


def _copy(source: Path, target: Path, sha256: str) -> bool:
    """Copy one, synced and checked; False when it is not there or not what its name says."""
    try:
        read = source.open("rb")
    except FileNotFoundError:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    digest = hashlib.sha256()
    with read:
        try:
            with partial.open("wb") as write:
                while piece := read.read(_PIECE):
                    digest.update(piece)
                    write.write(piece)
                write.flush()
                os.fsync(write.fileno())
            if digest.hexdigest() != sha256:
                partial.unlink()
                return False
            partial.chmod(0o440)
            partial.replace(target)
        except OSError:
            with suppress(OSError):  # a disk that turned read-only must not hide what happened first
                partial.unlink(missing_ok=True)
            raise
    return True


def _no_list(path: Path, found: str, otherwise: str) -> InvalidError:
    return InvalidError(
        "backup.damaged",
        f"expected {path} to name the evidence, a line each (SHA-256, size, media type), found otherwise: {found}",
        otherwise,
    )
