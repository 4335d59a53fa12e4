"""Looking through the tickets whose claim waits for a look."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from cloud.db import Database
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import Action, EventKind, State
from cloud.tickets.editing import SYSTEM, Editing
from cloud.verify import repo
from cloud.verify.domain import Verdict, VerifySettings, decide

_BATCH = 500


def check_claims(
    database: Database, settings: VerifySettings, now: datetime, *, blind: bool = False
) -> dict[Verdict, int]:
    """Close what is clean, reopen what is dirty, mark what nobody can look at; how many of each.

    Args:
        database: where the tickets are.
        settings: what counts as a look.
        now: the instant.
        blind: look through those already marked instead; there may be many, and little changes for them.

    Raises:
        TransientError: when the database is away.
    """
    verdicts: dict[Verdict, int] = {}
    after: UUID | None = None
    while True:
        with database.transaction() as transaction:
            waiting = ticket_repo.verifying(transaction, blind=blind, after=after, limit=_BATCH)
        for ticket_id in waiting:
            verdict = _check(database, settings, ticket_id, now)
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
        if len(waiting) < _BATCH:
            return verdicts
        after = waiting[-1]


def _check(database: Database, settings: VerifySettings, ticket_id: UUID, now: datetime) -> Verdict:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        if ticket is None or ticket.state is not State.VERIFYING or ticket.claimed_at is None:
            return Verdict.WAIT
        seen = repo.sightings(transaction, ticket_id, ticket.claimed_at)
        verdict = decide(seen, ticket.claimed_at, now, settings)
        editing = Editing(transaction, ticket, now)
        detail = {"devices": len(seen), "looks": min((sighting.looks for sighting in seen), default=0)}
        if verdict is Verdict.CLEAN:
            editing.move(Action.CLOSE, SYSTEM, detail=detail)
        elif verdict is Verdict.DIRTY:
            editing.move(Action.REOPEN, SYSTEM, detail=detail | {"because": "a device sees it again"})
        elif verdict is Verdict.BLIND and ticket.blind_at is None:
            ticket.blind_at = now
            editing.record(EventKind.BLIND, detail=detail)
        editing.save()
        return verdict
