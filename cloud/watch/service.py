"""Looking about: silent gateways become tickets, and everything becomes a metric."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from cloud.db import Database, Transaction
from cloud.watch import repo
from cloud.watch.domain import HINTS, Partition, WatchSettings, is_silent
from cloud.watch.repo import Silence
from common.runtime.clock import Clock, to_ms
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.wire.ids import observation_id

_log = get_logger("watch")


class WatchMetrics:
    """What is seen, for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"drumtower_cloud_{name}", text, registry=registry)

        self.gateway_silent = Gauge(
            "drumtower_cloud_gateway_silent_seconds",
            "For how long a partition's gateway has not heard the broker and committed",
            ["partition"],
            registry=registry,
        )
        self.worker_silent = gauge(
            "worker_silent_seconds", "Since any worker of the centre last said that it works"
        )
        self.figures = {
            "inbox_waiting": gauge("inbox_waiting", "Observations that no worker has taken yet"),
            "inbox_oldest_s": gauge("inbox_oldest_seconds", "How long the oldest of them has waited"),
            "inbox_failed": gauge(
                "inbox_failed", "Observations that could not be applied and were put aside"
            ),
            "open": gauge("tickets_open", "Tickets that are neither closed nor void"),
            "unassigned": gauge("tickets_unassigned", "Open tickets that nobody owns"),
            "unassigned_oldest_s": gauge(
                "tickets_unassigned_oldest_seconds", "How long the oldest of them is open"
            ),
            "overdue": gauge("tickets_overdue", "Open tickets of which a clock was missed"),
            "unfired_s": gauge(
                "clock_unfired_seconds", "How long the oldest clock is due that no sweep has fired"
            ),
        }
        self.heartbeats = Counter(
            "drumtower_cloud_heartbeats", "Heartbeats that the watcher outside took", registry=registry
        )
        self.heartbeats_failed = Counter(
            "drumtower_cloud_heartbeats_failed", "Heartbeats that it did not take", registry=registry
        )


class Watch:
    """Looks about as long as the centre runs; several processes may, one at a time tells.

    Args:
        database: the store.
        settings: how often, and how long is too long.
        metrics: where it is told.
        clock: monotonic time; everything else is judged by the database's clock.
    """

    def __init__(
        self, database: Database, settings: WatchSettings, metrics: WatchMetrics, clock: Clock
    ) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._began = clock.monotonic()
        self._workers_silent = False

    def run(self, stop: Stop) -> None:
        """Until stopped; a database that is away is waited for."""
        while not stop.wait(self._settings.every_s):
            try:
                self.look()
            except TransientError as error:
                _log.warning("nothing is known of gateways and inbox", error=error.message)

    def look(self) -> int:
        """Look once; how many silences began or ended.

        Raises:
            TransientError: when the database is away.
        """
        with self._database.transaction() as transaction:
            found = repo.partitions(transaction)
            workers = repo.workers(transaction)
            figures = repo.figures(transaction)
            told = sum(self._judge(transaction, each) for each in found) if repo.lock(transaction) else 0
        for partition in found:
            self._metrics.gateway_silent.labels(partition.name).set(partition.silent_s)
        self._judge_workers(workers[0][1] if workers else figures["inbox_oldest_s"])
        for name, gauge in self._metrics.figures.items():
            gauge.set(figures[name])
        return told

    def _judge(self, transaction: Transaction, partition: Partition) -> bool:
        """Tell that a gateway fell silent or came back; whether there was anything to tell."""
        known = repo.silence(transaction, partition.name)
        goes_on = known is not None and known.ended_at is None
        watched_s = self._clock.monotonic() - self._began
        if known is not None and goes_on:
            if partition.working_at is None or partition.working_at <= known.silent_since:
                return False
            self._end(transaction, partition, known)
            return True
        return is_silent(partition, self._settings, watched_s) and self._begin(transaction, partition, known)

    def _judge_workers(self, silent_s: float) -> None:
        self._metrics.worker_silent.set(silent_s)
        is_now = silent_s > self._settings.worker_silent_s
        if is_now and not self._workers_silent:
            _log.error(
                "no worker of the centre works: observations wait and no tickets are made",
                silent_s=round(silent_s),
                hint="start one (drumtower cloud run --role worker), or see: drumtower doctor cloud",
            )
        elif self._workers_silent and not is_now:
            _log.info("a worker works again")
        self._workers_silent = is_now

    def _begin(self, transaction: Transaction, partition: Partition, before: Silence | None) -> bool:
        _log.error(
            "a gateway is silent: nothing of its boxes is taken in",
            partition=partition.name,
            holder=partition.holder,
            silent_s=round(partition.silent_s),
            why=partition.why,
            hint=HINTS[partition.why],
        )
        device_id = repo.spokesman(transaction, partition.name) if before is None else before.device_id
        if device_id is None or partition.working_at is None:
            return False
        since = partition.working_at
        made = observation_id(f"partition/{partition.name}", "gateway_silent", 0, to_ms(since))
        told = Silence(partition.name, device_id, made, 0, since, None)
        detail = {"partition": partition.name, "holder": partition.holder or "", "why": partition.why}
        repo.tell(transaction, told, partition.now, detail)
        return True

    def _end(self, transaction: Transaction, partition: Partition, known: Silence) -> None:
        _log.info("a gateway works again", partition=partition.name, holder=partition.holder)
        assert partition.working_at is not None
        told = Silence(
            known.partition,
            known.device_id,
            known.observation_id,
            known.revision + 1,
            known.silent_since,
            partition.working_at,
        )
        repo.tell(
            transaction, told, partition.now, {"partition": partition.name, "holder": partition.holder or ""}
        )
