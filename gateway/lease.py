"""Leases on partitions: one gateway at a time takes in a partition's messages.

A lease is a row with holder, fencing number and expiry by the database's clock. What makes it safe is not the
expiry but the fencing number, which every batch checks in its own transaction (``CHECK_LEASE``): the row is taken
FOR KEY SHARE there and FOR UPDATE by a takeover, so a takeover waits for a batch in flight, and a batch that comes
after it finds another number and commits nothing. A holder that hangs inside a batch is ended by the taker once
its lease has expired (``pg_terminate_backend`` by application name), so it cannot hold the row for ever.

Source of the idea: C. Gray, D. Cheriton, "Leases" (SOSP 1989); fencing as in M. Kleppmann, "How to do
distributed locking" (2016).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

import psycopg

from common.runtime.clock import Clock, SystemClock
from common.runtime.errors import DrumtowerError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.schema.outages import PASSING, notices_silence
from common.schema.trouble import trouble_of

#: Asked first in every batch's transaction: the store's incarnation, the rules' version, and what last moved a device
#: into or out of the partition; no row: the lease is lost.
CHECK_LEASE: Final = (
    "SELECT (SELECT incarnation FROM store), (SELECT coalesce(max(version), 0) FROM rule_set),"
    " coalesce(moved_by::text, '') FROM partition_lease"
    " WHERE partition = %s AND fencing = %s AND holder IS NOT NULL FOR KEY SHARE"
)
_CONNECT_SECONDS: Final = 5
#: Whether nobody holds it any more. None is given for as long as ten minutes: one that seems to be was given before the
#: database's clock was set back, and would else outlive its holder by as much.
_LAPSED: Final = "NOT expires_at BETWEEN clock_timestamp() AND clock_timestamp() + interval '10 minutes'"
_NOW_MS: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::float8"
#: Is told what the database's clock said (ms since the Unix epoch), and when it was asked (monotonic seconds).
Told = Callable[[float, float], None]
_log = get_logger("lease")


class LeaseLostError(DrumtowerError):
    """Another gateway holds the partition now: nothing more may be committed under this lease."""

    def __init__(self, partition: str, fencing: int) -> None:
        super().__init__(
            "gateway.lease_lost",
            f"the lease on partition {partition!r} with fencing number {fencing} is no longer ours",
            "another gateway took over; this one waits for its turn",
        )


def application_name(partition: str, fencing: int) -> str:
    """The name of a holder's batch connection, by which a taker can end it (PostgreSQL keeps 63 bytes)."""
    return f"drumtower/{partition[:40]}/{fencing}"


def _nobody(_said_ms: float, _asked_at: float) -> None:
    """Nobody is told."""


def _no_trouble(_kind: str) -> None:
    """Nobody is told."""


class Lease:
    """A lease that is held: renewed by its own thread until released or lost."""

    def __init__(
        self, url: str, partition: str, fencing: int, ttl_s: float, clock: Clock, *, told: Told
    ) -> None:
        self.partition = partition
        self.fencing = fencing
        self._url = url
        self._ttl_s = ttl_s
        self._clock = clock
        self._told = told
        self._renewed = clock.monotonic()
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._listening = False
        self._forbade = False
        self._committed = clock.monotonic()
        self._thread = threading.Thread(target=self._renew_until_ended, name="lease", daemon=True)
        self._thread.start()

    def is_lost(self) -> bool:
        """Whether another gateway is known to hold it."""
        return self._lost.is_set()

    def mark_lost(self) -> None:
        """Told by a batch that found another fencing number."""
        self._lost.set()

    def is_fresh(self) -> bool:
        """Whether it was renewed within its time; when not, another may have it without our knowing yet."""
        return not self.is_lost() and self._clock.monotonic() - self._renewed < self._ttl_s

    def may_connect(self) -> bool:
        """Whether an intake may take the broker's session; an intake that may not gives up."""
        fresh = self.is_fresh()
        self._forbade = not fresh
        return fresh

    def forbade(self) -> bool:
        """Whether the last intake that asked was told that it may not connect."""
        return self._forbade

    def listening(self, *, connected: bool) -> None:
        """Write down whether messages can come in: a device is only silent while somebody listens."""
        self._listening = connected
        self._wake.set()

    def committed(self, at: float) -> None:
        """Told when the slowest part of the gateway last committed (monotonic seconds): what renewals call working."""
        self._committed = at

    def working_age_s(self) -> float:
        """For how many seconds nothing was committed, not even an empty batch."""
        return self._clock.monotonic() - self._committed

    def is_working(self, within_s: float) -> bool:
        """Whether it is held, hears the broker, and committed within so many seconds."""
        return self.is_fresh() and self._listening and self.working_age_s() < within_s

    def release(self) -> None:
        """Give it back, so that a successor takes over at once."""
        self._ended.set()
        self._wake.set()
        self._thread.join(timeout=2 * _CONNECT_SECONDS)
        if self.is_lost():
            return
        try:
            with _connect(self._url) as connection:
                connection.execute(
                    "UPDATE partition_lease SET holder = NULL, expires_at = '-infinity', listening_since = NULL"
                    " WHERE partition = %s AND fencing = %s",
                    [self.partition, self.fencing],
                )
        except PASSING as error:
            _log.warning(
                "lease not released, it will expire", partition=self.partition, error=str(error).strip()
            )

    def _renew_until_ended(self) -> None:
        connection: psycopg.Connection | None = None
        while not self._ended.is_set() and not self._lost.is_set():
            self._wake.wait(self._ttl_s / 4 * random.uniform(0.8, 1.0))
            self._wake.clear()
            if self._ended.is_set():
                break
            try:
                if connection is None:
                    connection = _connect(self._url)
                self._renew(connection)
            except PASSING as error:
                _log.warning("lease not renewed", partition=self.partition, error=str(error).strip())
                if connection is not None:
                    connection.close()
                connection = None
                self._ended.wait(min(1.0, self._ttl_s / 4))
                self._wake.set()
        if connection is not None:
            connection.close()

    def _renew(self, connection: psycopg.Connection) -> None:
        began = self._clock.monotonic()
        row = connection.execute(
            "UPDATE partition_lease SET expires_at = clock_timestamp() + make_interval(secs => %s),"  # noqa: S608
            " listening_since = CASE WHEN %s THEN coalesce(listening_since, clock_timestamp()) END,"
            " working_at = CASE WHEN %s THEN"
            " greatest(working_at, clock_timestamp() - make_interval(secs => %s)) ELSE working_at END"
            f" WHERE partition = %s AND fencing = %s AND holder IS NOT NULL RETURNING {_NOW_MS}",
            [
                self._ttl_s,
                self._listening,
                self._listening,
                max(self.working_age_s(), 0.0),
                self.partition,
                self.fencing,
            ],
        ).fetchone()
        if row is not None:
            self._renewed = began
            self._told(row[0], began)
        else:
            _log.warning("lease lost", partition=self.partition, fencing=self.fencing)
            self._lost.set()


