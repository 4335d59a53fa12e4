"""Tickets in the database. The only module of the feature that speaks SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from cloud.db import Queries, Transaction
from cloud.incidents.order import Facts, Seen
from cloud.tickets.domain import EventKind, State, Ticket
from cloud.tickets.schemas import TicketFilters

_Q = Queries("cloud.tickets")
_EVERYTHING = TicketFilters()


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A line to be written into a history."""

    n: int
    at: datetime
    kind: EventKind
    actor_id: str
    actor_name: str
    from_state: State | None
    to_state: State
    note: str
    detail: Mapping[str, Any]


def next_count(transaction: Transaction, day: date) -> int:
    """Which ticket of a day the next one is."""
    return int(transaction.one(_Q["next_number"], day=day)["last"])


def lock(transaction: Transaction, ticket_id: UUID) -> Ticket | None:
    """A ticket, locked to the end of the transaction."""
    row = transaction.row(_Q["lock_ticket"], ticket_id=ticket_id)
    return None if row is None else Ticket(**row)


def try_lock(transaction: Transaction, ticket_id: UUID) -> Ticket | None:
    """The same, or None when somebody else holds it just now."""
    row = transaction.row(_Q["try_lock_ticket"], ticket_id=ticket_id)
    return None if row is None else Ticket(**row)


def ticket_of_incident(transaction: Transaction, incident_id: UUID) -> UUID | None:
    """The ticket that an incident stands in."""
    row = transaction.row(_Q["ticket_of_incident"], incident_id=incident_id)
    return None if row is None else row["ticket_id"]


def open_ticket_of_matter(transaction: Transaction, matter_id: int) -> UUID | None:
    """The one open ticket of a matter."""
    row = transaction.row(_Q["open_ticket_of_matter"], matter_id=matter_id)
    return None if row is None else row["ticket_id"]


def link(transaction: Transaction, incident_id: UUID, ticket_id: UUID, now: datetime) -> None:
    """Put an incident into a ticket."""
    transaction.run(_Q["link_incident"], incident_id=incident_id, ticket_id=ticket_id, now=now)


def insert(transaction: Transaction, ticket: Ticket) -> None:
    """Write a new ticket."""
    transaction.run(_Q["insert_ticket"], **_values(ticket))


def update(transaction: Transaction, ticket: Ticket) -> None:
    """Write a changed ticket."""
    transaction.run(_Q["update_ticket"], **_values(ticket))


def add_events(transaction: Transaction, ticket_id: UUID, events: Iterable[NewEvent]) -> None:
    """Append to the history."""
    transaction.run_all(
        _Q["add_event"],
        [asdict(event) | {"ticket_id": ticket_id, "detail": Jsonb(event.detail)} for event in events],
    )


def seen_at_opening(
    transaction: Transaction, incident_id: UUID, ticket_id: UUID | None, bound: timedelta
) -> list[Seen]:
    """What was observed about the beginning of a ticket, or of the incident that is to open one."""
    rows = transaction.rows(_Q["seen_at_opening"], incident_id=incident_id, ticket_id=ticket_id, bound=bound)
    return [Seen(**row | {"severe_since": tuple(row["severe_since"])}) for row in rows]


def opening(transaction: Transaction, ticket_id: UUID) -> Facts | None:
    """By what a ticket was opened; None where people told of it, or too late."""
    row = transaction.row(_Q["opening"], ticket_id=ticket_id)
    return None if row is None else Facts(**row)


def save_opening(transaction: Transaction, ticket_id: UUID, facts: Facts) -> None:
    """Remember by what a ticket was opened."""
    transaction.run(_Q["save_opening"], ticket_id=ticket_id, **asdict(facts))


def touched(transaction: Transaction, ticket_id: UUID) -> bool:
    """Whether a person has done anything to a ticket."""
    return bool(transaction.one(_Q["touched"], ticket_id=ticket_id)["it"])


def incidents_of(transaction: Transaction, ticket_id: UUID) -> list[UUID]:
    """The incidents that stand in a ticket."""
    return [row["incident_id"] for row in transaction.rows(_Q["incidents_of"], ticket_id=ticket_id)]


def units_of(transaction: Transaction, ticket_id: UUID) -> list[str | None]:
    """Who works on a ticket: its owner, the unit of its place, and those called onto it."""
    return [row["unit_code"] for row in transaction.rows(_Q["units_of"], ticket_id=ticket_id)]


def called_units(transaction: Transaction, ticket_id: UUID) -> list[str]:
    """Departments that were called onto a ticket."""
    return [row["unit_code"] for row in transaction.rows(_Q["called_units"], ticket_id=ticket_id)]


def verifying(transaction: Transaction, *, blind: bool, after: UUID | None, limit: int) -> list[UUID]:
    """Tickets that wait for a look, in the order of their ids, after one; those known to be blind or the others."""
    rows = transaction.rows(_Q["verifying"], blind=blind, after=after, limit=limit)
    return [row["ticket_id"] for row in rows]


def due_for_review(transaction: Transaction, now: datetime, limit: int) -> list[UUID]:
    """Suspended tickets whose review is due, the longest overdue first."""
    return [row["ticket_id"] for row in transaction.rows(_Q["due_for_review"], now=now, limit=limit)]


def summaries(
    transaction: Transaction,
    filters: TicketFilters = _EVERYTHING,
    before: tuple[datetime, UUID] | None = None,
    ticket_id: UUID | None = None,
    extra: int = 0,
) -> list[DictRow]:
    """Lines of the list, newest first; ``extra`` more than the limit, to see whether there is a next page."""
    before_at, before_id = before or (None, None)
    west, south, east, north = filters.bbox.split(",") if filters.bbox else (None, None, None, None)
    # What to read first depends on which filters are set: a plan for all of them would walk a year of tickets.
    transaction.run(_Q["plan_each"])
    return transaction.rows(
        _Q["summaries"],
        ticket_id=ticket_id,
        states=list(filters.state) or None,
        open=filters.open,
        category=filters.category,
        channel=filters.channel,
        min_severity=filters.min_severity,
        unassigned=filters.unassigned,
        overdue=filters.overdue,
        unit_code=filters.unit_code,
        number=filters.number,
        grid_code=filters.grid_code,
        opened_since=filters.opened_since,
        opened_until=filters.opened_until,
        west=west,
        south=south,
        east=east,
        north=north,
        before_at=before_at,
        before_id=before_id,
        limit=filters.limit + extra,
    )


def events(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """A ticket's history, in order."""
    return transaction.rows(_Q["events"], ticket_id=ticket_id)


def assignments(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """The units' parts in a ticket, in order."""
    return transaction.rows(_Q["assignments"], ticket_id=ticket_id)


def linked_incidents(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """A ticket's incidents with what their devices measured and photographed."""
    return transaction.rows(_Q["linked_incidents"], ticket_id=ticket_id)


def reports(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """What people told of a ticket's matter, the newest first."""
    return transaction.rows(_Q["reports"], ticket_id=ticket_id)


def arrived_evidence(transaction: Transaction, hashes: list[str]) -> set[str]:
    """Which of these pictures are in the store."""
    return {row["sha256"] for row in transaction.rows(_Q["arrived_evidence"], hashes=hashes)}


def _values(ticket: Ticket) -> dict[str, Any]:
    return asdict(ticket) | {"policy": Jsonb(ticket.policy)}
