"""Counting for the assessment, in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from cloud.assessment.domain import Figures
from cloud.db import Queries, Transaction

_Q = Queries("cloud.assessment")
By = Literal["unit", "kind", "level", "category", "month"]
#: What groups are made by; none of these texts comes from a request.
_KEYS: Final[Mapping[By, str]] = {
    "unit": "coalesce(unit.unit_code, '')",
    "kind": "coalesce(unit.kind, '')",
    "level": "ticket.level::text",
    "category": "ticket.category",
    "month": "to_char(ticket.opened_at AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM')",
}
_CHOSEN: Final = (
    "ticket.opened_at >= %(since)s AND ticket.opened_at < %(until)s AND ticket.state NOT IN ('void', 'merged')"
    " AND (%(category)s::text IS NULL OR ticket.category = %(category)s)"
)
_COUNTED: Final = ("tickets", "clocks", "calls", "stars")


@dataclass(frozen=True, slots=True)
class Period:
    """Which tickets: opened in a time, of a category, of some units; None does not narrow."""

    since: datetime
    until: datetime
    now: datetime
    category: str | None = None
    units: Sequence[str] | None = None


def figures(transaction: Transaction, by: By, period: Period) -> dict[str, Figures]:
    """The figures of each group by its key."""
    found: dict[str, Figures] = {}
    values = asdict(period) | {"units": None if period.units is None else list(period.units)}
    for name in _COUNTED:
        statement = _Q[name].replace("{key}", _KEYS[by]).replace("{chosen}", _CHOSEN)
        for row in transaction.rows(statement, **values):
            counted = {column: value for column, value in row.items() if column != "key"}
            found[row["key"]] = found.get(row["key"], Figures()) + Figures(**counted)
    return found


def kept(transaction: Transaction, asked: str) -> tuple[datetime, datetime, dict[str, Figures]] | None:
    """What was counted last: since when, until when, and the figures of each unit."""
    row = transaction.row(_Q["kept"], asked=asked)
    if row is None:
        return None
    return row["since"], row["until"], {code: Figures(**one) for code, one in row["figures"].items()}


def keep(transaction: Transaction, asked: str, period: Period, found: Mapping[str, Figures]) -> None:
    """Keep what was counted."""
    figures = Jsonb({code: asdict(one) for code, one in found.items()})
    transaction.run(_Q["keep"], asked=asked, since=period.since, until=period.until, figures=figures)


def is_mine(transaction: Transaction, key: int) -> bool:
    """Whether nobody else does it just now; then nobody else will before this transaction ends."""
    return bool(transaction.one(_Q["is_mine"], key=key)["it"])


def below(transaction: Transaction, unit_code: str) -> list[str]:
    """A unit and every unit below it; empty where there is none."""
    return [row["unit_code"] for row in transaction.rows(_Q["below"], unit_code=unit_code)]


def cells(
    transaction: Transaction, baseline: datetime, since: datetime, until: datetime, category: str | None
) -> list[DictRow]:
    """How many tickets each grid had of each category, lately and before."""
    return transaction.rows(_Q["cells"], baseline=baseline, since=since, until=until, category=category)


def unsolved(
    transaction: Transaction,
    before: datetime,
    after: tuple[datetime, UUID] | None,
    units: Sequence[str] | None,
    limit: int,
) -> list[DictRow]:
    """What has stood open since before then, the oldest first."""
    after_at, after_id = after or (None, None)
    return transaction.rows(
        _Q["unsolved"],
        before=before,
        after_at=after_at,
        after_id=after_id,
        units=None if units is None else list(units),
        limit=limit,
    )


def names(transaction: Transaction) -> dict[str, tuple[str, str]]:
    """What units and categories are called, in Chinese and English, by their codes."""
    units = {row["unit_code"]: (row["name_zh"], row["name_en"]) for row in transaction.rows(_Q["names"])}
    categories = {row["code"]: (row["zh"], row["en"]) for row in transaction.rows(_Q["category_names"])}
    return units | categories


def took_part(transaction: Transaction, ticket_id: UUID, unit_code: str) -> bool:
    """Whether a unit owned a ticket or was called onto it."""
    return transaction.row(_Q["took_part"], ticket_id=ticket_id, unit_code=unit_code) is not None


def rate(transaction: Transaction, **values: Any) -> bool:
    """Write a rating; False where the unit was rated for this ticket already."""
    return bool(transaction.run(_Q["rate"], **values))
