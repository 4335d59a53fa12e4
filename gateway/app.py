"""The gateway as a process: the only place where its parts are put together."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final

from common.runtime.clock import Clock, SystemClock
from common.runtime.errors import DrumtowerError, TransientError
from common.runtime.log import get_logger
from common.runtime.metrics import LOOPBACK, serve_metrics
from common.runtime.stop import Stop
from common.runtime.watchdog import Watchdog, watchdog_url
from gateway.adapters.adapters import Adapters
from gateway.adapters.mapping import MappingFile
from gateway.clock import StoreClock
from gateway.config import Environment, GatewaySettings
from gateway.door import EvidenceDoor
from gateway.intake import Intake, PahoIntake
from gateway.keeping.worker import Housekeeper
from gateway.lease import Lease, LeaseKeeper
from gateway.metrics import GatewayMetrics
from gateway.mqtt.intake import FramesIntake
from gateway.quarantine import Bounds
from gateway.rule_settings import rules_text
from gateway.rulebook.versions import RuleBook, follow_file
from gateway.silence import sweep_until
from gateway.store import Limits, Store
from gateway.tenure import Tenure
from gateway.watch.worker import Watch

_HOUR_MS: Final = 3_600_000
#: A gateway that has nothing to do still commits an empty batch every two seconds.
_WORKS_WITHIN_S: Final = 30.0
_INTAKES: Final[dict[str, Callable[..., Intake]]] = {"paho": PahoIntake, "frames": FramesIntake}
_log = get_logger("gateway")


class Gateway:
    """One gateway of one partition, with the evidence door beside it where that is configured."""

    def __init__(
        self,
        settings: GatewaySettings,
        environment: Environment,
        *,
        partition: str = "default",
        metrics_port: int = 0,
        foreign: Sequence[MappingFile] = (),
        rules: str | None = None,
        metrics_host: str = LOOPBACK,
        clock: Clock | None = None,
    ) -> None:
        """Put it together; ``foreign`` are mapping files of foreign devices, ``rules`` the settings' as they are written."""
        self.metrics = GatewayMetrics()
        self._settings = settings
        self._foreign = Adapters(foreign, settings.catalogue()) if foreign else None
        self._rules = rules
        self._environment = environment
        self._partition = partition
        self._metrics_place = metrics_port, metrics_host
        #: What lies on this machine's disks is as old as this machine says; all else goes by the store's clock.
        self._machine = clock or SystemClock()
        self._clock = StoreClock(self._machine)
        self._keeper = LeaseKeeper(
            environment.database_url,
            partition,
            f"{socket.gethostname()}:{os.getpid()}",
            settings.lease.ttl_s,
            self._clock,
            told=self._clock.told,
            on_trouble=self.metrics.tell_trouble,
        )
        self._pool = ThreadPoolExecutor(5, thread_name_prefix="beside")
        #: What went wrong in the threads beside the intake.
        self._failed: list[str] = []
        self._door: EvidenceDoor | None = None
        self._lease: Lease | None = None

    def start(self, stop: Stop) -> None:
        """Begin what runs beside the intake: metrics, silence, housekeeping, the evidence door.

        Raises:
            ConfigError: when a port is taken or a certificate cannot be used.
        """
        serve_metrics(self.metrics.registry, *self._metrics_place)
        environment = self._environment
        if environment.evidence_directory and environment.tls_certificate and environment.tls_key:
            self._door = EvidenceDoor(
                self._settings.evidence,
                directory=environment.evidence_directory,
                database_url=environment.database_url,
                certificate=(environment.tls_certificate, environment.tls_key),
                answers=self.metrics.evidence,
                clock=self._machine,
            )
            self._door.open()
            self._run_beside("evidence door", self._door.serve_until, stop)
        else:
            _log.info("no evidence door: DRUMTOWER_EVIDENCE_DIR is not set")
        sweep = partial(
            sweep_until, database_url=environment.database_url, every_s=self._settings.silence.sweep_s
        )
        self._run_beside("silence sweep", sweep, stop)
        keeper = Housekeeper(
            environment.database_url,
            self._settings.keep,
            self._clock,
            on_lag=self.metrics.rollup_lag.set,
            on_gone=self.metrics.count_forgotten,
        )
        self._run_beside("housekeeper", keeper.run, stop)
        self._watch(stop)

    def _watch(self, stop: Stop) -> None:
        environment, settings = self._environment, self._settings.watch
        disks = {"evidence": environment.evidence_directory, "broker": environment.broker_data}
        known = {name: directory for name, directory in disks.items() if directory is not None}
        watch = Watch(environment.database_url, settings, self.metrics, self._machine, known)
        watchdog = Watchdog(
            watchdog_url(settings),
            settings.watchdog_every_s,
            self._why_not,
            sent=self.metrics.heartbeats.inc,
            failed=self.metrics.heartbeats_failed.inc,
        )
        self._run_beside("watch", watch.run, stop)
        self._run_beside("watchdog", watchdog.run_on, stop)

    def _run_beside(self, name: str, part: Callable[[Stop], None], stop: Stop) -> None:
        self._pool.submit(part, stop).add_done_callback(partial(self._ended, name, stop))

    def _ended(self, name: str, stop: Stop, part: Future[None]) -> None:
        """A bug in what runs beside the intake ends the process, as one there would: also while this gateway stands by.

        It may be the one that keeps house for all, or that serves the boxes' evidence.
        """
        error = part.exception()
        if error is not None:
            _log.error("a part of the gateway failed", failed=name, exc_info=error)
            self._failed.append(f"the {name} failed: {type(error).__name__}: {error}")
        elif not stop.is_set():
            self._failed.append(f"the {name} ended by itself")
        stop.set(f"the {name} ended")

    def _why_not(self) -> str:
        """What keeps this gateway from its work; one that stands by has none to do, so the holder speaks for both."""
        lease = self._lease
        if lease is None:
            return "it does not hold the lease"
        if not lease.is_working(_WORKS_WITHIN_S):
            return "it does not hear the broker, or the database takes no batches"
        return ""

    def run(self, stop: Stop) -> None:
        """Take messages in, in as many tenures as it takes, until stopped.

        Raises:
            DrumtowerError: when a part beside the intake failed; its supervisor starts the gateway again.
        """
        _tune_interpreter()
        try:
            while not stop.is_set():
                lease = self._keeper.acquire(stop)
                if lease is None:
                    break
                try:
                    self._lease = lease
                    self._hold(lease, stop)
                finally:
                    self._lease = None
                    lease.release()
        finally:
            stop.set("the intake ended")
            self._pool.shutdown(wait=True)
        if self._failed:
            raise DrumtowerError(
                "gateway.part_failed", "; ".join(self._failed), "the log above says where; start it again"
            )

    def _follow_file(self) -> bool:
        """Make the configuration's rules the first version of them, or the next; whether the store was there."""
        settings = self._settings
        content = rules_text(settings.rules) if self._rules is None else self._rules
        try:
            follow_file(self._environment.database_url, content, settings.catalogue(), self._clock)
        except TransientError as error:
            _log.warning("rules not looked at", error=error.message)
            return False
        return True

    def _hold(self, lease: Lease, stop: Stop) -> None:
        if not self._follow_file():
            stop.wait(1.0)
            return
        self.metrics.lease_held.set(1)
        try:
            why = Tenure(
                self._settings,
                lease=lease,
                intake=self._intake(lease),
                stores=[self._store(lease, stop) for _ in range(self._settings.intake.committers)],
                metrics=self.metrics,
                clock=self._clock,
                foreign=self._foreign,
            ).run(stop)
        finally:
            self.metrics.lease_held.set(0)
            self.metrics.commit_age.set(0)
            self.metrics.queue.set(0)
        _log.info("tenure ended", partition=self._partition, why=why)
        if why != "stopped":
            stop.wait(0.5)  # whoever took over is busy connecting: no tug-of-war

    def _intake(self, lease: Lease) -> Intake:
        def connection_changed(connected: bool) -> None:
            self.metrics.connected.set(connected)
            lease.listening(connected=connected)

        return _INTAKES[self._settings.intake.client](
            self._environment.broker,
            self._partition,
            receive_maximum=self._settings.intake.receive_maximum,
            queue_bytes=self._settings.intake.queue_mb * 2**20,
            may_connect=lease.may_connect,
            on_connection=connection_changed,
            clock=self._clock,
        )

    def _store(self, lease: Lease, stop: Stop) -> Store:
        return Store(
            self._environment.database_url,
            self._partition,
            lease.fencing,
            rule_book=RuleBook(self._settings.catalogue()),
            metrics=self._settings.catalogue(),
            stop=stop,
            lease_lost=lease.is_lost,
            limits=limits_of(self._settings),
            clock=self._clock,
            on_retry=self.metrics.retries.inc,
            on_trouble=self.metrics.tell_trouble,
        )


def _tune_interpreter() -> None:
    """Look for reference cycles rarely, and let a thread that is back from the network have its turn soon.

    Decoded packets are many short-lived containers without cycles; at the interpreter's usual thresholds looking
    through them costs as much as decoding them (36 against 17 µs a packet of 50 readings). A transaction comes back
    from the network a dozen times, and each time waits for whichever thread computes: by default up to 5 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.0005)


def limits_of(settings: GatewaySettings) -> Limits:
    """The limits in the units of the code."""
    limits = settings.limits
    return Limits(
        future_ms=round(limits.clock_ahead_h * _HOUR_MS),
        past_ms=round(limits.clock_behind_h * _HOUR_MS),
        replay_ms=round(limits.replay_days * 24 * _HOUR_MS),
        reject_bytes_per_day=round(limits.reject_mb_per_device_day * 2**20),
        series_per_device=limits.series_per_device,
        bounds=Bounds(limits.ranges_per_stream, limits.epochs_per_device_day),
    )
