"""Tickets as lines of CSV and as features of GeoJSON. Pure.

Sources: RFC 4180 (CSV), RFC 7946 (GeoJSON), OWASP on CSV injection: a cell that begins like a formula is one to a
spreadsheet.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from cloud.tickets.schemas import TicketSummary

#: Columns of the CSV, properties of a feature; in the names of the API.
COLUMNS: Final = (
    "number",
    "ticket_id",
    "category",
    "category_zh",
    "category_en",
    "channel",
    "severity",
    "state",
    "level",
    "unit_code",
    "unit_zh",
    "unit_en",
    "unassigned",
    "grid_code",
    "lon",
    "lat",
    "opened_at",
    "dispatched_at",
    "claimed_at",
    "closed_at",
    "overridden",
    "reopenings",
    "next_clock",
    "next_due_at",
    "clocks_missed",
    "incidents",
)
#: What makes a formula, also in the full-width forms that East Asian spreadsheets take for the same.
_FORMULA: Final = tuple("=+-@＝＋－＠")
#: So that spreadsheets read the Chinese as it is.
BYTE_ORDER_MARK: Final = "\ufeff"


def safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    risky = text.lstrip().startswith(_FORMULA) or text.startswith(("\t", "\r", "\n"))
    return f"'{text}" if risky else text


def csv_lines(tickets: Iterable[TicketSummary]) -> Iterator[str]:
    """A head and a line each, ended by CR LF."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    yield BYTE_ORDER_MARK + _taken(buffer)
    for ticket in tickets:
        writer.writerow([_cell(getattr(ticket, name)) for name in COLUMNS])
        yield _taken(buffer)


def geojson_parts(tickets: Iterable[TicketSummary]) -> Iterator[str]:
    """One FeatureCollection in pieces, a point each."""
    yield '{"type":"FeatureCollection","features":['
    for number, ticket in enumerate(tickets):
        yield ("," if number else "") + json.dumps(_feature(ticket), ensure_ascii=False)
    yield "]}\n"


def _feature(ticket: TicketSummary) -> dict[str, Any]:
    told = ticket.model_dump(mode="json", include=set(COLUMNS) - {"lon", "lat", "ticket_id"})
    return {
        "type": "Feature",
        "id": str(ticket.ticket_id),
        "geometry": {"type": "Point", "coordinates": [ticket.lon, ticket.lat]},
        "properties": told,
    }


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)  # a number may begin with a minus
        case datetime():
            return value.isoformat()
        case _:
            return safe(str(value))


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
