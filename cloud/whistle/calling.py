"""Calling a unit onto a ticket: its share, the time by which it has to be there, and the message that it is called."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cloud.calendar.domain import due_at
from cloud.db import Transaction
from cloud.dispatch import repo as dispatch_repo
from cloud.dispatch.repo import Share
from cloud.duty import repo as duty
from cloud.duty.repo import Notice
from cloud.sla.domain import Policy
from cloud.tickets.domain import Ticket
from cloud.whistle import repo


def call_unit(
    transaction: Transaction, ticket: Ticket, unit_code: str, *, by: str, because: str, now: datetime
) -> bool:
    """Call a unit, by hand or by a rule of routing; it has as long to come as the owner has by the ticket's policy.

    Returns:
        False when it had been called already.
    """
    if not dispatch_repo.assign(transaction, Share(ticket.ticket_id, unit_code, "called", now, by, because)):
        return False
    policy = Policy.from_snapshot(ticket.policy)
    arrive_by = due_at(policy.calendar, now, policy.arrive_s)
    repo.set_deadline(transaction, ticket.ticket_id, unit_code, arrive_by)
    callee = duty.callee(transaction, unit_code, now)
    payload = _about(ticket, because) | {"called_by": by, "due_at": arrive_by.isoformat()}
    key = f"called:{ticket.ticket_id}:{unit_code}"
    duty.notify(transaction, Notice("called", callee, payload, key, now), now)
    return True


def withdraw_call(
    transaction: Transaction, ticket: Ticket, unit_code: str, because: str, now: datetime
) -> None:
    """Tell a unit, whose part has ended, that it need not come."""
    callee = duty.callee(transaction, unit_code, now)
    key = f"call_withdrawn:{ticket.ticket_id}:{unit_code}"
    duty.notify(transaction, Notice("call_withdrawn", callee, _about(ticket, because), key, now), now)


def _about(ticket: Ticket, note: str) -> dict[str, Any]:
    return {
        "ticket_id": str(ticket.ticket_id),
        "number": ticket.number,
        "category": ticket.category,
        "severity": ticket.severity,
        "owner": ticket.unit_code,
        "lon": ticket.lon,
        "lat": ticket.lat,
        "note": note,
    }
