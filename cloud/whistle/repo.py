"""Calls, conferences, promises and advice in the database. The only module of the feature that speaks SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import DictRow

from cloud.db import Queries, Transaction

_Q = Queries("cloud.whistle")


@dataclass(frozen=True, slots=True)
class Call:
    """A unit that was called onto a ticket, as far as its coming goes."""

    assignment_id: int
    ticket_id: UUID
    unit_code: str
    assigned_at: datetime
    arrive_due_at: datetime | None
    arrived_at: datetime | None
    missed_at: datetime | None
    watch_at: datetime | None


@dataclass(frozen=True, slots=True)
class Task:
    """What a unit owes."""

    task_id: UUID
    ticket_id: UUID
    unit_code: str
    what: str
    due_at: datetime
    done_at: datetime | None
    missed_at: datetime | None
    watch_at: datetime | None


@dataclass(frozen=True, slots=True)
class Arrived:
    """An arrival that was checked."""

    assignment_id: int
    arrived_at: datetime
    reported_at: datetime
    arrived_by: str
    lon: float
    lat: float
    distance_m: float


@dataclass(frozen=True, slots=True)
class NewConference:
    """A conference that was held."""

    conference_id: UUID
    ticket_id: UUID
    held_at: datetime
    recorded_at: datetime
    account_id: UUID
    recorded_by: str
    present: list[str]
    findings: str
    decision: str


@dataclass(frozen=True, slots=True)
class NewTask:
    """A promise of a conference; ``n`` counts them from 1."""

    task_id: UUID
    conference_id: UUID
    ticket_id: UUID
    n: int
    unit_code: str
    what: str
    due_at: datetime


def set_deadline(transaction: Transaction, ticket_id: UUID, unit_code: str, due_at: datetime) -> None:
    """By when a called unit has to be there."""
    transaction.run(_Q["call"], ticket_id=ticket_id, unit_code=unit_code, due_at=due_at)


def call_of(transaction: Transaction, ticket_id: UUID, unit_code: str) -> Call | None:
    """The call of a unit onto a ticket."""
    row = transaction.row(_Q["call_of"], ticket_id=ticket_id, unit_code=unit_code)
    return None if row is None else Call(**row)


def note_arrival(transaction: Transaction, arrived: Arrived) -> None:
    """A called unit is there."""
    transaction.run(_Q["arrive"], **asdict(arrived))


def calls(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """The units called onto a ticket, in order."""
    return transaction.rows(_Q["calls"], ticket_id=ticket_id)


def known_units(transaction: Transaction, codes: Iterable[str]) -> set[str]:
    """Those of these codes that are units."""
    return {row["unit_code"] for row in transaction.rows(_Q["units"], codes=list(codes))}


def add_conference(transaction: Transaction, conference: NewConference, tasks: Sequence[NewTask]) -> None:
    """Write down a conference and what was promised there."""
    transaction.run(_Q["insert_conference"], **asdict(conference))
    transaction.run_all(_Q["insert_task"], [asdict(task) for task in tasks])


def conferences(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """A ticket's conferences, in order."""
    return transaction.rows(_Q["conferences"], ticket_id=ticket_id)


def tasks(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """What is owed for a ticket, what is due first at the beginning."""
    return transaction.rows(_Q["tasks"], ticket_id=ticket_id)


def task(transaction: Transaction, task_id: UUID) -> Task | None:
    """One promise."""
    row = transaction.row(_Q["task"], task_id=task_id)
    return None if row is None else Task(**row)


def finish_task(transaction: Transaction, task_id: UUID, by: str, note: str, now: datetime) -> bool:
    """It is kept. False: it was kept before."""
    return transaction.run(_Q["finish_task"], task_id=task_id, by=by, note=note, now=now) == 1


def due_calls(transaction: Transaction, now: datetime, limit: int) -> list[tuple[UUID, str]]:
    """Calls to look at: ticket and unit."""
    rows = transaction.rows(_Q["due_calls"], now=now, limit=limit)
    return [(row["ticket_id"], row["unit_code"]) for row in rows]


def due_tasks(transaction: Transaction, now: datetime, limit: int) -> list[tuple[UUID, UUID]]:
    """Promises to look at: ticket and promise."""
    rows = transaction.rows(_Q["due_tasks"], now=now, limit=limit)
    return [(row["ticket_id"], row["task_id"]) for row in rows]


def watch_call(
    transaction: Transaction, call: Call, watch_at: datetime | None, missed_at: datetime | None
) -> None:
    """When to look at a call next, and since when it is missed."""
    transaction.run(
        _Q["watch_call"], assignment_id=call.assignment_id, watch_at=watch_at, missed_at=missed_at
    )


def watch_task(
    transaction: Transaction, task: Task, watch_at: datetime | None, missed_at: datetime | None
) -> None:
    """When to look at a promise next, and since when it is missed."""
    transaction.run(_Q["watch_task"], task_id=task.task_id, watch_at=watch_at, missed_at=missed_at)


def ask(
    transaction: Transaction, advice_id: UUID, ticket_id: UUID, question: dict[str, str], now: datetime
) -> None:
    """Write down a question to an adviser: ``adviser``, ``unit_code``, ``question``, ``by``."""
    transaction.run(_Q["insert_advice"], advice_id=advice_id, ticket_id=ticket_id, now=now, **question)


def answer(
    transaction: Transaction, advice_id: UUID, ticket_id: UUID, *, text: str, by: str, now: datetime
) -> bool:
    """Write down an answer. False: there is no such question, or it has one."""
    given = {"advice_id": advice_id, "ticket_id": ticket_id, "answer": text, "by": by, "now": now}
    return transaction.run(_Q["answer_advice"], **given) == 1


def advice(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """What advisers were asked about a ticket, in order."""
    return transaction.rows(_Q["advice"], ticket_id=ticket_id)
