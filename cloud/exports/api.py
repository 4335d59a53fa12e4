"""Exports over HTTP; what narrows the list of tickets narrows them too."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from cloud.auth.api import CurrentAccount
from cloud.exports.domain import csv_lines, geojson_parts
from cloud.problem import responses
from cloud.services import CurrentServices
from cloud.tickets.schemas import TicketFilters, TicketSummary
from cloud.tickets.service import TicketService

exports = APIRouter(prefix="/api/exports", tags=["exports"])
_PAGE: Final = 200
_GEOJSON: Final = "application/geo+json"
_CSV: Final = "text/csv"
_COLLECTION: Final[dict[str, object]] = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": {"type": "object"}},
    },
}


class ExportQuery(TicketFilters):
    """Which tickets; all that fit are exported, whatever ``limit`` says."""


def _file(media_type: str, schema: dict[str, object]) -> dict[int | str, dict[str, object]]:
    told = {"description": "the file, streamed", "content": {media_type: {"schema": schema}}}
    return {**responses(HTTPStatus.UNAUTHORIZED), 200: told}


@exports.get("/tickets.csv", response_class=StreamingResponse, responses=_file(_CSV, {"type": "string"}))
def tickets_csv(
    query: Annotated[ExportQuery, Query()], services: CurrentServices, _account: CurrentAccount
) -> StreamingResponse:
    """Tickets as CSV, newest first; cells that a spreadsheet would take for formulas begin with an apostrophe."""
    return _answer(csv_lines(_every(services.tickets, query)), f"{_CSV}; charset=utf-8", "tickets.csv")


@exports.get("/tickets.geojson", response_class=StreamingResponse, responses=_file(_GEOJSON, _COLLECTION))
def tickets_geojson(
    query: Annotated[ExportQuery, Query()], services: CurrentServices, _account: CurrentAccount
) -> StreamingResponse:
    """Tickets as a FeatureCollection of points in WGS-84, newest first."""
    return _answer(geojson_parts(_every(services.tickets, query)), _GEOJSON, "tickets.geojson")


def _every(tickets: TicketService, query: ExportQuery) -> Iterator[TicketSummary]:
    """All that fit, page by page: none is held longer than it takes to send it."""
    filters = TicketFilters.model_validate(query.model_dump() | {"limit": _PAGE})
    # The first page is read before the answer begins, so that what is wrong with a request can still be told.
    page = tickets.list_tickets(filters)
    return chain(page.items, _after(tickets, filters, page.next_cursor))


def _after(tickets: TicketService, filters: TicketFilters, cursor: str | None) -> Iterator[TicketSummary]:
    while cursor is not None:
        page = tickets.list_tickets(filters, cursor)
        yield from page.items
        cursor = page.next_cursor


def _answer(parts: Iterator[str], media_type: str, name: str) -> StreamingResponse:
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(parts, media_type=media_type, headers=headers)
