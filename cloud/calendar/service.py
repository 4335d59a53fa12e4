"""Saying in time that a year's holidays are not known here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from cloud.calendar import repo
from cloud.calendar.domain import DISTRICT_ZONE, Holidays, WorkingCalendar, days_known
from cloud.db import Database, Transaction
from common.runtime.log import get_logger

_log = get_logger("calendar")
#: The notice comes in October or November; from then on somebody can bring it.
WARN_DAYS: Final = 30
_SAY_AGAIN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of working time.

    Attributes:
        calendars: by name.
        years: whose holidays are published here.
        days: for how many days from today on they are known.
        missing: the years among this one and the next whose lack matters now.
    """

    calendars: dict[str, WorkingCalendar]
    years: tuple[Holidays, ...]
    days: int
    missing: tuple[int, ...]

    @property
    def problem(self) -> str:
        """What a person should do, or nothing."""
        if not self.missing:
            return ""
        named = ", ".join(map(str, self.missing))
        return (
            f"the public holidays of {named} are not known here: clocks in working time treat only weekends as"
            " free. Load the State Council's notice: drumtower cloud calendar load FILE"
        )


def look(transaction: Transaction, now: datetime) -> Known:
    """What is known at an instant."""
    today = now.astimezone(DISTRICT_ZONE).date()
    calendars, years = repo.calendars(transaction), repo.years(transaction)
    published = frozenset(one.year for one in years)
    matters = any(calendar.holidays for calendar in calendars.values())
    soon = (today + timedelta(days=WARN_DAYS)).year
    missing = [year for year in range(today.year, soon + 1) if year not in published] if matters else []
    return Known(calendars, years, days_known(published, today), tuple(missing))


class CalendarWatch:
    """Tells the log and the metrics how far the published holidays reach.

    Args:
        database: where they are.
        registry: where to say it.
    """

    def __init__(self, database: Database, registry: CollectorRegistry) -> None:
        self._database = database
        self._days = Gauge(
            "drumtower_calendar_days_known",
            "Days from today for which public holidays are published here",
            registry=registry,
        )
        self._missing = Gauge(
            "drumtower_calendar_years_missing",
            "Years, of this and the coming month, that clocks need and nobody loaded",
            registry=registry,
        )
        self._said: date | None = None

    def look(self, now: datetime) -> None:
        """Look once; a warning comes at most once a day.

        Raises:
            TransientError: when the database is away.
        """
        with self._database.transaction() as transaction:
            known = look(transaction, now)
        self._days.set(known.days)
        self._missing.set(len(known.missing))
        today = now.date()
        if known.missing and (self._said is None or today >= self._said + _SAY_AGAIN):
            _log.warning("holidays are not published here", years=list(known.missing), problem=known.problem)
            self._said = today
