"""What a box tells Prometheus: the counters of its status, each as a gauge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

#: Status counter of each camera's own looks; the district closes a ticket only by the camera that opened it.
ANALYSED_BY: Final = "analysed."
#: Every other counter of a status, and what it says.
COUNTERS: Final[dict[str, str]] = {
    "frames": "Frames read from all cameras",
    "analysed": "Frames that were looked at",
    "dropped": "Frames that a newer one replaced before they were looked at",
    "dropped_by": "The same by camera, as name=frames",
    "late": "Frames that waited more than half a second for their turn",
    "detections": "Objects detected",
    "cameras_blind": "Cameras that cannot see now",
    "evidence_waiting": "Pictures that wait to be sent",
    "evidence_parked": "Pictures that the district refused for good",
    "readings": "Readings taken",
    "readings_refused": "Readings that were no numbers",
    "sensors_silent": "Sensors that do not answer now",
    "packets_numbered": "Packets numbered",
    "packets_receipted": "Of them: with a receipt",
    "packets_abandoned": "Of them: given up for want of room",
    "unreceipted": "Packets without a receipt",
    "oldest_unreceipted_s": "Age of the oldest of them in seconds",
    "publish_refused": "Packets that the broker refused",
    "rss_mb": "Resident memory in MB",
    "disk_free_mb": "Free space where the box keeps what must survive, in MB",
    "clock_offset_ms": "What would have to be added to the box's clock, in ms; not there before the first receipt",
}


class CountersAsGauges(Collector):
    """The status counters, for Prometheus."""

    def __init__(self, counters: Callable[[], Mapping[str, float | int | str]]) -> None:
        self._counters = counters

    def collect(self) -> list[GaugeMetricFamily]:
        """One gauge each, and one for all cameras."""
        by_camera = GaugeMetricFamily(
            "drumtower_edge_camera_analysed", "Frames of each camera that were looked at", labels=["camera"]
        )
        dropped = GaugeMetricFamily(
            "drumtower_edge_camera_dropped",
            "Frames of each camera that a newer one replaced",
            labels=["camera"],
        )
        gauges = [by_camera, dropped]
        for name, value in self._counters().items():
            if isinstance(value, str):
                for camera, _, count in (
                    word.partition("=") for word in value.split() if name == "dropped_by"
                ):
                    dropped.add_metric([camera], float(count))
                continue
            if name.startswith(ANALYSED_BY):
                by_camera.add_metric([name.removeprefix(ANALYSED_BY)], value)
            else:
                text = COUNTERS.get(name, f"Status counter {name}")
                gauges.append(GaugeMetricFamily(f"drumtower_edge_{name}", text, value=value))
        return gauges


class EdgeMetrics:
    """One set for a process, in a registry of its own."""

    def __init__(self, counters: Callable[[], Mapping[str, float | int | str]]) -> None:
        self.registry = CollectorRegistry()
        self.heartbeats = Counter(
            "drumtower_edge_heartbeats", "Heartbeats that the watcher outside took", registry=self.registry
        )
        self.heartbeats_failed = Counter(
            "drumtower_edge_heartbeats_failed", "Heartbeats that it did not take", registry=self.registry
        )
        self.registry.register(CountersAsGauges(counters))
