"""Telling in time that nobody will be on duty."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from cloud.db import Database
from cloud.duty.service import find_holes
from common.runtime.log import get_logger

_log = get_logger("duty")
_AHEAD: Final = timedelta(days=1)
_TOLD: Final = 5


class DutyWatch:
    """Tells the log and the metrics of holes in the rota within a day.

    Args:
        database: where the rota is.
        registry: where to say it.
    """

    def __init__(self, database: Database, registry: CollectorRegistry) -> None:
        self._database = database
        self._holes = Gauge(
            "drumtower_duty_holes",
            "Times within a day at which a unit that must have somebody on duty has nobody",
            registry=registry,
        )
        self._said: date | None = None

    def look(self, now: datetime) -> None:
        """Look once; a warning comes at most once a day.

        Raises:
            TransientError: when the database is away.
        """
        found = find_holes(self._database, now, now + _AHEAD)
        self._holes.set(len(found))
        if found and self._said != now.date():
            units = sorted({code for code, _ in found})
            _log.warning(
                "nobody will be on duty", units=units[:_TOLD], holes=len(found), check="cloud duty check"
            )
            self._said = now.date()
