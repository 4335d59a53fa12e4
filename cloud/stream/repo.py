"""Stream events in the database, and the one connection that hears of new ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import psycopg
from psycopg.rows import DictRow, dict_row

from cloud.db import Queries, Transaction
from cloud.db.transaction import STREAM_CHANNEL
from cloud.stream.domain import StreamEvent
from common.runtime.errors import TransientError
from common.schema.outages import PASSING

_Q = Queries("cloud.stream")


def after(transaction: Transaction, event_id: int, limit: int) -> list[StreamEvent]:
    """What comes after an event, in order."""
    return [StreamEvent(**row) for row in transaction.rows(_Q["after"], event_id=event_id, limit=limit)]


def bounds(transaction: Transaction) -> tuple[int, int]:
    """The first and the last event that are kept; (0, 0) when there are none."""
    row = transaction.one(_Q["bounds"])
    return row["first"], row["last"]


def prune(transaction: Transaction, before: datetime) -> int:
    """Forget what is older; how many."""
    return transaction.run(_Q["prune"], before=before)


class Feed:
    """A connection that hears of new events and reads them."""

    def __init__(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        self._connection = connection

    async def newest(self, limit: int) -> list[StreamEvent]:
        """The latest events, in order."""
        cursor = await self._connection.execute(_Q["newest"], {"limit": limit})
        return [StreamEvent(**row) for row in await cursor.fetchall()]

    async def after(self, event_id: int, limit: int) -> list[StreamEvent]:
        """What comes after an event, in order."""
        cursor = await self._connection.execute(_Q["after"], {"event_id": event_id, "limit": limit})
        return [StreamEvent(**row) for row in await cursor.fetchall()]

    async def wait(self, seconds: float) -> None:
        """Wait for a NOTIFY, or that long."""
        async for _ in self._connection.notifies(timeout=seconds, stop_after=1):
            pass


@asynccontextmanager
async def open_feed(url: str) -> AsyncIterator[Feed]:
    """Listen.

    Raises:
        TransientError: when the database is away, also from within the block.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(
            url, autocommit=True, row_factory=dict_row, application_name="drumtower-stream"
        )
        async with connection:
            await connection.execute(f"LISTEN {STREAM_CHANNEL}")
            yield Feed(connection)
    except PASSING as error:
        raise TransientError(
            "db.unavailable", f"the database did not carry it out: {error}".strip(), "it is tried again"
        ) from error
