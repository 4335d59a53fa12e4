"""Tickets as CSV that no spreadsheet runs, and as GeoJSON."""

from __future__ import annotations

import csv
import io
import json
import uuid
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cloud.exports.domain import BYTE_ORDER_MARK, COLUMNS, csv_lines, geojson_parts, safe
from cloud.tickets.domain import State
from cloud.tickets.schemas import TicketSummary

AT = datetime(2026, 7, 1, 8, tzinfo=UTC)


def ticket(**changed: object) -> TicketSummary:
    values = {
        "ticket_id": uuid.UUID(int=1),
        "number": "DT-20260701-0001",
        "category": "flood.water_level",
        "category_zh": "路面积水水位",
        "category_en": "Water level",
        "channel": "sensor",
        "severity": 3,
        "state": State.DISPATCHED,
        "version": 3,
        "level": 0,
        "unit_code": "water",
        "unit_zh": "水务局",
        "unit_en": "Water, drains & pumps",
        "unassigned": False,
        "grid_code": None,
        "lon": -119.3,
        "lat": 26.08,
        "opened_at": AT,
        "dispatched_at": AT,
        "claimed_at": None,
        "closed_at": None,
        "closed_by": None,
        "blind_at": None,
        "overridden": False,
        "reopenings": 0,
        "next_clock": "ack",
        "next_due_at": AT,
        "clocks_missed": 0,
        "incidents": 1,
    }
    return TicketSummary.model_validate(values | changed)


def read(text: str) -> list[dict[str, str]]:
    assert text.startswith(BYTE_ORDER_MARK)
    return list(csv.DictReader(io.StringIO(text.removeprefix(BYTE_ORDER_MARK))))


def test_a_line_holds_what_the_list_says_and_numbers_stay_numbers() -> None:
    (line,) = read("".join(csv_lines([ticket()])))
    assert tuple(line) == COLUMNS
    assert (line["lon"], line["unit_en"], line["unassigned"]) == ("-119.3", "Water, drains & pumps", "false")
    assert (line["opened_at"], line["closed_at"]) == ("2026-07-01T08:00:00+00:00", "")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r", " =cmd|' /C calc'!A0", "＝1", "＠x", "\n=1"]
)
def test_what_begins_like_a_formula_is_text(text: str) -> None:
    assert safe(text) == f"'{text}"
    (line,) = read("".join(csv_lines([ticket(unit_en=text)])))
    assert line["unit_en"].startswith("'")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20))
def test_every_other_text_comes_back_as_it_was(text: str) -> None:
    (line,) = read("".join(csv_lines([ticket(unit_zh=text)])))
    assert line["unit_zh"] == safe(text)
    assert line["number"] == "DT-20260701-0001"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_pieces_are_one_collection(count: int) -> None:
    told = json.loads("".join(geojson_parts(ticket(severity=n + 1) for n in range(count))))
    assert told["type"] == "FeatureCollection"
    assert [one["properties"]["severity"] for one in told["features"]] == list(range(1, count + 1))
    for one in told["features"]:
        assert one["geometry"] == {"type": "Point", "coordinates": [-119.3, 26.08]}
        assert one["id"] == str(uuid.UUID(int=1))
