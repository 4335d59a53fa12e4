"""The one transaction in which a batch counts: fencing, deduplication, rules, rows, rejects, hand-over.

``Store.commit`` takes decoded messages and returns when they are on the disk. A database that is away is waited
for with the same batch in hand; a batch that the database refuses is halved until the one bad message is found,
which becomes a reject while the rest goes in.

Two outboxes with one epoch (a cloned card) use the same numbers for different packets. The first to arrive is
kept. A later one that differs from what came under that number among the last ``_REMEMBERED`` packets becomes a
reject (``reused_sequence``), so its bytes are not lost; older reuse looks like an ordinary repeat here and is found
by the box itself, when a receipt covers a number that it never issued.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from common.runtime.clock import Clock, SystemClock
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from gateway import repo
from gateway.batch import BatchResult, Flat
from gateway.decode import Decoded, DecodedStatus, Rejected
from gateway.lease import CHECK_LEASE, LeaseLostError, application_name
from gateway.memory import Memory
from gateway.metrics_catalogue import Metric
from gateway.rules import ThresholdRule
from gateway.transaction import Transaction

_CONNECT_SECONDS: Final = 5
_log = get_logger("store")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one device may cost, in the units of the code."""

    future_ms: int = 24 * 3_600_000
    past_ms: int = 48 * 3_600_000
    reject_bytes_per_day: int = 4 * 2**20
    series_per_device: int = 2000


class StoppedError(TransientError):
    """The gateway was asked to stop while it waited for the database: the batch is not committed."""


class Store:
    """Commits batches of one partition under one lease.

    Args:
        url: the database.
        partition: whose devices these are.
        fencing: the lease's number, checked in every transaction.
        rules: what to step; a change takes a new store.
        metrics: the declared metrics by name.
        stop: gives up waiting for the database.
        lease_lost: asked while the database is away.
        limits: see there.
        on_retry: told of every attempt that the database cut short.
    """

    def __init__(
        self,
        url: str,
        partition: str,
        fencing: int,
        *,
        rules: Sequence[ThresholdRule] = (),
        metrics: dict[str, Metric],
        stop: Stop,
        lease_lost: Callable[[], bool] = lambda: False,
        limits: Limits = Limits(),
        clock: Clock | None = None,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = url
        self._partition = partition
        self._fencing = fencing
        self._rules = tuple(rules)
        self._metrics = metrics
        self._stop = stop
        self._lease_lost = lease_lost
        self._limits = limits
        self._clock = clock or SystemClock()
        self._on_retry = on_retry
        self._connection: repo.Connection | None = None
        self._memory: Memory | None = None
        self._sites: frozenset[str] = frozenset()

    def commit(self, batch: Sequence[Decoded], prepared: Flat | None = None) -> BatchResult:
        """Commit a batch, however long the database takes; ``prepared`` is ``flatten(batch)`` made beforehand.

        Raises:
            LeaseLostError: another gateway has the partition; nothing of the batch is committed by us.
            StoppedError: asked to stop meanwhile.
        """
        failures = 0
        while True:
            if self._lease_lost():
                raise LeaseLostError(self._partition, self._fencing)
            try:
                return self._commit_in_parts(list(batch), prepared)
            except psycopg.errors.ProgramLimitExceeded:
                raise  # refused even alone and as a reject: a bug, not an outage
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.close()
                self._on_retry()
                failures += 1
                _log.warning("batch not committed, trying again", failures=failures, error=str(error).strip())
                delay = min(5.0, 0.1 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.0)
                if self._stop.wait(delay):
                    raise StoppedError(
                        "gateway.stopped", "asked to stop while the database was away", "boxes send it again"
                    ) from error

    def sites(self) -> frozenset[str]:
        """The sites of this partition's devices, as of the last commit."""
        return self._sites

    def close(self) -> None:
        """Forget the connection and all that was learned through it: the database may come back as another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._memory = None

    def _commit_in_parts(self, batch: list[Decoded], prepared: Flat | None = None) -> BatchResult:
        """Commit what the database accepts; a message that it refuses becomes a reject."""
        try:
            return self._transact(batch, prepared)
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded) as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                result = self._commit_in_parts(batch[:middle])
                result.add(self._commit_in_parts(batch[middle:]))
                return result
            return self._transact([_refused(batch[0], error)])

    def _transact(self, batch: list[Decoded], prepared: Flat | None = None) -> BatchResult:
        connection, memory = self._ready(batch)
        with connection.transaction():
            row = connection.execute(CHECK_LEASE, [self._partition, self._fencing]).fetchone()
            if row is None:
                raise LeaseLostError(self._partition, self._fencing)
            transaction = Transaction(
                connection, memory, future_ms=self._limits.future_ms, past_ms=self._limits.past_ms
            )
            transaction.run(batch, prepared)
        transaction.remember()
        self._sites = memory.sites
        transaction.result.incarnation = str(row[0])
        return transaction.result

    def _ready(self, batch: Sequence[Decoded]) -> tuple[repo.Connection, Memory]:
        if self._connection is None or self._memory is None:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
                application_name=application_name(self._partition, self._fencing),
            )
            self._memory = Memory(
                self._partition,
                self._rules,
                self._metrics,
                series_per_device=self._limits.series_per_device,
                reject_quota=self._limits.reject_bytes_per_day,
                clock=self._clock,
            )
            self._memory.load(self._connection)
        elif self._memory.lacks(batch):
            self._memory.load_devices(self._connection)
        return self._connection, self._memory


def _refused(item: Decoded, error: psycopg.Error) -> Rejected:
    """The reject of a message that the database refused; one that was a reject already loses its sender."""
    message = f"the database refused it: {error.sqlstate} {error.diag.message_primary or error}"
    if isinstance(item, Rejected):
        return Rejected("database_refused", f"{item.reason}: {item.message}; {message}", item.raw)
    if isinstance(item, DecodedStatus):
        return Rejected("database_refused", message, item.raw, item.address)
    return Rejected("database_refused", message, item.raw, item.address, item.epoch, item.seq)
