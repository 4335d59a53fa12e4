"""One gateway of all keeps house: rollups every few seconds, what is too old once an hour.

Which one it is, a session's advisory lock decides; when that gateway goes, the next one that asks has it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Final

from common.runtime.clock import Clock
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from gateway.config import KeepSettings
from gateway.fleet.repo import Connection, connect, transaction
from gateway.keeping import repo
from gateway.rollups.pace import Pace
from gateway.rollups.refresh import refresh
from gateway.rollups.repo import lag_s

_MEBIBYTE: Final = 2**20
_AGAIN_SECONDS: Final = 60.0
_log = get_logger("keeping")


def tidy(connection: Connection, keep: KeepSettings) -> Counter[str]:
    """Throw away what is too old, each kind in a transaction of its own; what went, by kind (chunks or rows).

    Raises:
        TransientError: when the database went away, or somebody reads what is to be dropped.
    """
    with transaction(connection):
        repo.note_retention(connection, keep.readings_days)
    days = {
        "readings": keep.readings_days,
        "minutes": keep.minutes_days,
        "hours": keep.hours_days,
        "observations": keep.observations_days,
        "statuses": keep.status_days,
    }
    gone: Counter[str] = Counter()
    for kind, hypertable in repo.HYPERTABLES.items():
        with transaction(connection):
            gone[kind] = repo.keep_for(connection, hypertable, days[kind])
    with transaction(connection):
        repo.compress_after(connection, keep.compress_after_days)
    with transaction(connection):
        gone["rejects"] = repo.forget_rejects(connection, keep.rejects_days, keep.rejects_mb * _MEBIBYTE)
    with transaction(connection):
        gone["streams"] = repo.forget_streams(connection, keep.streams_days)
    return gone


class Housekeeper:
    """Keeps house on a connection of its own, for as long as it has the lock."""

    def __init__(
        self,
        database_url: str,
        keep: KeepSettings,
        clock: Clock,
        *,
        on_lag: Callable[[float], None] = lambda _seconds: None,
        on_gone: Callable[[str, int], None] = lambda _kind, _count: None,
    ) -> None:
        """``on_lag`` is told for how many seconds rollups have been due, ``on_gone`` what was thrown away."""
        self._url = database_url
        self._keep = keep
        self._clock = clock
        self._on_lag = on_lag
        self._on_gone = on_gone
        self._connection: Connection | None = None
        self._tidy_at = 0.0

    def run(self, stop: Stop) -> None:
        """Until stopped; a database that is away, or too full to write to, is waited for."""
        pace = Pace(self._clock, stop.wait)
        try:
            while not stop.wait(self._keep.refresh_s * random.uniform(0.9, 1.1)):
                try:
                    self._turn(pace)
                except TransientError as error:
                    _log.warning("housekeeping is put off", error=error.message, hint=error.hint)
                    self._leave()
        finally:
            self._leave()

    def _turn(self, pace: Pace) -> None:
        if self._connection is None:
            connection = connect(self._url, "keeping", patient=False)
            with transaction(connection):
                ours = repo.lock_worker(connection)
            if not ours:
                # Told by every gateway: whoever has the lock may hang, and nobody would tell.
                with closing(connection), transaction(connection):
                    self._on_lag(lag_s(connection))
                return
            self._connection = connection
        # What is too old goes first: where the disk is full nothing else can be written before that.
        if self._clock.monotonic() >= self._tidy_at:
            self._tidy_at = self._clock.monotonic() + min(self._keep.sweep_s, _AGAIN_SECONDS)
            for kind, count in tidy(self._connection, self._keep).items():
                if count:
                    self._on_gone(kind, count)
                    _log.info("threw away what is too old", kind=kind, count=count)
            self._tidy_at = self._clock.monotonic() + self._keep.sweep_s
        refresh(self._connection, self._clock.now_ms(), pace)
        with transaction(self._connection):
            self._on_lag(lag_s(self._connection))

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
