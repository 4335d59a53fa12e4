"""What a reporter says when asked whether it is really done; verification decides what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloud.auth.domain import Account
from cloud.db import Transaction
from cloud.errors import ConflictError
from cloud.reports import repo
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import EventKind, State
from cloud.tickets.editing import Actor, Editing
from cloud.verify import requests
from cloud.verify.domain import VerifySettings


def tell_answer(
    transaction: Transaction,
    report: Mapping[str, Any],
    *,
    done: bool,
    note: str,
    now: datetime,
    settings: VerifySettings,
    told_to: Account | None = None,
) -> int:
    """Write an answer down and hand it to verification. The words stay with the report.

    Returns:
        Its number among the report's answers.

    Raises:
        ConflictError: nobody says just now that it is solved.
    """
    ticket = ticket_repo.lock(transaction, report["ticket_id"])
    if ticket is None or ticket.state is not State.VERIFYING:
        state = "gone" if ticket is None else ticket.state.value
        raise ConflictError(
            "report.nothing_asked",
            f"expected a matter that is said to be solved and is being checked, this one is {state!r}",
            "read the progress again; it says when it asks",
        )
    n = repo.add_answer(
        transaction, report["report_id"], (ticket.ticket_id, ticket.version), now, done=done, note=note
    )
    actor = Actor(str(report["report_id"]), report["receipt"])
    if told_to is not None:
        actor = Actor(str(told_to.account_id), told_to.shown_name)
    editing = Editing(transaction, ticket, now)
    detail = {"report_id": str(report["report_id"]), "receipt": report["receipt"], "done": done}
    editing.record(EventKind.REPORTER_ANSWERED, actor, detail=detail)
    requests.answer(editing, str(report["report_id"]), satisfied=done, actor=actor, settings=settings)
    editing.save()
    return n
