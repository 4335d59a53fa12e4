"""Clocks and policies in the database. A ticket's clocks are changed only with its row locked."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from cloud.db import Queries, Transaction
from cloud.dispatch.domain import fits
from cloud.sla.domain import FALLBACK_POLICY, Clock, ClockName, Clocks, Policy

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


def policy_for(transaction: Transaction, category: str, severity: int) -> Policy:
    """The first policy that fits, or the fallback."""
    for row in transaction.rows(_Q["policies"]):
        if severity >= row["min_severity"] and fits(row["category"], category):
            return Policy(row["name"], row["ack_s"], row["arrive_s"], row["resolve_s"], row["position"])
    return FALLBACK_POLICY