class LeaseKeeper:
    """Gets a partition's lease, now or when it becomes free; ``told`` hears the database's clock from then on."""

    def __init__(
        self,
        url: str,
        partition: str,
        holder: str,
        ttl_s: float = 10.0,
        clock: Clock | None = None,
        *,
        told: Told = _nobody,
        on_trouble: Callable[[str], None] = _no_trouble,
    ) -> None:
        """``on_trouble`` hears what keeps the database from answering, "" when it does."""
        self.partition = partition
        self._url = url
        self._on_trouble = on_trouble
        self._holder = holder
        self._ttl_s = ttl_s
        self._clock = clock or SystemClock()
        self._told = told

    def acquire(self, stop: Stop) -> Lease | None:
        """Wait for the lease; None when stopped first. An absent database is waited for as well."""
        told = False
        while not stop.is_set():
            try:
                lease = self.try_acquire()
                # Also what a batch met that could not tell any more that it was over, as the lease was lost with it.
                self._on_trouble("")
            except PASSING as error:
                trouble = trouble_of(error.sqlstate)
                self._on_trouble(trouble.kind)
                _log.warning("no lease yet", why=trouble.said, error=str(error).strip(), hint=trouble.hint)
                lease = None
            if lease is not None:
                return lease
            if not told:
                _log.info("waiting for the lease", partition=self.partition)
                told = True
            stop.wait(min(1.0, self._ttl_s / 4) * random.uniform(0.8, 1.2))
        return None

    def try_acquire(self) -> Lease | None:
        """Take the lease if it is free or expired; None when another holds it.

        Raises:
            psycopg.Error: one of ``PASSING``, when the database cannot be reached or takes no writes.
        """
        with _connect(self._url) as connection:
            self._hear(connection)
            connection.execute(
                "INSERT INTO partition_lease (partition) VALUES (%s) ON CONFLICT DO NOTHING", [self.partition]
            )
            found = connection.execute(
                f"SELECT fencing FROM partition_lease WHERE partition = %s AND {_LAPSED}",  # noqa: S608
                [self.partition],
            ).fetchone()
            if found is None:
                return None
            self._end_hung_batch(connection, found[0])
            fencing = self._take(connection)
        if fencing is None:
            return None
        _log.info("lease taken", partition=self.partition, fencing=fencing, holder=self._holder)
        return Lease(self._url, self.partition, fencing, self._ttl_s, self._clock, told=self._told)

    def _hear(self, connection: psycopg.Connection) -> None:
        """Before anything is taken in: it is dated by the database's clock."""
        asked_at = self._clock.monotonic()
        row = connection.execute(f"SELECT {_NOW_MS}").fetchone()
        assert row is not None
        self._told(row[0], asked_at)

    def _end_hung_batch(self, connection: psycopg.Connection, fencing: int) -> None:
        ended = connection.execute(
            "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a, partition_lease l"  # noqa: S608
            " WHERE a.datname = current_database() AND a.application_name = %s"
            f" AND l.partition = %s AND l.fencing = %s AND {_LAPSED}",
            [application_name(self.partition, fencing), self.partition, fencing],
        ).fetchall()
        if ended:
            _log.warning("ended the batch of an expired holder", partition=self.partition, fencing=fencing)

    def _take(self, connection: psycopg.Connection) -> int | None:
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '2s'")
                connection.execute(
                    "SELECT 1 FROM partition_lease WHERE partition = %s FOR UPDATE", [self.partition]
                )
                row = connection.execute(
                    "UPDATE partition_lease SET holder = %s, fencing = fencing + 1, listening_since = NULL,"  # noqa: S608
                    " acquired_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => %s)"
                    f" WHERE partition = %s AND {_LAPSED} RETURNING fencing",
                    [self._holder, self._ttl_s, self.partition],
                ).fetchone()
        except psycopg.errors.LockNotAvailable:
            return None  # a batch is still in flight: the next try ends or outlives it
        return None if row is None else int(row[0])


def _connect(url: str) -> psycopg.Connection:
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=_CONNECT_SECONDS,
        application_name="drumtower lease",
        **notices_silence(url),
    )
