"""One transaction: statements, savepoints, and what it tells the stream when it commits.

Stream ids must become visible in their order: a browser that has seen event 12 asks for what comes after
12, so an event 11 that commits later would be lost to it. An identity column alone does not promise that
(a transaction draws 11, another draws 12 and commits first). So every writer takes one advisory lock
before it draws an id, and PostgreSQL lets go of it only after the commit is visible to others. The lock is
taken as the very last thing before the commit, with everything else already locked: whoever holds it waits
for nothing but the disk, so it can neither deadlock nor be held long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from common.runtime.errors import InvalidError
from common.schema.outages import PASSING

STREAM_CHANNEL = "stream_event"
_STREAM_LOCK = 7_119_417_030


class RefusedRowError(InvalidError):
    """The database refuses a statement for what it says; saying it again does not help."""


class Transaction:
    """An open transaction on a connection of the pool; rows come as dicts."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._connection = connection
        self._announced: list[tuple[str, Mapping[str, Any]]] = []

    def run(self, statement: str, **values: Any) -> int:
        """Execute a statement; the number of rows it touched."""
        return self._connection.execute(statement, values or None).rowcount

    def run_all(self, statement: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Execute a statement for each of these, sent together: one round trip for all."""
        if len(values) == 1:
            self._connection.execute(statement, values[0])
        elif values:
            self._connection.cursor().executemany(statement, values)

    def row(self, statement: str, **values: Any) -> DictRow | None:
        """The first row, or None."""
        return self._connection.execute(statement, values or None).fetchone()

    def one(self, statement: str, **values: Any) -> DictRow:
        """The row of a statement that always gives one."""
        row = self.row(statement, **values)
        if row is None:
            raise LookupError(f"expected a row, got none from: {statement[:120]}")
        return row

    def rows(self, statement: str, **values: Any) -> list[DictRow]:
        """All rows."""
        return self._connection.execute(statement, values or None).fetchall()

    def announce(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Tell the stream, if and when this transaction commits."""
        self._announced.append((kind, payload))

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part that can fail alone.

        Raises:
            RefusedRowError: when the database refuses the data of this part; the transaction goes on.
        """
        mark, whole = len(self._announced), False
        try:
            with self._connection.transaction():
                yield
            whole = True
        except PASSING:
            raise  # a lost connection or a deadlock concerns the whole transaction
        except psycopg.Error as error:
            raise RefusedRowError("db.refused", f"{type(error).__name__}: {error}".strip()) from error
        finally:
            if not whole:
                del self._announced[mark:]

    def flush(self) -> None:
        """Write the announcements; nothing may be locked after this."""
        if not self._announced:
            return
        kinds = [kind for kind, _ in self._announced]
        payloads = [Jsonb(payload) for _, payload in self._announced]
        self._connection.execute("SELECT pg_advisory_xact_lock(%s)", [_STREAM_LOCK])
        self._connection.execute(
            "INSERT INTO stream_event (kind, payload) SELECT kind, payload"
            " FROM unnest(%s::text[], %s::jsonb[]) WITH ORDINALITY AS told (kind, payload, n) ORDER BY n",
            [kinds, payloads],
        )
        self._connection.execute(f"NOTIFY {STREAM_CHANNEL}")
