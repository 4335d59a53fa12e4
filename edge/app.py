"""The agent: the one place where the box's parts are put together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import cv2

from common.runtime.clock import Clock, SystemClock
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.runtime.watchdog import Watchdog, watchdog_url
from edge.camera.rtsp import read_credential
from edge.camera_loop import CameraLoop
from edge.cameras import Camera
from edge.clips import ClipStore
from edge.config import CameraConfig, DeviceConfig, EvidenceDoor, Redrawn, source_of, uplinks_of
from edge.database import Database
from edge.detectors import Detectors
from edge.evidence import EvidenceStore
from edge.metrics import ANALYSED_BY, EdgeMetrics
from edge.observations import ObservationBook, Seen
from edge.outbox import SqliteOutbox
from edge.sensors.build import build_line, build_sensors
from edge.sensors.loop import SensorLoop
from edge.sensors.modbus_config import LineSettings
from edge.sensors.port import Sensor
from edge.settings import Broker
from edge.uplink import Uplink
from edge.upload import Uploader
from edge.views import ViewStore
from edge.worker import Worker

_log = get_logger("agent")
_ORDERLY_S = 2.0
#: A packet without a receipt for so long: the box does not do its work, whatever it sees.
_WORKS_WITHIN_S: Final = 120.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Agent:
    """One box.

    Args:
        config: what it is told.
        config_file: where that stands; footage paths are relative to it.
        directory: where it keeps what must survive.
        environment: the process's environment.
        clock: time.

    Raises:
        ConfigError: the environment lacks something.
        DatabaseInUseError: another agent runs on the same directory.
        DiskFullError: there is no room to begin; nothing is held, and it may be tried again.
    """

    def __init__(
        self,
        config: DeviceConfig,
        config_file: Path,
        directory: Path,
        environment: Mapping[str, str],
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._config = config
        # Pictures are small and the inference has its own threads: OpenCV's pool would only compete with them.
        cv2.setNumThreads(1)
        broker, door = uplinks_of(config, environment)
        self._stop = Stop()
        self._stop_uplink = Stop()
        self._database = Database(directory)
        with ExitStack() as unless_made:
            unless_made.callback(self._database.close)
            self._make_keepers(broker)
            self._make_workers(config_file, environment, door)
            unless_made.pop_all()

    def _make_keepers(self, broker: Broker) -> None:
        config = self._config
        self.outbox = SqliteOutbox(
            self._database,
            config.address,
            self._clock,
            max_bytes=round(config.outbox.max_mb * 1e6),
            keep_receipted_s=config.outbox.keep_receipted_h * 3600,
            fresh_s=config.uplink.fresh_s,
        )
        self.evidence = EvidenceStore(
            self._database,
            self._clock,
            max_bytes=round(config.evidence.max_mb * 1e6),
            keep_receipted_s=config.evidence.keep_receipted_h * 3600,
        )
        self.uplink = Uplink(
            config.address,
            self.outbox,
            broker,
            settings=config.uplink,
            clock=self._clock,
            counters=self.counters,
        )
        self.book = ObservationBook(
            self._database,
            self.outbox,
            self._clock,
            accepted=self.uplink.wake,
            severities={name: one for camera in config.cameras for name, one in camera.severities.items()},
        )

    def _make_workers(
        self, config_file: Path, environment: Mapping[str, str], door: EvidenceDoor | None
    ) -> None:
        config = self._config
        simulated = self._make_loop(build_sensors(config.sensors, config.storm, self._clock.now_ms()))
        self._workers = [Worker("sensors", lambda: simulated.run(self._stop), self._stop)]
        #: One of the sensors that need no line, and one of each Modbus line: none waits for another's silence.
        self.sensor_loops = [simulated, *(self._make_line(settings) for settings in config.modbus)]
        self.cameras = self._make_cameras(config_file, environment)
        self._workers.append(Worker("cameras", lambda: self.cameras.run(self._stop), self._stop))
        if door is not None:
            uploader = Uploader(self.evidence, door, config.evidence, self.uplink.alarms_waiting)
            self._workers.append(Worker("upload", lambda: uploader.run(self._stop), self._stop))
        elif config.cameras:
            _log.warning("agent.evidence_stays", hint="set DRUMTOWER_EVIDENCE_URL to send evidence")
        self._uplink_worker = Worker("uplink", lambda: self.uplink.run(self._stop_uplink), self._stop)
        metrics = EdgeMetrics(self.counters)
        self.registry = metrics.registry
        watchdog = Watchdog(
            watchdog_url(config.watch, environment),
            config.watch.watchdog_every_s,
            self._why_not,
            sent=metrics.heartbeats.inc,
            failed=metrics.heartbeats_failed.inc,
        )
        self._workers.append(Worker("watchdog", lambda: watchdog.run_on(self._stop), self._stop))

    def _make_loop(self, sensors: Sequence[tuple[Sensor, float]]) -> SensorLoop:
        return SensorLoop(
            sensors,
            self.outbox,
            self._clock,
            flush_count=self._config.readings.flush_count,
            flush_s=self._config.readings.flush_s,
            silent_after_s=self._config.readings.silent_after_s,
            accepted=self.uplink.wake,
            book=self.book,
        )

    def _make_line(self, settings: LineSettings) -> SensorLoop:
        line, sensors = build_line(settings, self._clock)
        every_s = [one.every_s for one in settings.sensors]
        loop = self._make_loop(list(zip(sensors, every_s, strict=True)))

        def run() -> None:
            try:
                loop.run(self._stop)
            finally:
                line.close()

        self._workers.append(Worker(f"modbus {line.where}", run, self._stop))
        return loop

    def _make_cameras(self, config_file: Path, environment: Mapping[str, str]) -> CameraLoop:
        detectors = Detectors(self._config.models_directory, self._config.inference_threads)
        clips, views = None, ViewStore(self._database.directory / "views")
        if self._config.clips is not None:
            directory = self._database.directory / "clips"
            clips = ClipStore(directory, self._config.clips, config_file, self._clock)
        return CameraLoop(
            [
                Camera(
                    camera,
                    source_of(camera, config_file, environment),
                    detectors=detectors,
                    book=self.book,
                    evidence=self.evidence,
                    clock=self._clock,
                    credential=_credential_of(camera, config_file, environment),
                    clips=clips,
                    views=views,
                    redrawn=Redrawn(config_file, camera.name),
                )
                for camera in self._config.cameras
            ],
            self.book,
            self.outbox,
            self._clock,
            tidy=clips.trim if clips is not None else lambda: None,
        )

    def _tidy(self) -> None:
        """Say what this start found: a database moved aside, conditions that nothing watches any more."""
        now = self._clock.now_ms()
        if self._database.moved_aside is not None:
            self.book.say(
                Seen(
                    "act",
                    "box:database",
                    self._config.device,
                    "device.packets_abandoned",
                    now,
                    now,
                    detail={
                        "reason": "the box's database was damaged; a new one was begun",
                        "code": "database.corrupt",
                    },
                )
            )
        names = self._config.names
        for known in self.book.open_conditions():
            if known.sensor not in names:
                self.book.end(known, "the camera or sensor is not configured any more")

    def counters(self) -> dict[str, float | int | str]:
        """What every status carries."""
        stats = self.outbox.stats()
        oldest = stats.oldest_unreceipted_ms
        offset = self.uplink.facts.clock_offset.offset_ms(self._clock.now_ms(), self._clock.monotonic())
        cameras = self.cameras.cameras
        evidence = self.evidence.stats()
        return {
            "frames": sum(camera.read for camera in cameras),
            "analysed": sum(camera.counters.analysed for camera in cameras),
            "dropped": sum(camera.dropped for camera in cameras),
            "detections": sum(camera.counters.detections for camera in cameras),
            "dropped_by": " ".join(f"{camera.config.name}={camera.dropped}" for camera in cameras),
            "late": sum(self.cameras.late(camera) for camera in cameras),
            "cameras_blind": sum(camera.blind for camera in cameras),
            "evidence_waiting": evidence.waiting,
            "evidence_parked": evidence.parked,
            "readings": sum(loop.counts.readings for loop in self.sensor_loops),
            "readings_refused": sum(loop.counts.refused for loop in self.sensor_loops),
            "sensors_silent": sum(loop.silent for loop in self.sensor_loops),
            "packets_numbered": stats.numbered,
            "packets_receipted": stats.receipted,
            "packets_abandoned": stats.abandoned,
            "unreceipted": stats.unreceipted,
            "oldest_unreceipted_s": 0.0 if oldest is None else max(self._clock.now_ms() - oldest, 0) / 1000,
            "publish_refused": self.uplink.facts.refused,
            "rss_mb": resident_mb(),
            "disk_free_mb": round(shutil.disk_usage(self._database.directory).free / 1e6, 1),
            **{ANALYSED_BY + camera.config.name: camera.valid_looks for camera in cameras},
            **({} if offset is None else {"clock_offset_ms": offset}),
        }

    def _why_not(self) -> str:
        """What keeps this box from its work."""
        oldest = self.outbox.stats().oldest_unreceipted_ms
        if not self.uplink.facts.connected:
            return "it does not reach the broker"
        if oldest is not None and self._clock.now_ms() - oldest > _WORKS_WITHIN_S * 1000:
            return "no receipts come"
        if self.cameras.cameras and all(camera.blind for camera in self.cameras.cameras):
            return "no camera sees"
        return ""

    def close(self) -> None:
        """Let go of an agent that was never run."""
        self._database.close()

    def run(self, stop: Stop) -> None:
        """Work until stopped, then end in good order: sensors first, the line last.

        Raises:
            BaseException: what a worker died of.
        """
        self._tidy()
        for worker in (*self._workers, self._uplink_worker):
            worker.start()
        _log.info(
            "agent.running",
            device=str(self._config.address),
            sensors=len(self._config.names) - len(self._config.cameras),
            cameras=len(self._config.cameras),
            epoch=f"{self.outbox.epoch:x}",
        )
        while not stop.wait(0.2) and not self._stop.is_set():
            pass
        self._stop.set(stop.reason or "asked to")
        deadline = self._clock.monotonic() + _ORDERLY_S
        for worker in self._workers:
            worker.join(max(deadline - self._clock.monotonic(), 0.0))
        self._stop_uplink.set(self._stop.reason)
        self._uplink_worker.join(self._config.uplink.drain_s + 2.0)
        left = self.outbox.stats().unreceipted
        everyone = (*self._workers, self._uplink_worker)
        if not any(worker.is_alive() for worker in everyone):
            # A thread that hangs in the network may still want it; every commit is on disk anyway.
            self._database.close()
        for worker in everyone:
            if worker.failure is not None:
                raise worker.failure
        _log.info("agent.stopped", reason=self._stop.reason, unreceipted=left)


def _credential_of(
    camera: CameraConfig, config_file: Path, environment: Mapping[str, str]
) -> Callable[[], str]:
    """What asks for a network camera's user and password, each time that it is opened."""
    settings = camera.rtsp
    if settings is None:
        return lambda: ""
    return partial(read_credential, camera.name, settings, config_file, environment)


def resident_mb() -> float:
    """Resident memory of this process in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * _PAGE_BYTES / 1e6, 1)
