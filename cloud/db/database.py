"""The pool, transactions on it, and waiting for a NOTIFY."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from cloud.db.transaction import Transaction
from common.runtime.errors import TransientError
from common.schema.outages import PASSING, notices_silence

T = TypeVar("T")
_POOL_WAIT_S = 5.0
_RECONNECT_S = 2.0
_RACES = 4


class RaceLostError(TransientError):
    """A deadlock or a serialisation failure: another transaction won, do this one again at once."""


@contextmanager
def _away_is_transient() -> Iterator[None]:
    """A database that is away, and a transaction that lost a race, are both worth another try."""
    try:
        yield
    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
        raise RaceLostError(
            "db.race_lost", f"another transaction won: {error}".strip(), "try again"
        ) from error
    except PASSING as error:
        # A lock timeout and an exhausted pool are operational errors too.
        raise TransientError(
            "db.unavailable",
            f"the database did not carry it out: {error}".strip(),
            "it is tried again; if it lasts, look at the database's log",
        ) from error


class Database:
    """Transactions on a pool of connections.

    Args:
        url: ``postgresql://…``.
        size: most connections at a time.
    """

    def __init__(self, url: str, size: int = 12) -> None:
        self.url = url
        self._pool: ConnectionPool[psycopg.Connection[DictRow]] = ConnectionPool(
            url,
            min_size=1,
            max_size=size,
            timeout=_POOL_WAIT_S,
            # Few tries in a row: their pauses double, and a database that is back should be noticed at once.
            reconnect_timeout=_RECONNECT_S,
            # Autocommit, so that a transaction is exactly what `transaction()` opens.
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "application_name": "drumtower-cloud",
                **notices_silence(url),
            },
            check=ConnectionPool.check_connection,
            connection_class=psycopg.Connection[DictRow],
            open=False,
        )

    def open(self) -> None:
        """Connect.

        Raises:
            TransientError: when the database does not answer in time.
        """
        with _away_is_transient():
            self._pool.open(wait=True, timeout=_POOL_WAIT_S)

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()

    def __enter__(self) -> Self:
        """Open it."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction: committed at the end of the block, rolled back by any exception.

        Raises:
            TransientError: when the database is away or the transaction lost a race; do it again from the
                beginning.
        """
        with _away_is_transient(), self._pool.connection() as connection, connection.transaction():
            transaction = Transaction(connection)
            yield transaction
            transaction.flush()

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Do something in a transaction, again from the beginning when it loses a race.

        Raises:
            TransientError: when the database is away, or the race is lost every time.
        """
        for attempt in range(1, _RACES + 1):
            try:
                with self.transaction() as transaction:
                    return work(transaction)
            except RaceLostError:
                if attempt == _RACES:
                    raise
                time.sleep(random.uniform(0.005, 0.02) * attempt)
        raise AssertionError("the loop above returns or raises")

    @contextmanager
    def listen(self, channel: str) -> Iterator[Listener]:
        """A connection of its own that hears a channel.

        Raises:
            TransientError: when the database is away, also from within the block.
        """
        with (
            _away_is_transient(),
            psycopg.connect(self.url, autocommit=True, **notices_silence(self.url)) as connection,
        ):
            connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
            yield Listener(connection)


class Listener:
    """Waits for a NOTIFY. It only wakes: what there is to do is always read from the tables."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def wait(self, seconds: float) -> bool:
        """Whether somebody notified within that time."""
        return any(True for _ in self._connection.notifies(timeout=seconds, stop_after=1))


def take_locks(transaction: Transaction, names: Iterable[str]) -> None:
    """Take advisory locks, to the end of the transaction, always in one order so that two never deadlock."""
    keys = sorted({lock_key(name) for name in names})
    # A scan of an array yields it in its order, and the lock is taken as each element is yielded.
    transaction.run("SELECT pg_advisory_xact_lock(key) FROM unnest(%(keys)s::bigint[]) AS key", keys=keys)


def lock_key(name: str) -> int:
    """A lock's 64-bit number from its name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
