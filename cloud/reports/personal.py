"""Who reported: opened for whom a role lets, written down each time, sealed anew with a new key."""

from __future__ import annotations

from uuid import UUID

from cloud.auth import repo as auth_repo
from cloud.auth.domain import Account
from cloud.auth.roles import may_any
from cloud.db import Database, Transaction
from cloud.errors import ForbiddenError, NotFoundError
from cloud.photos.keeping import reseal_some
from cloud.reports import repo
from cloud.reports.following import report_row
from cloud.reports.repo import TextOf
from cloud.reports.schemas import Reporter
from cloud.reports.sealing import KeyRing
from cloud.reports.texts import bound_to, seal_text
from common.runtime.clock import Clock, to_datetime
from common.runtime.errors import InvalidError

_BATCH = 500


def show_person(
    database: Database, clock: Clock, keys: KeyRing | None, report_id: UUID, account: Account, *, address: str
) -> Reporter:
    """Who reported. That somebody looked stands in the audit before they are shown anything.

    Raises:
        NotFoundError: no such report, nobody said who they are, or it was deleted.
        ForbiddenError: not with this role, or not at this place.
        InvalidError: the key is not at hand.
    """
    with database.transaction() as transaction:
        row = report_row(transaction, report_id)
        if not may_any(account, "personal", (row["unit_code"], row["grid_code"])):
            raise ForbiddenError(
                "report.forbidden",
                f"{account.name} ({account.role} of {account.unit_code}) may not see who reported a matter of"
                f" {row['unit_code'] or 'nobody'}",
                "ask a dispatcher of that unit, or of one above it",
            )
        sealed = repo.person(transaction, report_id)
        if sealed is None:
            raise NotFoundError(
                "report.no_person", "expected somebody's name, phone or e-mail, found none or deleted ones"
            )
        if keys is None:
            raise InvalidError(
                "personal.no_keys",
                "expected the file of keys, this ticket centre was started without",
                "have the operator set DRUMTOWER_PERSONAL_KEYS_FILE",
            )
        shown = Reporter.model_validate_json(keys.open(sealed, report_id.bytes))
        auth_repo.add_audit(
            transaction,
            to_datetime(clock.now_ms()),
            account.name,
            "personal_viewed",
            account_id=account.account_id,
            address=address,
            detail={"report_id": str(report_id), "receipt": row["receipt"]},
        )
    return shown


def rotate(database: Database, keys: KeyRing) -> int:
    """Seal everything anew that another key than the newest sealed, and words that still stand in the clear; how much.

    In batches, each a transaction of its own: stopped anywhere, what is done is done and the rest opens with its old
    key until the next run.

    Raises:
        DrumtowerError: a key is missing, or a text does not open; the texts before it are done.
    """
    done = 0
    while True:
        with database.transaction() as transaction:
            batch = repo.sealed_with_others(transaction, keys.newest, _BATCH)
            for report_id, sealed in batch:
                text = keys.open(sealed, report_id.bytes)
                repo.reseal(transaction, report_id, keys.seal(text, report_id.bytes))
            texts = repo.texts_sealed_with_others(transaction, keys.newest, _BATCH)
            for of, sealed in texts:
                repo.insert_text(transaction, of, keys.seal(keys.open(sealed, bound_to(of)), bound_to(of)))
            in_clear = _seal_what_is_in_clear(transaction, keys)
            photos = reseal_some(transaction, keys, _BATCH)
        turn = len(batch) + len(texts) + in_clear + photos
        if not turn:
            return done
        done += turn


def _seal_what_is_in_clear(transaction: Transaction, keys: KeyRing) -> int:
    """Reports that came while there was no key, or before texts were sealed."""
    report_ids = repo.reports_in_clear(transaction, _BATCH)
    for row in repo.texts_in_clear(transaction, report_ids):
        report_id: UUID = row["report_id"]
        told = {"description": row["description"], "address": row["address"]}
        seal_text(transaction, keys, TextOf(report_id, "told", 0), told)
        if row["rating"]:
            seal_text(transaction, keys, TextOf(report_id, "rating", 0), {"rating": row["rating"]})
        for n, note in row["answers"].items():
            seal_text(transaction, keys, TextOf(report_id, "answer", int(n)), {"note": note})
    repo.take_out_words(transaction, report_ids)
    return len(report_ids)
