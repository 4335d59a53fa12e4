"""The agent: the one place where the box's parts are put together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from common.runtime.clock import Clock, SystemClock
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from edge.config import DeviceConfig, broker_of
from edge.database import Database
from edge.outbox import SqliteOutbox
from edge.sensors.build import build_sensors
from edge.sensors.loop import SensorLoop
from edge.uplink import Uplink
from edge.worker import Worker

_log = get_logger("agent")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Agent:
    """One box.

    Args:
        config: what it is told.
        directory: where it keeps what must survive.
        environment: the process's environment.
        clock: time.

    Raises:
        ConfigError: the environment lacks something.
        DatabaseInUseError: another agent runs on the same directory.
    """

    def __init__(
        self,
        config: DeviceConfig,
        directory: Path,
        environment: Mapping[str, str],
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._config = config
        broker = broker_of(config, environment)
        self._stop = Stop()
        self._stop_uplink = Stop()
        self._database = Database(directory)
        self.outbox = SqliteOutbox(
            self._database,
            config.address,
            self._clock,
            max_bytes=round(config.outbox.max_mb * 1e6),
            keep_receipted_s=config.outbox.keep_receipted_h * 3600,
            fresh_s=config.uplink.fresh_s,
        )
        self.uplink = Uplink(
            config.address,
            self.outbox,
            broker,
            settings=config.uplink,
            clock=self._clock,
            counters=self.counters,
        )
        self.sensors = SensorLoop(
            build_sensors(config.sensors, config.storm, self._clock.now_ms()),
            self.outbox,
            self._clock,
            flush_count=config.readings.flush_count,
            flush_s=config.readings.flush_s,
            accepted=self.uplink.wake,
        )
        self._workers = [Worker("sensors", lambda: self.sensors.run(self._stop), self._stop)]
        self._uplink_worker = Worker("uplink", lambda: self.uplink.run(self._stop_uplink), self._stop)
        self.registry = CollectorRegistry()
        self.registry.register(_CountersAsGauges(self))

    def counters(self) -> dict[str, float | int | str]:
        """What every status carries."""
        stats = self.outbox.stats()
        oldest = stats.oldest_unreceipted_ms
        offset = self.uplink.facts.clock_offset_ms
        return {
            "readings": self.sensors.counts.readings,
            "readings_refused": self.sensors.counts.refused,
            "packets_numbered": stats.numbered,
            "packets_receipted": stats.receipted,
            "packets_abandoned": stats.abandoned,
            "unreceipted": stats.unreceipted,
            "oldest_unreceipted_s": 0.0 if oldest is None else max(self._clock.now_ms() - oldest, 0) / 1000,
            "publish_refused": self.uplink.facts.refused,
            "rss_mb": resident_mb(),
            **({} if offset is None else {"clock_offset_ms": offset}),
        }

    def run(self, stop: Stop) -> None:
        """Work until stopped, then end in good order: sensors first, the line last.

        Raises:
            BaseException: what a worker died of.
        """
        for worker in (*self._workers, self._uplink_worker):
            worker.start()
        _log.info(
            "agent.running",
            device=str(self._config.address),
            sensors=len(self._config.sensors),
            cameras=len(self._config.cameras),
            epoch=f"{self.outbox.epoch:x}",
        )
        while not stop.wait(0.2) and not self._stop.is_set():
            pass
        self._stop.set(stop.reason or "asked to")
        for worker in self._workers:
            worker.join(5.0)
        self._stop_uplink.set(self._stop.reason)
        self._uplink_worker.join(self._config.uplink.drain_s + 5.0)
        left = self.outbox.stats().unreceipted
        self._database.close()
        for worker in (*self._workers, self._uplink_worker):
            if worker.failure is not None:
                raise worker.failure
        _log.info("agent.stopped", reason=self._stop.reason, unreceipted=left)


def resident_mb() -> float:
    """Resident memory of this process in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * _PAGE_BYTES / 1e6, 1)


class _CountersAsGauges(Collector):
    """The status counters, for Prometheus."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> list[GaugeMetricFamily]:
        """One gauge each."""
        return [
            GaugeMetricFamily(f"drumtower_edge_{name}", f"Status counter {name}", value=value)
            for name, value in self._agent.counters().items()
            if not isinstance(value, str)
        ]
