"""Recurring places as they are told: rates in hours, verdicts in words."""

from __future__ import annotations

from typing import Any, Final, Literal
from uuid import UUID

from cloud.db import Transaction
from cloud.paging import decode_cursor, encode_cursor
from cloud.recurring import repo
from cloud.recurring.domain import Rate
from cloud.recurring.repo import Place
from cloud.recurring.schemas import (
    RateRead,
    RecurringFilters,
    RecurringPage,
    RecurringPlace,
    RecurringTicket,
    WorstAct,
)
from cloud.verify.domain import Verdict

_VERDICTS: Final[dict[Verdict, Literal["came_down", "not_down", "blind", "measuring"]]] = {
    Verdict.CLEAN: "came_down",
    Verdict.DIRTY: "not_down",
    Verdict.BLIND: "blind",
    Verdict.WAIT: "measuring",
}


def recurring_of(transaction: Transaction, ticket_id: UUID) -> RecurringPlace | None:
    """A ticket's recurring place; None where it is about something else."""
    place = repo.place(transaction, ticket_id)
    return None if place is None else told(place)


def recurring_page(transaction: Transaction, filters: RecurringFilters) -> RecurringPage:
    """A page of recurring places, the newest first.

    Raises:
        InvalidError: when the cursor is not one of ours.
    """
    before = None if filters.cursor is None else decode_cursor(filters.cursor)
    rows = repo.places(transaction, is_open=filters.open, before=before, limit=filters.limit + 1)
    items = tuple(
        RecurringTicket(
            ticket_id=place.ticket_id,
            number=row["number"],
            state=row["state"],
            opened_at=row["opened_at"],
            closed_at=row["closed_at"],
            place=told(place),
        )
        for place, row in rows[: filters.limit]
    )
    more = len(rows) > filters.limit
    return RecurringPage(
        items=items, next_cursor=encode_cursor(items[-1].opened_at, items[-1].ticket_id) if more else None
    )


def told(place: Place) -> RecurringPlace:
    """A recurring place in the words of the interface."""
    stretch, band = place.stretch, place.band
    return RecurringPlace(
        category=place.category,
        stretch=stretch.code,
        stretch_zh=stretch.name_zh,
        stretch_en=stretch.name_en,
        band=band.name,
        band_zh=band.name_zh,
        band_en=band.name_en,
        days=band.days,
        hours=tuple(f"{_of_day(begin)}-{_of_day(end)}" for begin, end in band.hours),
        limit_per_h=place.rule.per_h,
        cameras=len(place.cameras),
        opened_upon=_rate(place.opened_upon),
        before=None if place.before is None else _rate(place.before),
        after=None if place.after is None else _rate(place.after),
        measured_at=place.measured_at,
        verdict=None if place.verdict is None else _VERDICTS[place.verdict],
        worst=tuple(_act(dict(act)) for act in place.worst),
    )


def _act(act: dict[str, Any]) -> WorstAct:
    evidence = act.pop("evidence")
    pictures = tuple(f"/api/evidence/{picture['sha256']}" for picture in evidence)
    return WorstAct(**act, pictures=pictures)


def _rate(rate: Rate) -> RateRead:
    return RateRead(
        since=rate.since,
        until=rate.until,
        acts=rate.acts,
        looked_h=round(rate.looked_s / 3600, 3),
        clock_h=round(rate.clock_s / 3600, 3),
        per_h=None if rate.per_h is None else round(rate.per_h, 3),
        at_least_per_h=round(rate.at_least_per_h, 3),
    )


def _of_day(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
