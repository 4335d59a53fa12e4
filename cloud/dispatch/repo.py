"""Units, rules and assignments in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from cloud.calendar.repo import calendars
from cloud.db import Queries, Transaction
from cloud.dispatch.domain import Book, Rule, StandIn

_Q = Queries("cloud.dispatch")


def place(transaction: Transaction, lon: float, lat: float) -> dict[str, str]:
    """Kind of unit → code, from the grid that owns a point up to the centre."""
    return {row["kind"]: row["unit_code"] for row in transaction.rows(_Q["place"], lon=lon, lat=lat)}


def rules(transaction: Transaction) -> list[Rule]:
    """The routing rules in order."""
    return [
        Rule(**row | {"call": tuple(row["call"]), "place": tuple(row["place"])})
        for row in transaction.rows(_Q["rules"])
    ]


def book(transaction: Transaction) -> Book:
    """Everything that decides whose a matter is."""
    hours = calendars(transaction)
    units = transaction.rows(_Q["units"])
    return Book(
        rules(transaction),
        frozenset(row["unit_code"] for row in units),
        hours,
        {
            row["unit_code"]: StandIn(hours[row["hours"]], row["after_hours"])
            for row in units
            if row["after_hours"] is not None and row["hours"] in hours
        },
    )


def unit_hours(transaction: Transaction, unit_code: str | None) -> str:
    """The name of a unit's calendar; empty where it works at all times."""
    row = transaction.row(_Q["unit_hours"], unit_code=unit_code)
    return "" if row is None else str(row["hours"])


def organisation(transaction: Transaction) -> tuple[dict[str, str | None], dict[str, str]]:
    """Of each unit that is in force the code above it and its kind; what a district's file dropped is left out."""
    rows = transaction.rows(_Q["organisation"])
    return {row["unit_code"]: row["parent_code"] for row in rows}, {
        row["unit_code"]: row["kind"] for row in rows
    }


def unit_kind(transaction: Transaction, unit_code: str) -> str | None:
    """The kind of a unit, or None when there is no such unit."""
    row = transaction.row(_Q["unit"], unit_code=unit_code)
    return None if row is None else str(row["kind"])


@dataclass(frozen=True, slots=True)
class Share:
    """A unit's part in a ticket, about to be recorded."""

    ticket_id: UUID
    unit_code: str
    kind: Literal["owner", "called"]
    now: datetime
    assigned_by: str
    because: str


def assign(transaction: Transaction, share: Share) -> bool:
    """Record a unit's part; a new owner ends the last one's. False: it had been called already."""
    if share.kind == "owner":
        transaction.run(_Q["end_ownership"], ticket_id=share.ticket_id, now=share.now)
    return transaction.run(_Q["assign"], **asdict(share)) == 1


def end_ownership(transaction: Transaction, ticket_id: UUID, now: datetime) -> None:
    """Nobody owns it any more."""
    transaction.run(_Q["end_ownership"], ticket_id=ticket_id, now=now)


def withdraw_calls(
    transaction: Transaction, ticket_id: UUID, wanted: Sequence[str], now: datetime
) -> list[str]:
    """Call off the units that routing called and would not call now; those that were called off."""
    rows = transaction.rows(_Q["withdraw_calls"], ticket_id=ticket_id, wanted=list(wanted), now=now)
    return sorted(row["unit_code"] for row in rows)
