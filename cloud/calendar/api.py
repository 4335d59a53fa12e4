"""What is known of working time, over HTTP."""

from __future__ import annotations

from datetime import date
from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud.auth.api import CurrentAccount
from cloud.calendar.service import look
from cloud.problem import responses
from cloud.services import CurrentServices
from common.runtime.clock import to_datetime

calendar = APIRouter(prefix="/api/calendar", tags=["calendar"])


class CalendarRead(BaseModel):
    """Weekly working hours."""

    name: str
    days: tuple[int, ...] = Field(description="ISO weekdays, 1 Monday")
    hours: tuple[tuple[int, int], ...] = Field(description="of a working day, seconds after midnight")
    holidays: bool = Field(description="whether public holidays are free and make-up days worked")


class YearRead(BaseModel):
    """A year whose holidays are published here."""

    year: int
    source: str = Field(description="the notice")
    off: tuple[tuple[date, date], ...] = Field(description="first and last day")
    work: tuple[date, ...] = Field(description="make-up days 调休")


class CalendarState(BaseModel):
    """What is known, and what is missing."""

    calendars: tuple[CalendarRead, ...]
    years: tuple[YearRead, ...]
    days_known: int = Field(description="for how many days from today holidays are published")
    missing_years: tuple[int, ...] = Field(description="years that clocks need now and nobody loaded")
    problem: str = Field(description="what to do about it; empty: nothing")


@calendar.get("", responses=responses(HTTPStatus.UNAUTHORIZED))
def show_calendar(services: CurrentServices, _account: CurrentAccount) -> CalendarState:
    """The calendars in which clocks run, the years whose holidays are known, and what is missing."""
    with services.database.transaction() as transaction:
        known = look(transaction, to_datetime(services.clock.now_ms()))
    return CalendarState(
        calendars=tuple(
            CalendarRead(name=one.name, days=tuple(sorted(one.days)), hours=one.hours, holidays=one.holidays)
            for one in known.calendars.values()
        ),
        years=tuple(
            YearRead(year=one.year, source=one.source, off=one.off, work=one.work) for one in known.years
        ),
        days_known=known.days,
        missing_years=known.missing,
        problem=known.problem,
    )
