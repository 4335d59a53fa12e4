"""Looking about: whether the ticket centre works, how the fleet is, how full the disks are.

Every gateway looks, also one that stands by. What it finds goes into the metrics; that the ticket centre is silent also
into the log, since nobody opens tickets then that could say it.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from common.runtime.clock import Clock
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from gateway.config import WatchSettings
from gateway.fleet.repo import Connection, connect, transaction
from gateway.metrics import GatewayMetrics
from gateway.watch import repo
from gateway.watch.repo import Outlook

#: What Mosquitto calls the file that it saves sessions and queues in.
BROKER_FILE: Final = "mosquitto.db"
_log = get_logger("watch")


def cloud_silent_s(outlook: Outlook) -> float:
    """For how long the ticket centre has done nothing: no worker spoke, or what waits for one is not taken.

    A store that never saw a worker has no ticket centre that could be silent, until something waits for one.
    """
    return max(outlook.worker_age_s or 0.0, outlook.inbox_age_s, 0.0)


class Watch:
    """Looks about on a connection of its own.

    Args:
        database_url: the store.
        settings: how often, and when silence is told.
        metrics: where it is told.
        clock: wall time, for the age of the broker's file.
        disks: directories whose free space is told, by name; ``broker`` is Mosquitto's persistence directory.
    """

    def __init__(
        self,
        database_url: str,
        settings: WatchSettings,
        metrics: GatewayMetrics,
        clock: Clock,
        disks: Mapping[str, Path],
    ) -> None:
        self._url = database_url
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._disks = dict(disks)
        self._connection: Connection | None = None
        self._is_silent = False

    def run(self, stop: Stop) -> None:
        """Until stopped; a database that is away is waited for, and nothing is told of it meanwhile."""
        try:
            while not stop.is_set():
                self.look()
                stop.wait(self._settings.every_s * random.uniform(0.9, 1.1))
        finally:
            self._leave()

    def look(self) -> None:
        """Look once."""
        self._look_at_disks()
        try:
            self._connection = self._connection or connect(self._url, "watch", patient=False)
            with transaction(self._connection) as connection:
                outlook = repo.outlook(connection)
        except TransientError as error:
            _log.warning("nothing is known of the ticket centre", error=error.message, hint=error.hint)
            self._metrics.forget_outlook()
            self._leave()
            return
        silent_s = cloud_silent_s(outlook)
        self._metrics.tell_outlook(
            silent_s=silent_s,
            waiting=outlook.inbox_waiting,
            inbox_age_s=outlook.inbox_age_s,
            unreceipted_s=outlook.unreceipted_s,
            devices=outlook.devices,
        )
        self._judge(silent_s, outlook)

    def _judge(self, silent_s: float, outlook: Outlook) -> None:
        is_silent = silent_s > self._settings.cloud_silent_s
        if is_silent and not self._is_silent:
            _log.error(
                "the ticket centre is silent: nobody turns observations into tickets",
                silent_s=round(silent_s),
                waiting=outlook.inbox_waiting,
                hint="start it (drumtower cloud run), or see what keeps it: drumtower doctor cloud",
            )
        elif self._is_silent and not is_silent:
            _log.info("the ticket centre works again", waiting=outlook.inbox_waiting)
        self._is_silent = is_silent

    def _look_at_disks(self) -> None:
        for name, directory in self._disks.items():
            self._metrics.disk_free.labels(name).set(free_bytes(directory))
        if (broker := self._disks.get("broker")) is not None:
            self._metrics.broker_saved_age.set(saved_age_s(broker, self._clock.now_ms()))

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def free_bytes(directory: Path) -> float:
    """Free space where a directory is; NaN where it cannot be asked."""
    try:
        return float(shutil.disk_usage(directory).free)
    except OSError:
        return math.nan


def saved_age_s(directory: Path, now_ms: int) -> float:
    """How long ago the broker last saved what it holds; NaN where it never did or the file cannot be seen."""
    try:
        return max(now_ms / 1000 - (directory / BROKER_FILE).stat().st_mtime, 0.0)
    except OSError:
        return math.nan
