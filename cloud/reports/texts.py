"""What people wrote: sealed with their report, opened for whom a role lets.

Bound to report, part and number, so that no sealed text opens in another's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from cloud.auth.domain import Account
from cloud.auth.roles import may_any
from cloud.db import Database, Transaction
from cloud.errors import ForbiddenError
from cloud.reports import repo
from cloud.reports.repo import TextOf
from cloud.reports.sealing import KeyRing, Sealed
from cloud.reports.striking import struck
from cloud.tickets import repo as ticket_repo


@dataclass(frozen=True, slots=True)
class Written:
    """All that one reporter wrote; empty where nothing was written or it is deleted."""

    description: str = ""
    address: str = ""
    rating: str = ""
    answers: Mapping[int, str] = field(default_factory=dict)


def bound_to(of: TextOf) -> bytes:
    """What a sealed text belongs to."""
    return of.report_id.bytes + f"|{of.part}|{of.n}".encode()


def seal_text(transaction: Transaction, keys: KeyRing, of: TextOf, text: Mapping[str, str]) -> None:
    """Keep words sealed."""
    repo.insert_text(transaction, of, keys.seal(msgspec.json.encode(dict(text)), bound_to(of)))


def keep_text(transaction: Transaction, keys: KeyRing | None, of: TextOf, text: Mapping[str, str]) -> None:
    """The same, where there is a key and anything was written."""
    if keys is not None and any(text.values()):
        seal_text(transaction, keys, of, text)


def in_clear(text: str, keys: KeyRing | None, *, public: bool) -> str:
    """What of a text stands beside the sealed one."""
    return struck(text) if public or keys is None else ""


def written(
    transaction: Transaction, keys: KeyRing | None, report_ids: Sequence[UUID]
) -> dict[UUID, Written]:
    """What the reporters of some reports wrote.

    Raises:
        DrumtowerError: a key is missing, or a text does not open.
    """
    told: dict[UUID, dict[str, str]] = {}
    answers: dict[UUID, dict[int, str]] = {}
    for row in repo.texts_in_clear(transaction, report_ids):
        told[row["report_id"]] = {name: row[name] for name in ("description", "address", "rating")}
        answers[row["report_id"]] = {int(n): note for n, note in row["answers"].items()}
    for of, sealed in repo.texts(transaction, report_ids) if keys is not None else ():
        opened = _open(keys, of, sealed)
        if of.part == "answer":
            answers[of.report_id][of.n] = opened["note"]
        else:
            told[of.report_id] |= opened
    return {report_id: Written(**told[report_id], answers=answers[report_id]) for report_id in told}


def _open(keys: KeyRing | None, of: TextOf, sealed: Sealed) -> dict[str, str]:
    assert keys is not None
    text = keys.open(sealed, bound_to(of))
    return msgspec.json.decode(text, type=dict[str, str])


def require_may_see(database: Database, account: Account, sha256: str) -> None:
    """Reporters' photos show faces and plates as they were: only those see them who may read what was told.

    Raises:
        ForbiddenError: it is such a photo, and the account works on none of its tickets.
        TransientError: the database is away.
    """
    with database.transaction() as transaction:
        tickets = repo.tickets_of_photo(transaction, sha256)
        if tickets and not any(may_read(transaction, account, ticket_id) for ticket_id in tickets):
            raise ForbiddenError(
                "evidence.forbidden",
                f"{account.name} ({account.role} of {account.unit_code}) may not see a photo that a reporter sent of"
                " a matter that others work on",
                "ask a handler of the ticket's unit, of its grid, or of a department that was called",
            )


def may_read(transaction: Transaction, account: Account, ticket_id: UUID) -> bool:
    """Whether an account may read what people wrote of a ticket's matter, and see their photos.

    For those who work on it: its unit, the unit of its place, and those called onto it.
    """
    ticket = ticket_repo.units_of(transaction, ticket_id)
    return may_any(account, "told", ticket)
