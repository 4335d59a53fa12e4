"""A picture for whoever may see it: from its file, or opened where it is a reporter's photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud.db import Database
from cloud.errors import NotFoundError
from cloud.photos import repo
from cloud.photos.files import JPEG, file_at
from cloud.photos.sealing import open_photo
from cloud.reports.sealing import KeyRing
from common.runtime.errors import InvalidError
from common.schema.evidence import SEALED_MEDIA_TYPE

#: What lies in the clear, by the ends of the files' names.
IN_CLEAR: Final = {"jpg": JPEG, "mp4": "video/mp4"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's content, or the file that holds it."""

    content: bytes | Path
    media_type: str


def find_picture(database: Database, keys: KeyRing | None, directory: Path | None, sha256: str) -> Picture:
    """A picture by the SHA-256 of what is shown. Who may see it was asked before.

    Raises:
        NotFoundError: it has not arrived, or is deleted.
        InvalidError: it is sealed, and the keys are not at hand.
        DrumtowerError: it is sealed and does not open.
        TransientError: the database is away.
    """
    with database.transaction() as transaction:
        found = repo.find(transaction, sha256)
        # A deleted photo's file may still be there for a moment: it is gone all the same.
        is_gone = found is None and repo.is_unnamed(transaction, sha256)
    if directory is not None and found is not None:
        return Picture(_opened(keys, directory, found), JPEG)
    if directory is not None and not is_gone:
        for suffix, media_type in IN_CLEAR.items():
            file = directory / sha256[:2] / f"{sha256}.{suffix}"
            if file.is_file():
                return Picture(file, media_type)
    raise _not_there(sha256)


def _opened(keys: KeyRing | None, directory: Path, found: repo.Found) -> bytes:
    if keys is None:
        raise InvalidError(
            "personal.no_keys",
            "expected the file of keys, this ticket centre was started without",
            "have the operator set DRUMTOWER_PERSONAL_KEYS_FILE",
        )
    try:
        content = file_at(directory, found.file, SEALED_MEDIA_TYPE).read_bytes()
    except FileNotFoundError as error:
        raise _not_there(found.of.sha256) from error
    return open_photo(keys, found.of, found.key, content)


def _not_there(sha256: str) -> NotFoundError:
    return NotFoundError(
        "evidence.not_arrived",
        f"expected a picture {sha256[:12]}… in the store, found none",
        "it may still be on its way from the box; the ticket does not wait for it",
    )
