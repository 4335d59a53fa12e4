"""A year of a district's tickets and observations, made by the database and written without its indexes.

Everything that the pages and the interface read is there: matters, incidents with their observations, tickets with
clocks, units and history, reports of people with their stars. A fiftieth of the tickets is open, most of these from
the last days. The rows keep the rules of the schema, but the histories carry no true hashes.

As a restore does it: indexes come after the rows, and neither foreign keys nor triggers are asked for each of them. Two
connections write, one the observations, one all the rest: a core each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from benchmarks import tickets_rows as rows
from benchmarks.tickets_rig import place_of

DAYS: Final = 365
OPEN_SHARE: Final = 0.02
#: Observations of each incident that is a ticket; the others are passing acts, counted by device and hour.
PER_TICKET: Final = 4
PER_HOUR: Final = 64
REPORTED_SHARE: Final = 0.2
_MOST_A_MATTER: Final = 10
_SEEN: Final = "incident_observation"
_REST: Final = (*rows.OF_TICKETS,)
#: While rows come, checkpoints and vacuums would only write and read them once more.
_LOADING: Final = {"max_wal_size": "'16GB'", "checkpoint_timeout": "'1h'", "autovacuum": "off"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was written."""

    tickets: int
    observations: int
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """The values of the statements in ``tickets_rows``."""

    tickets: int
    acts: int
    per_ticket: int
    boxes: int
    now: datetime
    matters: int
    open_ones: int
    per_hour: int = PER_HOUR
    days: int = DAYS
    open_share: float = OPEN_SHARE
    reported: float = REPORTED_SHARE
    categories: int = len(rows.CONDITIONS)
    act: str = rows.ACT


def load(url: str, tickets: int, observations: int) -> Loaded:
    """Write so many of both into a prepared, empty database."""
    began = time.monotonic()
    with _writer(url) as connection, _settings(connection):
        boxes = _prepare(connection)
        per_ticket = min(PER_TICKET, max(observations // tickets, 1))
        plan = _Plan(
            tickets=tickets,
            acts=max(observations - tickets * per_ticket, 0),
            per_ticket=per_ticket,
            boxes=boxes,
            now=datetime.now(UTC).replace(microsecond=0),
            matters=max(tickets // _MOST_A_MATTER, 1),
            open_ones=round(tickets * OPEN_SHARE),
        )
        values = asdict(plan)
        connection.execute(rows.MADE, values)
        connection.execute("ANALYZE made")
        _at_once(lambda: _write_observations(url, values), lambda: _write_tickets(connection, values))
        for statement in rows.DROPPED:
            connection.execute(statement)
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    written = plan.tickets * plan.per_ticket + plan.acts
    return Loaded(tickets, written, round(time.monotonic() - began, 1), row[0] if row else 0)


@contextmanager
def _writer(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("SET work_mem = '256MB'")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET max_parallel_maintenance_workers = 0")
        yield connection


@contextmanager
def _settings(connection: psycopg.Connection) -> Iterator[None]:
    """The server's own, put back whatever happens."""
    for name, value in _LOADING.items():
        connection.execute(f"ALTER SYSTEM SET {name} = {value}")
    connection.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        for name in _LOADING:
            connection.execute(f"ALTER SYSTEM RESET {name}")
        connection.execute("SELECT pg_reload_conf()")


def _prepare(connection: psycopg.Connection) -> int:
    """What the statements stand on; how many boxes there are."""
    for statement in rows.PREPARED:
        connection.execute(statement)
    devices = connection.execute(
        "SELECT device_id, grid_at(lon, lat) FROM device WHERE name LIKE 'box-%' ORDER BY device_id"
    ).fetchall()
    units = connection.execute("SELECT unit_code, kind FROM unit ORDER BY unit_code").fetchall()
    of_kind: dict[str, list[str]] = {}
    for code, kind in units:
        of_kind.setdefault(kind, []).append(code)
    kinds = ("grid", "street", "community", "department")
    fallback = of_kind["grid"][0]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO made_box VALUES (%s, %s, %s, %s, %s)",
            [(k, device, grid or fallback, *place_of(k)) for k, (device, grid) in enumerate(devices)],
        )
        cursor.executemany(
            "INSERT INTO made_category VALUES (%s, %s, %s, %s, %s)",
            [(k, *said, of_kind[kinds[k % len(kinds)]]) for k, said in enumerate(rows.CONDITIONS)],
        )
    return len(devices)


def _write_observations(url: str, values: Mapping[str, Any]) -> None:
    with _writer(url) as connection:
        again = _drop_indexes(connection, [_SEEN])
        for statement in rows.OBSERVATIONS:
            connection.execute(statement, values)
        for made in again:
            connection.execute(made)
        connection.execute(f"VACUUM (ANALYZE) {_SEEN}")


def _write_tickets(connection: psycopg.Connection, values: Mapping[str, Any]) -> None:
    again = _drop_indexes(connection, _REST)
    for statement in rows.OF_TICKETS.values():
        connection.execute(statement, values)
    connection.execute(rows.INCIDENTS_OF_ACTS, values)
    for made in again:
        connection.execute(made)
    connection.execute(
        "SELECT setval(pg_get_serial_sequence('matter', 'matter_id'), max(matter_id)) FROM matter"
    )


def _drop_indexes(connection: psycopg.Connection, tables: Sequence[str]) -> list[str]:
    """Drop the indexes that no foreign key stands on; the statements that make them again, constraints and all."""
    constraints = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint AS it"
        " WHERE contype IN ('p', 'u') AND conrelid = ANY (%s::regclass[]) AND NOT EXISTS ("
        "SELECT FROM pg_constraint AS key WHERE key.contype = 'f' AND key.conindid = it.conindid)",
        [list(tables)],
    ).fetchall()
    again = []
    for table, name, definition in constraints:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        again.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY (%s) AND NOT EXISTS ("
        "SELECT FROM pg_constraint WHERE conindid = format('%%I.%%I', schemaname, indexname)::regclass)",
        [list(tables)],
    ).fetchall()
    for name, definition in indexes:
        connection.execute(f"DROP INDEX {name}")
        again.append(definition)
    return again


def _at_once(beside: Callable[[], None], here: Callable[[], None]) -> None:
    """Do two things at once; what fails in either is raised here."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            beside()
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        here()
    finally:
        thread.join()
    if failed:
        raise failed[0]
