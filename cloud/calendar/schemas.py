"""Calendars and years of holidays as they stand in files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cloud.calendar.domain import Holidays, WorkingCalendar
from common.runtime.config import Settings, Wrong

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEK: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


def _span_of_a_day(text: str) -> str:
    if not _SPAN.fullmatch(text) or not 0 <= _seconds(text)[0] < _seconds(text)[1] <= 86_400:
        raise ValueError("expected hours of one day such as 09:00-12:00 or 13:30-24:00")
    return text


def _seconds(text: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(text)
    assert match is not None
    hour, minute, last_hour, last_minute = map(int, match.groups())
    return hour * 3600 + minute * 60, last_hour * 3600 + last_minute * 60


HoursOfDay = Annotated[str, AfterValidator(_span_of_a_day)]
CalendarName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]


class CalendarEntry(Settings):
    """Weekly working hours, with or without public holidays."""

    name: CalendarName
    days: Annotated[list[Weekday], Field(min_length=1, max_length=7)]
    hours: Annotated[list[HoursOfDay], Field(min_length=1, max_length=8)]
    holidays: bool = True

    def cross_faults(self) -> Iterator[Wrong]:
        """Hours in order and apart; each day once; the two names that mean something else are not given."""
        if self.right("hours"):
            for number, (one, other) in enumerate(pairwise(self.hours)):
                if _seconds(other)[0] <= _seconds(one)[1]:
                    yield Wrong(
                        ("hours", number + 1), f"expected hours in order and apart, got {one} before it"
                    )
        if self.right("days") and len(set(self.days)) < len(self.days):
            yield Wrong(("days",), "expected each day once")
        if self.name == "unit":
            yield Wrong(("name",), "'unit' stands for the hours of whichever unit it is; choose another name")

    def calendar(self) -> WorkingCalendar:
        """As clocks take it, without holidays yet."""
        days = frozenset(_WEEK.index(day) + 1 for day in self.days)
        return WorkingCalendar(self.name, days, tuple(map(_seconds, self.hours)), self.holidays)


class OffEntry(Settings):
    """One holiday's days off."""

    name_zh: Annotated[str, Field(min_length=1, max_length=40)]
    name_en: Annotated[str, Field(min_length=1, max_length=60)]
    first: date
    last: date

    def cross_faults(self) -> Iterator[Wrong]:
        """It ends after it begins."""
        if self.right("first", "last") and self.last < self.first:
            yield Wrong(("last",), f"expected {self.first} or later, got {self.last}")


class HolidayFile(Settings):
    """What the State Council's notice says of a year."""

    year: Annotated[int, Field(ge=2000, le=2100)]
    source: Annotated[str, Field(min_length=1, max_length=200, description="the notice and its date")]
    holidays: Annotated[list[OffEntry], Field(min_length=1)]
    work: list[date]

    def cross_faults(self) -> Iterator[Wrong]:
        """Every day in its year (or the December before), off or worked but not both, make-up days at weekends."""
        for number, entry in enumerate(self.holidays):
            for name in ("first", "last"):
                if entry.right(name) and not self._belongs(getattr(entry, name)):
                    yield Wrong(("holidays", number, name), f"expected a day of {self.year}")
            if number and entry.right("first") and self.holidays[number - 1].right("last"):
                before = self.holidays[number - 1].last
                if entry.first <= before:
                    yield Wrong(("holidays", number, "first"), f"expected a day after {before}, where {{other}} ends",
                                ("holidays", number - 1))  # fmt: skip
        if self.right("work"):
            yield from self._make_up_faults()

    def _make_up_faults(self) -> Iterator[Wrong]:
        spans = [(entry.first, entry.last) for entry in self.holidays if entry.right("first", "last")]
        for number, day in enumerate(self.work):
            if not self._belongs(day):
                yield Wrong(("work", number), f"expected a day of {self.year}, got {day}")
            elif day.isoweekday() < 6:
                yield Wrong(("work", number), f"{day} is a weekday; a make-up day is a Saturday or Sunday")
            if any(first <= day <= last for first, last in spans):
                yield Wrong(("work", number), f"{day} is off as well")

    def _belongs(self, day: date) -> bool:
        return not self.right("year") or day.year == self.year or (day.year, day.month) == (self.year - 1, 12)

    def published(self) -> Holidays:
        """As calendars take it."""
        spans = tuple((entry.first, entry.last) for entry in self.holidays)
        return Holidays(self.year, self.source, spans, tuple(sorted(self.work)))
