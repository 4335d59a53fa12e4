"""Every metric that the tiers serve, taken from their own registries: what alerts and dashboards may name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from cloud.db import Database
from cloud.notify.service import NotifyMetrics
from cloud.stream.service import StreamHub
from cloud.watch.service import WatchMetrics
from cloud.worker import WorkerMetrics
from edge.metrics import ANALYSED_BY, COUNTERS, EdgeMetrics
from gateway.metrics import GatewayMetrics


@dataclass(frozen=True, slots=True)
class ServedMetric:
    """One metric by the name that expressions use; of a histogram that of its buckets' family."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


def served_metrics() -> list[ServedMetric]:
    """All of them, by name."""
    cloud = CollectorRegistry()
    WorkerMetrics(cloud)
    WatchMetrics(cloud)
    NotifyMetrics(cloud)
    StreamHub(Database("postgresql://nobody@nowhere/none"), cloud)
    edge = EdgeMetrics(lambda: dict.fromkeys((*COUNTERS, ANALYSED_BY + "camera"), 0))
    found = [
        metric for registry in (GatewayMetrics().registry, cloud, edge.registry) for metric in _of(registry)
    ]
    return sorted(found, key=lambda metric: metric.name)


def _of(registry: CollectorRegistry) -> Iterator[ServedMetric]:
    # The one way to a metric's label names while it has no series yet: the registry keeps its collectors to itself.
    collectors: list[Collector] = list(registry._collector_to_names)  # noqa: SLF001
    for collector in collectors:
        declared = collector._labelnames if isinstance(collector, MetricWrapperBase) else ()  # noqa: SLF001
        for family in collector.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            seen = {label for sample in family.samples for label in sample.labels if label != "le"}
            yield ServedMetric(
                name, family.type, tuple(declared) or tuple(sorted(seen)), family.documentation
            )
