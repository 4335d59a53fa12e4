"""Calendars and published years in the database: what is there is what clocks run by."""

from __future__ import annotations

from datetime import date

from psycopg.types.json import Jsonb

from cloud.calendar.domain import Holidays, WorkingCalendar
from cloud.calendar.files import shipped_years
from cloud.db import Queries, Transaction

_Q = Queries("cloud.calendar")


def years(transaction: Transaction) -> tuple[Holidays, ...]:
    """The years whose holidays are known here, in order."""
    return tuple(
        Holidays(
            row["year"],
            row["source"],
            tuple((date.fromisoformat(first), date.fromisoformat(last)) for first, last in row["off"]),
            tuple(date.fromisoformat(day) for day in row["work"]),
        )
        for row in transaction.rows(_Q["years"])
    )


def calendars(transaction: Transaction) -> dict[str, WorkingCalendar]:
    """The district's calendars by name, with the holidays of the years that are known."""
    rows = transaction.rows(_Q["calendars"])
    published = years(transaction) if any(row["holidays"] for row in rows) else ()
    return {
        row["name"]: WorkingCalendar(
            row["name"],
            frozenset(row["days"]),
            tuple((begin, end) for begin, end in row["hours"]),
            row["holidays"],
        ).keeping(published)
        for row in rows
    }


def store_year(transaction: Transaction, published: Holidays, *, shipped: bool = False) -> bool:
    """Write a year; False: what a person brought stays."""
    off = [[first.isoformat(), last.isoformat()] for first, last in published.off]
    work = [day.isoformat() for day in published.work]
    values = {"year": published.year, "source": published.source, "shipped": shipped}
    return transaction.run(_Q["store_year"], **values, off=Jsonb(off), work=Jsonb(work)) == 1


def sync_years(transaction: Transaction) -> None:
    """Write the years that ship with this release."""
    for published in shipped_years():
        store_year(transaction, published, shipped=True)
