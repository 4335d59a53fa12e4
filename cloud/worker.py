"""The worker: takes observations from the inbox and turns them into incidents and tickets.

One transaction a batch: lock the rows, take the place locks of all their matters in one order, apply each
observation behind a savepoint, delete the rows, tell the stream, commit. A worker killed anywhere in between
has done nothing; two workers never open one matter twice, because they meet at a place lock. All phases of
one observation in a batch are merged first, so that an alarm whose end arrives together with its start is
judged as over. NOTIFY only wakes; every second the inbox is looked at anyway.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from cloud.db import Database, Transaction
from cloud.db.database import RaceLostError, take_locks
from cloud.inbox import repo as inbox
from cloud.incidents import domain, repo, service
from cloud.incidents.domain import Device, FusionRule, Observation
from cloud.incidents.known import KnownPlaces
from cloud.incidents.places import Places
from cloud.tickets.opening import tell_tickets
from cloud.watch import repo as watch
from common.runtime.clock import Clock, to_datetime
from common.runtime.errors import InvalidError, TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop

_log = get_logger("worker")
_BATCH = 16
_SWEEP_S = 1.0
_BEAT_S = 5.0
#: How long to wait before an observation that failed is tried again; after the last one it is given up.
RETRY_AFTER_S = (1.0, 5.0)
# What bad data raises in code that expects good data. A fault of this kind concerns one observation and must
# not stop the others; it is kept with its reason, counted, and shown in the summary.
_FAULTS_OF_DATA = (InvalidError, ValueError, TypeError, LookupError, ArithmeticError)


class WorkerMetrics:
    """What a worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.applied = Counter("drumtower_observations_applied", "Inbox rows applied", registry=registry)
        self.failed = Counter(
            "drumtower_observations_failed", "Inbox rows given up for good", registry=registry
        )
        self.retried = Counter(
            "drumtower_observations_retried", "Inbox rows put off after a fault", registry=registry
        )
        self.races = Counter("drumtower_worker_races", "Batches begun again", registry=registry)
        self.latency = Histogram(
            "drumtower_observation_latency_seconds",
            "From the gateway's receipt of an observation to the commit that applies it",
            registry=registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30, 300),
        )


@dataclass(frozen=True, slots=True)
class _Group:
    """All rows of one observation in a batch."""

    rows: Sequence[dict[str, Any]]
    device: Device
    state: Observation

    @property
    def inbox_ids(self) -> list[int]:
        return [row["inbox_id"] for row in self.rows]


