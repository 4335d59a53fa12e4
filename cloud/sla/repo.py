"""Clocks and policies in the database. A ticket's clocks are changed only with its row locked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from cloud.calendar.repo import calendars
from cloud.db import Queries, Transaction
from cloud.dispatch.domain import fits
from cloud.dispatch.repo import unit_hours
from cloud.sla.domain import FALLBACK_POLICY, Clock, ClockName, Clocks, Escalate, Policy
from cloud.sla.ladder import DEFAULT_LADDER, Rung

_Q = Queries("cloud.sla")


def clocks_of(transaction: Transaction, ticket_id: UUID) -> Clocks:
    """All clocks of a ticket, oldest first."""
    return tuple(Clock(**row) for row in transaction.rows(_Q["clocks_of"], ticket_id=ticket_id))


def save(transaction: Transaction, ticket_id: UUID, before: Clocks, after: Clocks) -> None:
    """Write what differs."""
    known = set(before)
    changed = [asdict(clock) | {"ticket_id": ticket_id} for clock in after if clock not in known]
    transaction.run_all(_Q["save_clock"], changed)


def due(transaction: Transaction, now: datetime, limit: int) -> list[tuple[UUID, ClockName, int]]:
    """Which clocks are due, the longest overdue first: ticket, name, round."""
    rows = transaction.rows(_Q["due_clocks"], now=now, limit=limit)
    return [(row["ticket_id"], row["name"], row["round"]) for row in rows]


def policy_for(
    transaction: Transaction,
    category: str,
    severity: int,
    *,
    storm: bool = False,
    unit_code: str | None = None,
) -> Policy:
    """The first policy that fits, or the fallback; those for storms only in one, and then first.

    ``unit_code`` is the owner, for policies that run in its hours.
    """
    for row in transaction.rows(_Q["policies"]):
        if row["storm"] and not storm:
            continue
        if severity >= row["min_severity"] and fits(row["category"], category):
            hours = unit_hours(transaction, unit_code) if row["hours"] == "unit" else row["hours"]
            return Policy(
                row["name"],
                row["ack_s"],
                row["arrive_s"],
                row["resolve_s"],
                row["position"],
                calendars(transaction).get(hours) if hours else None,
                row["storm"],
                tuple(Escalate(**one) for one in row["escalate"]),
            )
    return FALLBACK_POLICY


def ladder(transaction: Transaction) -> tuple[Rung, ...]:
    """The district's ladder, or the usual one where it names none."""
    rows = transaction.rows(_Q["ladder"])
    return tuple(Rung(**row) for row in rows) or DEFAULT_LADDER


@dataclass(frozen=True, slots=True)
class Pending:
    """What a missed clock still leads to."""

    ticket_id: UUID
    clock: ClockName
    round: int
    target: str
    due_at: datetime
    again_s: int | None


def put_off(transaction: Transaction, pending: Pending) -> None:
    """Escalate later, unless the clock is met before."""
    transaction.run(_Q["put_off"], **asdict(pending))


def drop_pending(transaction: Transaction, ticket_id: UUID, clock: ClockName, number: int) -> None:
    """No more of it."""
    transaction.run(_Q["drop_pending"], ticket_id=ticket_id, clock=clock, round=number)


def pending_due(transaction: Transaction, now: datetime, limit: int) -> list[tuple[UUID, ClockName, int]]:
    """Escalations that are due, the longest overdue first: ticket, clock, round."""
    rows = transaction.rows(_Q["pending_due"], now=now, limit=limit)
    return [(row["ticket_id"], row["clock"], row["round"]) for row in rows]


def pending(transaction: Transaction, ticket_id: UUID, clock: ClockName, number: int) -> Pending | None:
    """One of them, read again with its ticket locked."""
    row = transaction.row(_Q["pending"], ticket_id=ticket_id, clock=clock, round=number)
    return None if row is None else Pending(**row)


def reviews_due(transaction: Transaction, now: datetime, again: datetime, limit: int) -> list[UUID]:
    """Suspended tickets whose review date has passed and whom nobody was reminded of since ``again``."""
    return [
        row["ticket_id"] for row in transaction.rows(_Q["reviews_due"], now=now, again=again, limit=limit)
    ]


def note_reminder(transaction: Transaction, ticket_id: UUID, review_at: datetime, now: datetime) -> int:
    """Remember that somebody was reminded of a review; how many times now. Another date begins anew."""
    row = transaction.one(_Q["note_reminder"], ticket_id=ticket_id, review_at=review_at, now=now)
    return int(row["times"])


def last_reminder(transaction: Transaction, ticket_id: UUID, review_at: datetime) -> datetime | None:
    """When somebody was last reminded of this review."""
    row = transaction.row(_Q["last_reminder"], ticket_id=ticket_id, review_at=review_at)
    return None if row is None else row["told_at"]
