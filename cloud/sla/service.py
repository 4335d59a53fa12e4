"""The sweeper's part: clocks that are due fire, each exactly once, and lead to what their policy says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cloud.db import Database
from cloud.sla import domain, repo
from cloud.sla.domain import Clock, ClockName, Clocks
from cloud.sla.escalation import after_miss, go_on, remind_of_review
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import FINAL, EventKind, State
from cloud.tickets.editing import Editing

_BATCH = 200
#: A review that nobody looks at is told once a day.
REMIND_AGAIN: Final = timedelta(days=1)


def fire_due(database: Database, now: datetime) -> int:
    """Fire what is due: a line in the history, the clock is missed, and who is to know is told.

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


def escalate_due(database: Database, now: datetime) -> int:
    """Escalate what was missed and still is not met, where the policy leaves time in between.

    Returns:
        How many were escalated.

    Raises:
        TransientError: when the database is away.
    """
    with database.transaction() as transaction:
        due = repo.pending_due(transaction, now, _BATCH)
    return sum(_escalate(database, ticket_id, name, number, now) for ticket_id, name, number in due)


def remind_of_reviews(database: Database, now: datetime) -> int:
    """Remind of suspensions whose review date has passed, once a day; only a person sets them going again.

    Returns:
        How many.

    Raises:
        TransientError: when the database is away.
    """
    with database.transaction() as transaction:
        due = repo.reviews_due(transaction, now, now - REMIND_AGAIN, _BATCH)
    return sum(_remind(database, ticket_id, now) for ticket_id in due)


def _remind(database: Database, ticket_id: UUID, now: datetime) -> bool:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        if ticket is None or ticket.state is not State.SUSPENDED:
            return False
        if ticket.review_at is None or ticket.review_at > now:
            return False
        told_at = repo.last_reminder(transaction, ticket_id, ticket.review_at)
        if told_at is not None and told_at > now - REMIND_AGAIN:
            return False
        editing = Editing(transaction, ticket, now)
        remind_of_review(editing, repo.note_reminder(transaction, ticket_id, ticket.review_at, now))
        editing.save()
        return True


def _fire(database: Database, ticket_id: UUID, name: ClockName, number: int, now: datetime) -> bool:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        if ticket is None or ticket.state in FINAL:
            return False
        editing = Editing(transaction, ticket, now)
        clock = _find(editing.clocks, name, number)
        missed = None if clock is None else domain.miss(clock, now)
        if clock is None or missed is None:
            return False
        editing.clocks = tuple(missed if other is clock else other for other in editing.clocks)
        detail = {"clock": name, "round": number, "due_at": clock.due_at.isoformat(), "level": ticket.level}
        editing.record(EventKind.CLOCK_MISSED, detail=detail)
        after_miss(editing, missed)
        editing.save()
        return True


def _escalate(database: Database, ticket_id: UUID, name: ClockName, number: int, now: datetime) -> bool:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        if ticket is None:
            return False
        pending = repo.pending(transaction, ticket_id, name, number)
        if pending is None or pending.due_at > now:
            return False
        editing = Editing(transaction, ticket, now)
        clock = _find(editing.clocks, name, number)
        # Who claims that it is solved need not come any more; whether it is, verification finds out.
        over = ticket.state in FINAL | {State.RESOLVED, State.VERIFYING}
        if over or clock is None or not _still_missed(editing.clocks, clock):
            repo.drop_pending(transaction, ticket_id, name, number)
            return False
        if ticket.state in {State.SUSPENDED, State.MERGED}:
            # Nobody is blamed while it rests; what was left of the wait is not kept, so begin it again.
            wait = timedelta(seconds=pending.again_s or 0) or REMIND_AGAIN
            repo.put_off(transaction, replace(pending, due_at=now + wait))
            return False
        before = ticket.level
        go_on(editing, clock, pending)
        editing.save()
        return ticket.level > before


def _find(clocks: Clocks, name: ClockName, number: int) -> Clock | None:
    return next((clock for clock in clocks if (clock.name, clock.round) == (name, number)), None)


def _still_missed(clocks: Clocks, clock: Clock) -> bool:
    latest = max(other.round for other in clocks if other.name == clock.name)
    return clock.state == "missed" and clock.met_at is None and clock.round == latest
