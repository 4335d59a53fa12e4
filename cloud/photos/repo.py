"""Photos in the database. The only module of the feature that speaks SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from cloud.db import Queries, Transaction
from cloud.photos.sealing import PhotoOf, Whose
from cloud.reports.sealing import Sealed
from common.schema.evidence import REMOVAL_LOCK

_Q = Queries("cloud.photos")


@dataclass(frozen=True, slots=True)
class FileName:
    """A file in the folder of evidence: the SHA-256 of its content, and what that is."""

    file: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Found:
    """A sealed photo: whose it is, the file that holds it, and its sealed key."""

    of: PhotoOf
    file: str
    key: Sealed


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has photos: a report or a ticket."""

    owner_id: UUID
    whose: Whose


@dataclass(frozen=True, slots=True)
class Due:
    """A file that is due to be removed, unless something names it after all."""

    name: FileName
    is_named: bool


def announce(transaction: Transaction, name: FileName, due_at: datetime) -> None:
    """Note a file that is about to be written; from an instant on it is removed, if nobody claims it."""
    transaction.run(_Q["announce"], **asdict(name), due_at=due_at)


def claim(transaction: Transaction, file: str) -> bool:
    """Keep an announced file from being removed; False: it is removed already, or was never announced."""
    return bool(transaction.run(_Q["claim"], file=file))


def insert_evidence(transaction: Transaction, name: FileName, size: int, at: datetime) -> None:
    """Name a file, and hold it to the end of the transaction."""
    transaction.run(_Q["insert_evidence"], **asdict(name), size=size, at=at)


def insert_photo(transaction: Transaction, of: PhotoOf, file: str, key: Sealed) -> None:
    """Keep the key of a sealed photo; one that proves a ticket stands there already."""
    transaction.run(_Q[f"insert_photo_of_{of.whose}"], **_place(of), file=file, **asdict(key))


def find(transaction: Transaction, sha256: str) -> Found | None:
    """A sealed photo by the SHA-256 of the photo."""
    row = transaction.row(_Q["find"], sha256=sha256)
    if row is None:
        return None
    of = PhotoOf(row.pop("owner_id"), sha256, row.pop("whose"))
    return Found(of, row.pop("file"), Sealed(**row))


def is_unnamed(transaction: Transaction, sha256: str) -> bool:
    """Whether a file is there, if at all, only until it is removed."""
    return bool(transaction.one(_Q["is_unnamed"], sha256=sha256)["it"])


def sealed_with_others(transaction: Transaction, key_id: str, limit: int) -> list[tuple[PhotoOf, Sealed]]:
    """The photos' keys that are sealed with any other key, locked."""
    whose: tuple[Whose, ...] = ("report", "ticket")
    return [
        (PhotoOf(row.pop("owner_id"), row.pop("sha256"), kind), Sealed(**row))
        for kind in whose
        for row in transaction.rows(_Q[f"{kind}s_sealed_with_others"], key_id=key_id, limit=limit)
    ]


def reseal(transaction: Transaction, of: PhotoOf, key: Sealed) -> None:
    """Replace a photo's sealed key by the same under another one."""
    transaction.run(_Q[f"reseal_of_{of.whose}"], **_place(of), **asdict(key))


def in_clear(transaction: Transaction, after: UUID | None, limit: int) -> list[Owner]:
    """Reports and tickets after one (None: from the first) that have photos in the clear, in order."""
    return [Owner(**row) for row in transaction.rows(_Q["in_clear"], after=after, limit=limit)]


def count_in_clear(transaction: Transaction) -> int:
    """How many reports and tickets have photos in the clear."""
    return int(transaction.one(_Q["count_in_clear"])["count"])


def lock_owner(transaction: Transaction, owner: Owner) -> None:
    """Keep a report, or a ticket's photos, as they are to the end of the transaction."""
    transaction.run(_Q[f"lock_{owner.whose}"], owner_id=owner.owner_id)


def unsealed(transaction: Transaction, owner: Owner) -> list[str]:
    """The photos of a report or ticket that lie in the clear."""
    rows = transaction.rows(_Q[f"unsealed_of_{owner.whose}"], owner_id=owner.owner_id)
    return [row["sha256"] for row in rows]


def note_all_sealed(transaction: Transaction, owner: Owner) -> None:
    """No photo of this report lies in the clear; of a ticket's each says so itself."""
    if owner.whose == "report":
        transaction.run(_Q["all_sealed"], report_id=owner.owner_id)


def lock_due(transaction: Transaction, before: datetime) -> dict[UUID, list[str]]:
    """Reports with photos of what was closed before an instant, locked, with the photos that they name."""
    rows = transaction.rows(_Q["lock_due"], before=before)
    return {row["report_id"]: [photo["sha256"] for photo in row["photos"]] for row in rows}


def delete(transaction: Transaction, report_ids: Sequence[UUID]) -> list[str]:
    """Delete the keys of some reports' photos and take the photos out; the files that nothing opens any more."""
    files = [row["file"] for row in transaction.rows(_Q["delete_keys"], report_ids=list(report_ids))]
    transaction.run(_Q["take_out"], report_ids=list(report_ids))
    return files


def let_go(transaction: Transaction, files: Sequence[str], now: datetime) -> None:
    """Have files removed that nothing names any more; the others stay."""
    # Who names one of them just now holds it: only afterwards is seen whether anybody does.
    transaction.rows(_Q["lock_evidence"], files=list(files))
    transaction.run(_Q["let_go"], files=list(files), now=now)


def nobody_copies(transaction: Transaction) -> bool:
    """Whether no backup is at work, and none begins before the end of the transaction."""
    return bool(transaction.one(_Q["nobody_copies"], lock=REMOVAL_LOCK)["it"])


def due_files(transaction: Transaction, now: datetime, limit: int) -> list[Due]:
    """Files to be removed, locked."""
    rows = transaction.rows(_Q["due_files"], now=now, limit=limit)
    return [Due(FileName(row["sha256"], row["media_type"]), row["is_named"]) for row in rows]


def note_removed(transaction: Transaction, files: Sequence[str]) -> None:
    """These files need not be removed any more."""
    transaction.run(_Q["removed"], files=list(files))


def _place(of: PhotoOf) -> dict[str, object]:
    return {"owner_id": of.owner_id, "sha256": of.sha256}
