"""Asking who reported a matter whether it is really done: the port between verification and the reports.

Verification asks (``keep_asked``), whoever brings the answer calls ``answer`` with the ticket locked and in its own
transaction, so that the answer, the history and the ticket's new state are written together. A reporter is known here
by a reference alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cloud.errors import ConflictError
from cloud.tickets.domain import Action, EventKind, Ground, State
from cloud.tickets.editing import SYSTEM, Actor, Editing
from cloud.verify import repo
from cloud.verify.domain import Asked, Verdict, VerifySettings, conclude


def keep_asked(editing: Editing, settings: VerifySettings) -> list[Asked]:
    """Ask everybody who reported the ticket's matter and was not asked since this claim; all that were asked."""
    ticket = editing.ticket
    assert ticket.claimed_at is not None, "only what is claimed is asked about"
    transaction = editing.transaction
    asked = repo.asked(transaction, ticket.ticket_id, ticket.claimed_at)
    known = {one.reference for one in asked}
    new = [one for one in repo.reporters(transaction, ticket.ticket_id) if one not in known]
    if not new:
        return asked
    expires_at = editing.now + timedelta(hours=settings.answer_within_h)
    repo.ask(transaction, ticket.ticket_id, ticket.claimed_at, new, (editing.now, expires_at))
    editing.record(EventKind.REPORTERS_ASKED, detail={"reports": new, "expires_at": expires_at.isoformat()})
    return [*asked, *(Asked(reference, expires_at, None) for reference in new)]


def answer(
    editing: Editing,
    reference: str,
    *,
    satisfied: bool,
    actor: Actor = SYSTEM,
    note: str = "",
    settings: VerifySettings | None = None,
) -> bool:
    """Take a reporter's answer: a no reopens at once; a yes closes at once what no device saw.

    Where devices saw the matter a yes is written down and their looks decide, or, where they cannot look, the next
    round of verification does. The caller has locked the ticket and saves it.

    Args:
        editing: the ticket.
        reference: who answers.
        satisfied: whether it is really done.
        actor: in whose name the history is written.
        note: their words.
        settings: how long the others are waited for.

    Returns:
        Whether the ticket has left verification.

    Raises:
        ConflictError: nobody claims just now that it is done, so nothing was asked.
    """
    ticket = editing.ticket
    if ticket.state is not State.VERIFYING or ticket.claimed_at is None:
        raise ConflictError(
            "ticket.nothing_asked",
            f"expected a ticket that is being verified, {ticket.number} is {ticket.state.value!r}",
            "read it again; somebody is asked when it is said to be done",
        )
    asked = keep_asked(editing, settings or VerifySettings())
    if reference not in {one.reference for one in asked}:
        until = editing.now + timedelta(hours=(settings or VerifySettings()).answer_within_h)
        during = (editing.now, until)
        repo.ask(editing.transaction, ticket.ticket_id, ticket.claimed_at, [reference], during)
    repo.answer(
        editing.transaction,
        ticket.ticket_id,
        ticket.claimed_at,
        reference,
        satisfied=satisfied,
        now=editing.now,
    )
    if not satisfied:
        because = {"because": "the reporter says it is not done", "reference": reference}
        editing.move(Action.REOPEN, actor, note, because)
        return True
    asked = repo.asked(editing.transaction, ticket.ticket_id, ticket.claimed_at)
    has_devices = repo.is_seen_by_devices(editing.transaction, ticket.ticket_id)
    verdict = Verdict.BLIND if ticket.blind_at is not None else Verdict.WAIT
    found = conclude(verdict, asked, editing.now, has_devices=has_devices)
    if found.ground is None:
        return False
    close(editing, found.ground, actor, note, {"reference": reference})
    return True


def close(editing: Editing, ground: Ground, actor: Actor, note: str, detail: Mapping[str, Any]) -> None:
    """Close by what was found."""
    editing.move(Action.CLOSE, actor, note, {**detail, "by": ground.value}, ground=ground)


def asked_of(editing: Editing) -> list[Asked]:
    """Who was asked since the claim."""
    ticket = editing.ticket
    if ticket.claimed_at is None:
        return []
    return repo.asked(editing.transaction, ticket.ticket_id, ticket.claimed_at)


def is_awaited(asked: list[Asked], now: datetime) -> datetime | None:
    """Until when an answer is waited for; None: for none."""
    return max(
        (one.expires_at for one in asked if one.satisfied is None and one.expires_at > now), default=None
    )
