"""Looking through the tickets whose claim waits for a look."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from cloud.db import Database, Transaction
from cloud.recurring.measuring import measure_claim
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import Action, EventKind, State
from cloud.tickets.editing import SYSTEM, Editing
from cloud.verify import repo
from cloud.verify.domain import A_DEVICE, Verdict, VerifySettings, conclude, decide, graver
from cloud.verify.requests import close, keep_asked
from common.runtime.clock import to_ms

_BATCH = 500
_LOOKS = 8
_PICTURES = 4


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
        editing = Editing(transaction, ticket, now)
        asked = keep_asked(editing, settings)
        verdict = decide(seen, ticket.claimed_at, now, settings)
        detail: dict[str, Any] = {
            "devices": len(seen),
            "looks": min((sighting.looks for sighting in seen), default=0),
        }
        measured = measure_claim(transaction, ticket, now)
        if measured is not None:
            # A passing act cannot be looked at again; how often it happens can be counted again. What was merged
            # with it is looked at besides.
            verdict = graver(verdict, measured.verdict) if seen else measured.verdict
            detail |= measured.detail()
        found = conclude(verdict, asked, now, has_devices=bool(seen) or measured is not None)
        if found.ground is not None:
            close(editing, found.ground, SYSTEM, "", detail)
        elif found.verdict is Verdict.DIRTY:
            looked = _looked(transaction, ticket_id, ticket.claimed_at) if verdict is Verdict.DIRTY else {}
            because = found.because
            if measured is not None and measured.verdict is Verdict.DIRTY and because == A_DEVICE:
                because = "the rate has not come down"
            editing.move(Action.REOPEN, SYSTEM, detail=detail | {"because": because} | looked)
        elif found.verdict is Verdict.BLIND and ticket.blind_at is None:
            ticket.blind_at = now
            editing.record(EventKind.BLIND, detail=detail)
        editing.save()
        return found.verdict


def _looked(transaction: Transaction, ticket_id: UUID, claimed_at: datetime) -> dict[str, Any]:
    """The dirty look itself, for the history: who saw what, and the newest pictures that were taken since the claim."""
    found = repo.dirty_looks(transaction, ticket_id, claimed_at, _LOOKS)
    pictures = {
        picture["sha256"]: picture
        for row in found
        for picture in row["evidence"]
        if picture["captured_at"] > to_ms(claimed_at)
    }
    newest = sorted(pictures.values(), key=lambda picture: picture["captured_at"], reverse=True)
    seen = [
        {name: row[name] for name in ("device", "sensor", "category", "value", "unit")}
        | {"at": row["at"].isoformat()}
        for row in found
    ]
    return {"seen": seen, "pictures": newest[:_PICTURES]}
