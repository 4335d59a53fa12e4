"""Keys of requests and what was answered to them, in the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from cloud.db import Queries, Transaction

_Q = Queries("cloud.idempotency")


@dataclass(frozen=True, slots=True)
class Known:
    """A request that was sent before; ``status`` is None while it is not answered."""

    request_hash: bytes
    begun_at: datetime
    status: int | None
    headers: Mapping[str, str] | None
    body: bytes | None


def begin(transaction: Transaction, owner: str, key: str, request_hash: bytes, now: datetime) -> bool:
    """Whether this is the first request with its key."""
    return bool(transaction.run(_Q["begin"], owner=owner, key=key, request_hash=request_hash, now=now))


def find(transaction: Transaction, owner: str, key: str) -> Known | None:
    """What is known of a key."""
    row = transaction.row(_Q["find"], owner=owner, key=key)
    return None if row is None else Known(**row)


def keep(
    transaction: Transaction,
    owner: str,
    key: str,
    *,
    status: int,
    headers: Mapping[str, str],
    body: bytes | None,
) -> None:
    """Keep the answer."""
    transaction.run(_Q["keep"], owner=owner, key=key, status=status, headers=Jsonb(dict(headers)), body=body)


def let_go(transaction: Transaction, owner: str, key: str) -> None:
    """Forget a request that changed nothing, so that its key can be used again."""
    transaction.run(_Q["let_go"], owner=owner, key=key)


def prune(transaction: Transaction, before: datetime) -> None:
    """Forget what is older."""
    transaction.run(_Q["prune"], before=before)
