"""What the gateway tells Prometheus."""

from __future__ import annotations

import math
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.batch import BatchResult
from gateway.trouble import TROUBLES


class GatewayMetrics:
    """One set of counters for a process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._packets = self._counter("packets", "Packets committed")
        self._foreign = self._counter("foreign", "Of the packets: messages of foreign devices")
        self._rows = self._counter("rows", "Readings committed")
        self._duplicates = self._counter("duplicates", "Packets that came again and were dropped")
        self._observations = self._counter("observations", "Observations handed to the ticket centre")
        self._statuses = self._counter("statuses", "Statuses committed")
        self._ignored = self._counter("ignored", "Messages of quarantined devices or other partitions")
        self._abandoned = self._counter("abandoned", "Packets that boxes gave up")
        self._rejects_dropped = self._counter("rejects_dropped", "Rejects beyond their device's quota")
        self._rules_seconds = self._counter("rules_seconds", "Processor time that the rules took")
        self._rejects = Counter(
            "drumtower_gateway_rejects_total", "Messages rejected", ["reason"], registry=self.registry
        )
        self.receipts = self._counter("receipts", "Receipts sent")
        self.retries = self._counter("batch_retries", "Batches that the database cut short")
        self.evidence = Counter(
            "drumtower_gateway_evidence_total",
            "Answers of the evidence door",
            ["code"],
            registry=self.registry,
        )
        self._forgotten = Counter(
            "drumtower_gateway_forgotten_total",
            "What was thrown away because of its age: chunks of readings, minutes, hours, observations, statuses;"
            " single rejects and streams",
            ["kind"],
            registry=self.registry,
        )
        self.rollup_lag = self._gauge("rollup_lag_seconds", "For how long the oldest rollup has been due")
        self._trouble = Gauge(
            "drumtower_gateway_database_trouble",
            "1 while the database does not take batches, by what is the matter",
            ["kind"],
            registry=self.registry,
        )
        for trouble in TROUBLES:
            self._trouble.labels(trouble.kind).set(0)
        self.batch_seconds = Histogram(
            "drumtower_gateway_batch_seconds",
            "From a batch's hand-over to its commit",
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 120),
            registry=self.registry,
        )
        self.queue = self._gauge("queue_messages", "Messages waiting to be decoded")
        self.shed = self._gauge("shed_messages", "Messages left with the broker for want of room")
        self.lease_held = self._gauge("lease_held", "1 while this gateway holds its partition")
        self.connected = self._gauge("broker_connected", "1 while messages can come in")
        self.commit_age = self._gauge(
            "commit_age_seconds",
            "Since the slowest committer of a held lease last committed anything, or nothing",
        )
        self._outlook()

    def count(self, result: BatchResult) -> None:
        """Add a committed batch."""
        self._packets.inc(result.packets)
        self._foreign.inc(result.foreign)
        self._rows.inc(result.rows)
        self._duplicates.inc(result.duplicates)
        self._observations.inc(result.observations)
        self._statuses.inc(result.statuses)
        self._ignored.inc(result.ignored)
        self._abandoned.inc(result.abandoned)
        self._rejects_dropped.inc(result.rejects_dropped)
        self._rules_seconds.inc(result.rules_s)
        for reason, count in result.rejects.items():
            self._rejects.labels(reason).inc(count)

    def tell_trouble(self, kind: str) -> None:
        """Say what the matter with the database is; "" when it is over."""
        for trouble in TROUBLES:
            self._trouble.labels(trouble.kind).set(trouble.kind == kind)

    def count_forgotten(self, kind: str, count: int) -> None:
        """Add what housekeeping threw away."""
        self._forgotten.labels(kind).inc(count)

    def _outlook(self) -> None:
        """What is seen of others: see gateway/watch."""
        self._cloud_silent = self._gauge(
            "cloud_silent_seconds", "For how long the ticket centre took nothing and no worker of it spoke"
        )
        self._inbox = self._gauge("inbox_waiting", "Observations that the ticket centre has not taken yet")
        self._inbox_age = self._gauge("inbox_oldest_seconds", "How long the oldest of them has waited")
        self._unreceipted = self._gauge(
            "oldest_unreceipted_seconds", "Age of the oldest packet without a receipt, as boxes say it"
        )
        self._devices = Gauge(
            "drumtower_gateway_devices",
            "Registered devices by how they are",
            ["state"],
            registry=self.registry,
        )
        self.disk_free = Gauge(
            "drumtower_gateway_disk_free_bytes",
            "Free space where a directory is: evidence, or broker where DRUMTOWER_BROKER_DATA names it",
            ["directory"],
            registry=self.registry,
        )
        self.broker_saved_age = self._gauge(
            "broker_saved_age_seconds",
            "Since the broker last saved what it holds; NaN where DRUMTOWER_BROKER_DATA does not name its directory",
        )
        self.broker_saved_age.set(math.nan)
        self.heartbeats = self._counter("heartbeats", "Heartbeats that the watcher outside took")
        self.heartbeats_failed = self._counter("heartbeats_failed", "Heartbeats that it did not take")
        self.forget_outlook()

    def tell_outlook(
        self,
        *,
        silent_s: float,
        waiting: int,
        inbox_age_s: float,
        unreceipted_s: float,
        devices: Mapping[str, int],
    ) -> None:
        """Say what was seen in the store."""
        self._cloud_silent.set(silent_s)
        self._inbox.set(waiting)
        self._inbox_age.set(inbox_age_s)
        self._unreceipted.set(unreceipted_s)
        for state, count in devices.items():
            self._devices.labels(state).set(count)

    def forget_outlook(self) -> None:
        """Say that nothing is known: an old figure would be taken for a new one."""
        for gauge in (self._cloud_silent, self._inbox, self._inbox_age, self._unreceipted):
            gauge.set(math.nan)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"drumtower_gateway_{name}_total", text, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"drumtower_gateway_{name}", text, registry=self.registry)
