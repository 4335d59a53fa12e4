"""Changing a ticket: its row, its history, its clocks and what the stream hears, written together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloud.db import Transaction
from cloud.sla import repo as clock_repo
from cloud.sla.domain import Clocks, Policy
from cloud.tickets import repo
from cloud.tickets.domain import (
    FINAL,
    TRANSITIONS,
    Action,
    EventKind,
    Ground,
    State,
    Ticket,
    clocks_after,
    ground_of,
    next_state,
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts; the system has no id."""

    actor_id: str
    name: str


SYSTEM = Actor("", "system")


class Editing:
    """A ticket that this transaction has locked.

    Every change is a line of the history first; the ticket's version is the number of its last line.
    ``save`` writes everything at once.
    """

    def __init__(
        self, transaction: Transaction, ticket: Ticket, now: datetime, clocks: Clocks | None = None
    ) -> None:
        self.transaction = transaction
        self.ticket = ticket
        self.now = now
        self.is_new = clocks is not None
        self._clocks_before: Clocks = (
            () if clocks is not None else clock_repo.clocks_of(transaction, ticket.ticket_id)
        )
        self.clocks: Clocks = self._clocks_before if clocks is None else clocks
        self._events: list[repo.NewEvent] = []

    def record(
        self,
        kind: EventKind,
        actor: Actor = SYSTEM,
        note: str = "",
        detail: Mapping[str, Any] | None = None,
        *,
        to_state: State | None = None,
    ) -> None:
        """Add a line to the history, and move the ticket when it names another state."""
        ticket = self.ticket
        before = None if self.is_new and not self._events else ticket.state
        ticket.state = to_state or ticket.state
        ticket.version += 1
        self._events.append(
            repo.NewEvent(
                ticket.version,
                self.now,
                kind,
                actor.actor_id,
                actor.name,
                before,
                ticket.state,
                note,
                detail or {},
            )
        )

    def move(
        self,
        action: Action,
        actor: Actor = SYSTEM,
        note: str = "",
        detail: Mapping[str, Any] | None = None,
        *,
        ground: Ground | None = None,
    ) -> None:
        """Carry out a step of the table with what belongs to every such step.

        Args:
            action: which step.
            actor: who takes it.
            note: why.
            detail: what else the history says.
            ground: of a step that closes, by what.

        Raises:
            ConflictError: when the table has no such step from here.
            InvalidError: when it would close on no ground, or on one that is not this step's.
        """
        ticket = self.ticket
        target = next_state(ticket.state, action, ticket.resumes_to)
        ticket.closed_by = ground_of(action, target, ground)
        policy = Policy.from_snapshot(ticket.policy)
        self.clocks = clocks_after(action, self.clocks, policy, self.now)
        match action:
            case Action.SUSPEND | Action.MERGE:
                ticket.resumes_to = ticket.state
            case Action.RESUME:
                ticket.resumes_to = ticket.review_at = None
            case Action.SPLIT:
                ticket.resumes_to = ticket.merged_into = None
            case Action.DISPATCH:
                ticket.dispatched_at, ticket.unassigned = self.now, False
            case Action.RESOLVE:
                ticket.claimed_at = self.now
            case Action.REOPEN:
                ticket.reopenings += 1
                ticket.claimed_at = ticket.blind_at = None
            case Action.CONFIRM:
                ticket.overridden = True
            case _:
                pass
        if target in FINAL:
            ticket.closed_at = self.now
            ticket.resumes_to = None
        self.record(TRANSITIONS[action].event, actor, note, detail, to_state=target)

    def save(self) -> None:
        """Write what changed; without a line in the history nothing did."""
        if not self._events:
            return
        ticket = self.ticket
        (repo.insert if self.is_new else repo.update)(self.transaction, ticket)
        repo.add_events(self.transaction, ticket.ticket_id, self._events)
        clock_repo.save(self.transaction, ticket.ticket_id, self._clocks_before, self.clocks)
        self.transaction.announce("ticket.opened" if self.is_new else "ticket.changed", self._news())

    def _news(self) -> dict[str, Any]:
        ticket = self.ticket
        return {
            "ticket_id": str(ticket.ticket_id),
            "number": ticket.number,
            "category": ticket.category,
            "channel": ticket.channel,
            "severity": ticket.severity,
            "state": ticket.state,
            "version": ticket.version,
            "level": ticket.level,
            "unit_code": ticket.unit_code,
            "unassigned": ticket.unassigned,
            "grid_code": ticket.grid_code,
            "lon": ticket.lon,
            "lat": ticket.lat,
            "opened_at": ticket.opened_at.isoformat(),
            "events": [event.kind for event in self._events],
        }
