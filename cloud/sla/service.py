"""The sweeper's part: clocks that are due fire, each exactly once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from cloud.db import Database
from cloud.sla import domain, repo
from cloud.sla.domain import ClockName
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import FINAL, Action, EventKind, State
from cloud.tickets.editing import Editing

_BATCH = 200


def fire_due(database: Database, now: datetime) -> int:
    """Fire what is due: a line in the history, one level up, and the clock is missed.

    The ticket's row is the lock: the clock is read again under it, so that of two sweepers, or of a sweeper
    and somebody who acts at that instant, one comes first and the other sees it. A ticket that is held just
    now is left to the next sweep.

    Returns:
        How many fired.

    Raises:
        TransientError: when the database is away.
    """
    with database.transaction() as transaction:
        due = repo.due(transaction, now, _BATCH)
    return sum(_fire(database, ticket_id, name, number, now) for ticket_id, name, number in due)


def resume_reviewed(database: Database, now: datetime) -> int:
    """Set suspended tickets going again whose review is due: a suspension nobody looks at must not last for ever.

    Returns:
        How many.

    Raises:
        TransientError: when the database is away.
    """
    with database.transaction() as transaction:
        due = ticket_repo.due_for_review(transaction, now, _BATCH)
    return sum(_resume(database, ticket_id, now) for ticket_id in due)


def _resume(database: Database, ticket_id: UUID, now: datetime) -> bool:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        if ticket is None or ticket.state is not State.SUSPENDED or (ticket.review_at or now) > now:
            return False
        editing = Editing(transaction, ticket, now)
        editing.move(Action.RESUME, detail={"because": "the review is due"})
        editing.save()
        return True


def _fire(database: Database, ticket_id: UUID, name: ClockName, number: int, now: datetime) -> bool:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        if ticket is None or ticket.state in FINAL:
            return False
        editing = Editing(transaction, ticket, now)
        for clock in editing.clocks:
            missed = domain.miss(clock, now) if (clock.name, clock.round) == (name, number) else None
            if missed is not None:
                editing.clocks = tuple(missed if other is clock else other for other in editing.clocks)
                ticket.level += 1
                detail = {
                    "clock": name,
                    "round": number,
                    "due_at": clock.due_at.isoformat(),
                    "level": ticket.level,
                }
                editing.record(EventKind.CLOCK_MISSED, detail=detail)
                editing.save()
                return True
        return False
