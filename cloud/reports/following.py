"""Telling reporters what became of their reports, and taking their answers and ratings."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from cloud.auth.domain import Account
from cloud.db import Database, Transaction
from cloud.errors import ConflictError, NotFoundError
from cloud.reports import repo
from cloud.reports.answers import tell_answer
from cloud.reports.domain import hash_of
from cloud.reports.repo import TextOf
from cloud.reports.schemas import Progress
from cloud.reports.sealing import KeyRing
from cloud.reports.texts import in_clear, keep_text
from cloud.tickets.domain import State
from cloud.verify.domain import VerifySettings
from common.runtime.clock import Clock, to_datetime

_DONE: Final = frozenset({State.CLOSED})
_STEPS: Final[Mapping[State, str]] = {
    State.OPEN: "received",
    State.DISPATCHED: "received",
    State.VERIFYING: "being_checked",
    State.RESOLVED: "being_checked",
    State.CLOSED: "done",
    State.VOID: "put_aside",
}


class FollowService:
    """What whoever reported may ask and say afterwards.

    Args:
        database: where the reports are.
        clock: what time it is.
        keys: what seals personal data; None: words are kept with the numbers struck out.
        verify: how long reporters' answers are waited for.
    """

    def __init__(
        self, database: Database, clock: Clock, *, keys: KeyRing | None, verify: VerifySettings
    ) -> None:
        self._database = database
        self._clock = clock
        self._keys = keys
        self._verify = verify

    def progress(self, receipt: str, secret: str) -> Progress:
        """How a reported matter stands, for whoever holds the receipt and its secret.

        Raises:
            NotFoundError: there is no such receipt, or the secret is another one; which of them is not said.
        """
        with self._database.transaction() as transaction:
            return _progress(_by_receipt(transaction, receipt, secret))

    def answer(self, receipt: str, secret: str, *, done: bool, note: str = "") -> Progress:
        """Take the reporter's word whether it is really done: a no reopens the ticket.

        Raises:
            NotFoundError: as ``progress``.
            ConflictError: nobody says just now that it is solved.
        """

        def work(transaction: Transaction) -> Progress:
            row = _by_receipt(transaction, receipt, secret)
            self._answer(transaction, row, done=done, note=note)
            return _progress(_by_receipt(transaction, receipt, secret))

        return self._database.run(work)

    def answer_for(self, report_id: UUID, account: Account, *, done: bool, note: str = "") -> None:
        """The same, told to somebody of the hotline who called back.

        Raises:
            NotFoundError: no such report.
            ConflictError: nobody says just now that it is solved.
        """

        def work(transaction: Transaction) -> None:
            self._answer(
                transaction, report_row(transaction, report_id), done=done, note=note, told_to=account
            )

        self._database.run(work)

    def _answer(
        self,
        transaction: Transaction,
        row: Mapping[str, Any],
        *,
        done: bool,
        note: str,
        told_to: Account | None = None,
    ) -> None:
        n = tell_answer(
            *(transaction, row),
            done=done,
            note=in_clear(note, self._keys, public=False),
            now=self._now(),
            settings=self._verify,
            told_to=told_to,
        )
        keep_text(transaction, self._keys, TextOf(row["report_id"], "answer", n), {"note": note})

    def rate(self, receipt: str, secret: str, stars: int, note: str = "") -> Progress:
        """Take the reporter's rating, once, after the closing.

        Raises:
            NotFoundError: as ``progress``.
            ConflictError: it is not closed, or was rated.
        """

        def work(transaction: Transaction) -> Progress:
            row = _by_receipt(transaction, receipt, secret)
            if State(row["ticket_state"]) not in _DONE:
                raise ConflictError(
                    "report.not_closed",
                    f"expected a matter that is closed, this one is {row['ticket_state']!r}",
                    "rate it when its progress says that it is done",
                )
            shown = in_clear(note, self._keys, public=False)
            if not repo.rate(transaction, row["report_id"], stars, shown, self._now()):
                raise ConflictError("report.rated", "expected a report without a rating, this one has one")
            keep_text(transaction, self._keys, TextOf(row["report_id"], "rating", 0), {"rating": note})
            return _progress(_by_receipt(transaction, receipt, secret))

        return self._database.run(work)

    def _now(self) -> datetime:
        return to_datetime(self._clock.now_ms())


def report_row(transaction: Transaction, report_id: UUID) -> dict[str, Any]:
    """A report by its id.

    Raises:
        NotFoundError: there is none.
    """
    rows = repo.reports(transaction, report_id=report_id)
    if not rows:
        raise NotFoundError("report.unknown", f"expected the id of a report, got {report_id}, which is none")
    return rows[0]


def _by_receipt(transaction: Transaction, receipt: str, secret: str) -> dict[str, Any]:
    rows = repo.reports(transaction, receipt=receipt)
    if not rows or not hmac.compare_digest(rows[0]["secret_hash"], hash_of(secret)):
        raise NotFoundError(
            "report.unknown_receipt",
            "expected a receipt and the secret that was told with it, found no such pair",
            "both stand in the answer to the report",
        )
    return rows[0]


def _progress(row: Mapping[str, Any]) -> Progress:
    state = State(row["ticket_state"])
    return Progress.model_validate(
        {
            name: row[name]
            for name in ("receipt", "category", "category_zh", "category_en", "received_at", "stars")
        }
        | {
            "step": _STEPS.get(state, "in_hand"),
            "changed_at": row["changed_at"],
            "unit_zh": row["unit_zh"] or "",
            "unit_en": row["unit_en"] or "",
            "asks": state is State.VERIFYING,
            "may_rate": state in _DONE and row["stars"] is None,
        }
    )
