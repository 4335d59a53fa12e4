"""Working time as pure functions: what a calendar makes of an instant and a number of seconds.

A calendar is weekly hours plus, where it keeps public holidays, the days off and the make-up days (调休) of the
years that are published. A year that is not published is never guessed: in it only weekends are free, and
``gaps`` names it. ``None`` stands everywhere for the calendar without a pause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any, Final

from common.runtime.errors import InvalidError

# China has kept UTC+8 without summer time since 1991; a fixed offset works where no zone files are installed.
DISTRICT_ZONE: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
DAY_S: Final = 86_400
_DAY: Final = timedelta(days=1)
#: Nobody promises anything ten years ahead; a calendar that finds no time by then has none.
_HORIZON_DAYS: Final = 3660


@dataclass(frozen=True, slots=True)
class Holidays:
    """What one notice says of a year: days off, first and last of each, and days that are worked instead."""

    year: int
    source: str
    off: tuple[tuple[date, date], ...]
    work: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class WorkingCalendar:
    """When work is done, in the district's time.

    Attributes:
        name: what policies and units call it.
        days: ISO weekdays, 1 Monday to 7 Sunday.
        hours: of a working day, seconds after midnight, in order and apart.
        holidays: whether public holidays are kept.
        years: of which years the holidays are published here.
        off, work: days off (first, last) and make-up days.
    """

    name: str
    days: frozenset[int]
    hours: tuple[tuple[int, int], ...]
    holidays: bool = False
    years: frozenset[int] = frozenset()
    off: tuple[tuple[date, date], ...] = ()
    work: tuple[date, ...] = ()

    @property
    def day_s(self) -> int:
        """The working seconds of one day: what "one day" means under this calendar."""
        return sum(end - begin for begin, end in self.hours)

    def keeping(self, published: tuple[Holidays, ...]) -> WorkingCalendar:
        """The same with the holidays of these years, if it keeps any."""
        if not self.holidays:
            return self
        return replace(
            self,
            years=frozenset(one.year for one in published),
            off=tuple(sorted(span for one in published for span in one.off)),
            work=tuple(sorted(day for one in published for day in one.work)),
        )

    def is_working_day(self, day: date) -> bool:
        """Whether any of its hours count."""
        if day in self.work:
            return True
        return day.isoweekday() in self.days and not any(first <= day <= last for first, last in self.off)

    def is_open(self, at: datetime) -> bool:
        """Whether work is done at an instant."""
        local = at.astimezone(DISTRICT_ZONE)
        second = (local - _midnight(local.date())).total_seconds()
        return self.is_working_day(local.date()) and any(begin <= second < end for begin, end in self.hours)

    def gaps(self, start: datetime, end: datetime) -> tuple[int, ...]:
        """The years between two instants whose holidays are not published."""
        if not self.holidays:
            return ()
        first, last = (at.astimezone(DISTRICT_ZONE).year for at in (start, end))
        return tuple(year for year in range(first, last + 1) if year not in self.years)

    def snapshot(self, since: date) -> dict[str, Any]:
        """As it is frozen in a ticket: what no longer matters on that day is left out."""
        return {
            "name": self.name,
            "days": sorted(self.days),
            "hours": [list(span) for span in self.hours],
            "holidays": self.holidays,
            "years": sorted(year for year in self.years if year >= since.year),
            "off": [[first.isoformat(), last.isoformat()] for first, last in self.off if last >= since],
            "work": [day.isoformat() for day in self.work if day >= since],
        }

    @classmethod
    def from_snapshot(cls, snapshot: dict[str, Any]) -> WorkingCalendar:
        """Back from a ticket or the database."""
        return cls(
            snapshot["name"],
            frozenset(snapshot["days"]),
            tuple((begin, end) for begin, end in snapshot["hours"]),
            snapshot["holidays"],
            frozenset(snapshot["years"]),
            tuple((date.fromisoformat(first), date.fromisoformat(last)) for first, last in snapshot["off"]),
            tuple(date.fromisoformat(day) for day in snapshot["work"]),
        )


def due_at(calendar: WorkingCalendar | None, start: datetime, seconds: float) -> datetime:
    """The first instant at which so much working time has passed since ``start``.

    Monotone in both, and additive: ``due_at(due_at(t, a), b) == due_at(t, a + b)``.

    Raises:
        InvalidError: when the calendar has no such time within ten years.
    """
    rest = timedelta(seconds=seconds)
    if calendar is None or rest <= timedelta(0):
        return start + max(rest, timedelta(0))
    for begin, end in _spans(calendar, start):
        if rest <= end - begin:
            return (begin + rest).astimezone(start.tzinfo)
        rest -= end - begin
    raise InvalidError(
        "calendar.no_working_time",
        f"expected {seconds:.0f} s of working time in calendar {calendar.name!r} after {start.isoformat()},"
        " found less in ten years",
        "look at its days, hours and holidays",
    )


def worked_s(calendar: WorkingCalendar | None, start: datetime, end: datetime) -> float:
    """The working time between two instants in seconds; none when the second is not later."""
    if end <= start:
        return 0.0
    if calendar is None:
        return (end - start).total_seconds()
    total = timedelta(0)
    for begin, until in _spans(calendar, start):
        if begin >= end:
            break
        total += min(until, end) - begin
    return total.total_seconds()


def days_known(published: frozenset[int], today: date) -> int:
    """For how many days from today on the holidays are published without a gap."""
    year = today.year
    while year in published:
        year += 1
    return max((date(year, 1, 1) - today).days, 0)


def _spans(calendar: WorkingCalendar, start: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The stretches of working time after an instant, cut at it, in UTC."""
    start = start.astimezone(UTC)
    day = start.astimezone(DISTRICT_ZONE).date()
    for _ in range(_HORIZON_DAYS):
        if calendar.is_working_day(day):
            midnight = _midnight(day).astimezone(UTC)
            for begin, end in calendar.hours:
                until = midnight + timedelta(seconds=end)
                if until > start:
                    yield max(midnight + timedelta(seconds=begin), start), until
        day += _DAY


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), DISTRICT_ZONE)
