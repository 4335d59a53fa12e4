"""The inbox in the database. The only module of the feature that speaks SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from psycopg.rows import DictRow

from cloud.db import Queries, Transaction

CHANNEL = "observation_inbox"
_Q = Queries("cloud.inbox")


def take(transaction: Transaction, now: datetime, limit: int) -> list[DictRow]:
    """Rows that nobody else holds, locked, each with its device and how often it was tried."""
    return transaction.rows(_Q["take"], now=now, limit=limit)


def delete(transaction: Transaction, inbox_ids: Sequence[int]) -> None:
    """They are applied."""
    transaction.run(_Q["delete"], inbox_ids=list(inbox_ids))


def try_later(transaction: Transaction, inbox_ids: Sequence[int], error: str, next_at: datetime) -> None:
    """They failed; have them come again."""
    transaction.run(_Q["try_later"], inbox_ids=list(inbox_ids), error=error, next_at=next_at)


def give_up(
    transaction: Transaction, inbox_ids: Sequence[int], error: str, attempts: int, now: datetime
) -> None:
    """They failed for good: keep them apart with the reason."""
    transaction.run(_Q["give_up"], inbox_ids=list(inbox_ids), error=error, attempts=attempts, now=now)
    delete(transaction, inbox_ids)


def put_back(transaction: Transaction) -> int:
    """All that failed goes back to be tried again, after a fix; how many."""
    return transaction.run(_Q["put_back"])


def failed(transaction: Transaction, limit: int) -> list[DictRow]:
    """What failed, oldest first."""
    return transaction.rows(_Q["failed"], limit=limit)


def counts(transaction: Transaction) -> DictRow:
    """How many wait and how many failed; how long the oldest waits, in seconds (None: nothing waits)."""
    return transaction.one(_Q["counts"])
