"""From a photo that was sent to a file that something names, and back to a file that nothing names and is removed.

A file and the rows that name it cannot be written at once. So a file is *announced* before it is written, in a transaction
of its own, and claimed in the one that names it; letting go of it announces it again. Whatever is announced and due is
removed: a process may be killed at any time, and no file is left that nobody knows, and none is missing that a row names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from cloud.db import Database, Transaction
from cloud.photos import repo
from cloud.photos.files import JPEG, file_at, keep_file, remove_file, require_place
from cloud.photos.repo import FileName, Owner
from cloud.photos.sealing import PhotoOf, reseal_key, seal_photo
from cloud.reports.sealing import KeyRing, Sealed
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.schema.evidence import SEALED_MEDIA_TYPE

_log = get_logger("photos")
#: Longer than any request takes.
_UNCLAIMED: Final = timedelta(hours=1)
_FILES: Final = 50
_OWNERS: Final = 50


@dataclass(frozen=True, slots=True)
class Prepared:
    """A photo as its file holds it; what has no seal lies in the clear."""

    sha256: str
    name: FileName
    content: bytes = field(repr=False)
    seal: tuple[PhotoOf, Sealed] | None = None


def in_clear(sha256: str, jpeg: bytes) -> Prepared:
    """A photo that is kept as it is."""
    return Prepared(sha256, FileName(sha256, JPEG), jpeg)


def prepared(keys: KeyRing | None, of: PhotoOf, jpeg: bytes) -> Prepared:
    """A photo of a report or ticket, sealed; without keys it lies in the clear until there are some."""
    if keys is None:
        return in_clear(of.sha256, jpeg)
    sealed = seal_photo(keys, of, jpeg)
    return Prepared(of.sha256, FileName(sealed.file, SEALED_MEDIA_TYPE), sealed.content, (of, sealed.key))


def write_photos(
    database: Database, directory: Path | None, photos: Sequence[Prepared], now: datetime
) -> None:
    """Announce files and write them.

    Raises:
        InvalidError: this ticket centre has no place for pictures.
        TransientError: the database or the disk is away.
    """
    if not photos:
        return
    place = require_place(directory)
    with database.transaction() as transaction:
        for name in sorted({photo.name for photo in photos}, key=lambda name: name.file):
            repo.announce(transaction, name, now + _UNCLAIMED)
    for photo in photos:
        keep_file(place, photo.name.file, photo.name.media_type, photo.content)


def name_photos(transaction: Transaction, photos: Sequence[Prepared], now: datetime) -> None:
    """Name files that are written, and claim them.

    Raises:
        TransientError: it took so long that they were removed.
    """
    for photo in sorted(photos, key=lambda photo: photo.name.file):
        repo.insert_evidence(transaction, photo.name, len(photo.content), now)
        if photo.seal is not None:
            of, key = photo.seal
            repo.insert_photo(transaction, of, photo.name.file, key)
        if not repo.claim(transaction, photo.name.file):
            raise TransientError(
                "report.photo_gone",
                "expected the photo where it was written, it was removed: naming it took too long",
                "send it again",
            )


def forget_photos(transaction: Transaction, before: datetime, now: datetime) -> int:
    """Delete the photos of what was closed before an instant: their keys now, their files soon; of how many reports."""
    due = repo.lock_due(transaction, before)
    if due:
        files = repo.delete(transaction, list(due))
        repo.let_go(transaction, [*files, *(sha256 for photos in due.values() for sha256 in photos)], now)
    return len(due)


def remove_due(database: Database, directory: Path, now: datetime) -> int:
    """Remove files that nothing names, some at a time; how many. None while a backup copies.

    Raises:
        TransientError: the database is away.
    """
    with database.transaction() as transaction:
        if not repo.nobody_copies(transaction):
            return 0
        due = repo.due_files(transaction, now, _FILES)
        # What is named was announced once more by somebody who did not come to naming it: it stays.
        removed = [one for one in due if not one.is_named and _is_removed(directory, one.name)]
        done = [*removed, *(one for one in due if one.is_named)]
        repo.note_removed(transaction, [one.name.file for one in done])
    return len(removed)


def _is_removed(directory: Path, name: FileName) -> bool:
    try:
        remove_file(directory, name.file, name.media_type)
    except OSError as error:
        _log.warning(
            "a photo is not removed: give the ticket centre the right to, it is tried again",
            file=str(file_at(directory, name.file, name.media_type)),
            error=error.strerror,
        )
        return False
    return True


def seal_some(
    database: Database, directory: Path, keys: KeyRing, now: datetime, after: UUID | None = None
) -> tuple[int, UUID | None]:
    """Seal photos that lie in the clear, of some reports and tickets.

    Each of them is a transaction of its own: stopped anywhere, what is done is done.

    Args:
        database: where they are named.
        directory: the folder of evidence.
        keys: what seals.
        now: the instant.
        after: the report or ticket that the last turn came to; None: from the first.

    Returns:
        How many photos, and the report or ticket it came to; None: there are no more.

    Raises:
        TransientError: the database or the disk is away.
    """
    with database.transaction() as transaction:
        owners = repo.in_clear(transaction, after, _OWNERS)
    count = sum(_seal(database, directory, keys, owner, now) for owner in owners)
    return count, owners[-1].owner_id if len(owners) == _OWNERS else None


def seal_rest(database: Database, directory: Path, keys: KeyRing, now: datetime) -> int:
    """Seal all photos that lie in the clear; how many. Raises TransientError as ``seal_some``."""
    done, after = seal_some(database, directory, keys, now)
    while after is not None:
        count, after = seal_some(database, directory, keys, now, after)
        done += count
    return done


def _seal(database: Database, directory: Path, keys: KeyRing, owner: Owner, now: datetime) -> int:
    with database.transaction() as transaction:
        clear = repo.unsealed(transaction, owner)
    there = {sha256: jpeg for sha256 in clear if (jpeg := _read(directory, sha256)) is not None}
    photos = [
        prepared(keys, PhotoOf(owner.owner_id, sha256, owner.whose), jpeg) for sha256, jpeg in there.items()
    ]
    write_photos(database, directory, photos, now)

    def work(transaction: Transaction) -> int:
        repo.lock_owner(transaction, owner)
        # What was forgotten or sealed by somebody else meanwhile stays unclaimed, and is removed.
        still = set(repo.unsealed(transaction, owner))
        sealed = [photo for photo in photos if photo.sha256 in still]
        name_photos(transaction, sealed, now)
        if still == {photo.sha256 for photo in sealed}:
            repo.note_all_sealed(transaction, owner)
        repo.let_go(transaction, [photo.sha256 for photo in sealed], now)
        return len(sealed)

    return database.run(work)


def _read(directory: Path, sha256: str) -> bytes | None:
    """A photo in the clear; None where it is missing or not what its name says: then it stays as it is."""
    file = file_at(directory, sha256, JPEG)
    try:
        jpeg = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("a photo in the clear cannot be sealed", file=str(file), error=error.strerror)
        return None
    if hashlib.sha256(jpeg).hexdigest() != sha256:
        _log.warning("a photo in the clear is not sealed: it is not what its name says", file=str(file))
        return None
    return jpeg


def reseal_some(transaction: Transaction, keys: KeyRing, limit: int) -> int:
    """Seal photos' keys anew that another key than the newest sealed; how many. The files stay as they are.

    Raises:
        DrumtowerError: a key is missing, or does not open.
    """
    batch = repo.sealed_with_others(transaction, keys.newest, limit)
    for of, key in batch:
        repo.reseal(transaction, of, reseal_key(keys, of, key))
    return len(batch)
