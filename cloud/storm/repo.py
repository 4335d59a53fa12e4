"""Storms in the database. Of two that begin or end one at once, exactly one does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.rows import DictRow

from cloud.db import Queries, Transaction
from cloud.storm.domain import Plan, Storm

_Q = Queries("cloud.storm")


def plan(transaction: Transaction) -> Plan | None:
    """What the district does in a storm; None: nothing."""
    row = transaction.row(_Q["plan"])
    if row is None:
        return None
    lists = {name: tuple(row[name]) for name in ("categories", "rule_categories")}
    return Plan(**row | lists)


def going_on(transaction: Transaction, units: Collection[str] | None = None) -> list[Storm]:
    """Storms that go on, in any of these areas or everywhere, the oldest first."""
    rows = transaction.rows(_Q["going_on"], units=None if units is None else list(units))
    return [Storm(**row) for row in rows]


def newest(transaction: Transaction, limit: int) -> list[Storm]:
    """The storms last begun."""
    return [Storm(**row) for row in transaction.rows(_Q["newest"], limit=limit)]


def one(transaction: Transaction, storm_id: UUID) -> Storm | None:
    """A storm."""
    row = transaction.row(_Q["one"], storm_id=storm_id)
    return None if row is None else Storm(**row)


def events(transaction: Transaction, storm_ids: Collection[UUID]) -> list[DictRow]:
    """The histories of storms."""
    return transaction.rows(_Q["events"], storm_ids=list(storm_ids))


def begin(transaction: Transaction, storm: Storm) -> bool:
    """Write a storm that begins; False: one goes on there already."""
    return transaction.run(_Q["begin"], **asdict(storm)) == 1


def end(transaction: Transaction, storm_id: UUID, by: str, reason: str, now: datetime) -> bool:
    """Write its end; False: it had ended."""
    return transaction.run(_Q["end"], storm_id=storm_id, by=by, reason=reason, now=now) == 1


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A line of a storm's history."""

    kind: Literal["began", "ended"]
    actor_id: str
    actor_name: str
    reason: str
    at: datetime


def add_event(transaction: Transaction, storm_id: UUID, event: NewEvent) -> None:
    """Append to a storm's history."""
    transaction.run(_Q["add_event"], storm_id=storm_id, **asdict(event))


def areas_over(
    transaction: Transaction, codes: Collection[str], since: datetime, area: str, least: int
) -> list[tuple[str, int]]:
    """Units of a kind in which so many incidents of these categories began since; with how many."""
    rows = transaction.rows(_Q["areas_over"], codes=list(codes), since=since, area=area, least=least)
    return [(row["unit_code"], row["incidents"]) for row in rows]


def areas_busy(transaction: Transaction, codes: Collection[str], since: datetime) -> set[str]:
    """Units in which an incident of these categories was seen since."""
    return {row["unit_code"] for row in transaction.rows(_Q["areas_busy"], codes=list(codes), since=since)}


def unit_kind(transaction: Transaction, unit_code: str) -> str | None:
    """The kind of a unit; None: there is no such unit."""
    row = transaction.row(_Q["unit_kind"], unit_code=unit_code)
    return None if row is None else str(row["kind"])


def categories_open(transaction: Transaction, raise_to: int) -> list[str]:
    """The categories of open tickets below a severity."""
    return [row["category"] for row in transaction.rows(_Q["categories_open"], raise_to=raise_to)]


def to_raise(
    transaction: Transaction, unit_code: str, codes: Collection[str], raise_to: int, limit: int
) -> list[UUID]:
    """Open tickets of an area and of these categories below a severity."""
    rows = transaction.rows(
        _Q["to_raise"], unit_code=unit_code, codes=list(codes), raise_to=raise_to, limit=limit
    )
    return [row["ticket_id"] for row in rows]