class Worker:
    """One worker; start as many as you like, in threads or processes.

    Args:
        database: where inbox, incidents and tickets are.
        rules: how observations fuse.
        clock: what time it is.
        metrics: where to count.
        name: tells it from the other workers of its process.
    """

    def __init__(
        self,
        database: Database,
        rules: Sequence[FusionRule],
        clock: Clock,
        metrics: WorkerMetrics,
        name: str = "1",
    ) -> None:
        self._database = database
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._known = KnownPlaces()
        self._name = f"{socket.gethostname()}:{os.getpid()}:{name}"
        self._beat_due = clock.monotonic()
        #: When it last did what the inbox held, in monotonic seconds.
        self.worked_at = clock.monotonic()

    def run(self, stop: Stop) -> None:
        """Work until stopped; a database that is away is waited for."""
        away_s = 0.1
        while not stop.is_set():
            try:
                with self._database.listen(inbox.CHANNEL) as listener:
                    away_s = 0.1
                    while not stop.is_set():
                        self.drain(stop)
                        self._beat()
                        listener.wait(_SWEEP_S)
            except TransientError as error:
                _log.warning("the database is away", error=error.message, next_try_s=round(away_s, 1))
                stop.wait(away_s * random.uniform(0.5, 1.0))
                away_s = min(away_s * 2, 5.0)

    def drain(self, stop: Stop | None = None) -> int:
        """Apply all there is; the number of rows handled."""
        handled = 0
        while stop is None or not stop.is_set():
            try:
                step = self.step()
            except RaceLostError:
                self._metrics.races.inc()
                self._clock.sleep(random.uniform(0.005, 0.05))
                continue
            self.worked_at = self._clock.monotonic()
            if not step:
                break
            handled += step
            self._beat()
        return handled

    def _beat(self) -> None:
        """Say now and then that it works, so that others notice when it does not."""
        now = self._clock.monotonic()
        if now >= self._beat_due:
            with self._database.transaction() as transaction:
                watch.beat(transaction, self._name)
            self._beat_due = now + _BEAT_S

    def step(self) -> int:
        """Apply one batch; the number of rows handled.

        Raises:
            RaceLostError: another transaction won; nothing was done.
            TransientError: the database is away; nothing was done.
        """
        now = to_datetime(self._clock.now_ms())
        with self._database.transaction() as transaction:
            rows = inbox.take(transaction, now, _BATCH)
            rules = repo.rules_in_force(transaction, self._rules) if rows else self._rules
            groups = self._group(transaction, rows, now)
            names = [name for group in groups for name in service.locks_for(rules, group.device, group.state)]
            take_locks(transaction, names)
            places = self._known.places(transaction) if groups else None
            for group in groups:
                assert places is not None
                self._apply(transaction, rules, places, group, now=now)
        for row in rows:
            self._metrics.latency.observe(max((now - row["received_at"]).total_seconds(), 0.0))
        return len(rows)

    def _group(self, transaction: Transaction, rows: Sequence[dict[str, Any]], now: datetime) -> list[_Group]:
        by_observation: dict[tuple[int, Any], list[dict[str, Any]]] = {}
        for row in rows:
            by_observation.setdefault((row["device_id"], row["observation_id"]), []).append(row)
        groups = []
        for of_one in by_observation.values():
            try:
                groups.append(_merged(of_one))
            except _FAULTS_OF_DATA as error:
                self._put_aside(transaction, of_one, error, now)
        return groups

    def _apply(
        self,
        transaction: Transaction,
        rules: Sequence[FusionRule],
        places: Places,
        group: _Group,
        *,
        now: datetime,
    ) -> None:
        try:
            with transaction.savepoint():
                change = service.apply(transaction, rules, places, group.device, group.state, now=now)
                if change is not None:
                    tell_tickets(transaction, change, now)
                inbox.delete(transaction, group.inbox_ids)
        except _FAULTS_OF_DATA as error:
            self._put_aside(transaction, group.rows, error, now)
        else:
            self._metrics.applied.inc(len(group.rows))

    def _put_aside(
        self, transaction: Transaction, rows: Sequence[dict[str, Any]], error: Exception, now: datetime
    ) -> None:
        reason = f"{type(error).__name__}: {error}"[:2000].replace("\0", "�")
        ids = [row["inbox_id"] for row in rows]
        tried = max(row["attempts"] for row in rows)
        _log.error("an observation cannot be applied", inbox_ids=ids, attempts=tried + 1, exc_info=error)
        if tried < len(RETRY_AFTER_S):
            inbox.try_later(transaction, ids, reason, now + timedelta(seconds=RETRY_AFTER_S[tried]))
            self._metrics.retried.inc(len(ids))
        else:
            inbox.give_up(transaction, ids, reason, tried + 1, now)
            self._metrics.failed.inc(len(ids))


def _merged(rows: Sequence[dict[str, Any]]) -> _Group:
    first = rows[0]
    if len({row["category"] for row in rows}) > 1:
        raise InvalidError(
            "observation.changed_category",
            f"expected one category in all phases of observation {first['observation_id']},"
            f" got {sorted({row['category'] for row in rows})}",
        )
    states = [repo.observation_from_inbox(row) for row in rows]
    device = Device(first["device_id"], first["site"], first["name"], first["lon"], first["lat"])
    return _Group(rows, device, reduce(domain.merge, states))
