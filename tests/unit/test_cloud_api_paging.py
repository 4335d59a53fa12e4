"""Cursors and stream events as text."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.paging import decode_cursor, encode_cursor
from cloud.stream.domain import StreamEvent, reset
from common.runtime.errors import InvalidError


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_leads_back_to_its_row(at: datetime, row_id: uuid.UUID) -> None:
    assert decode_cursor(encode_cursor(at, row_id)) == (at, row_id)


@given(st.text(max_size=60))
def test_any_other_text_is_refused_and_nothing_worse(text: str) -> None:
    with pytest.raises(InvalidError, match="next_cursor"):
        decode_cursor(text)


def test_a_cursor_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidError):
        decode_cursor(encode_cursor(datetime(2026, 1, 1), uuid.UUID(int=1)))  # noqa: DTZ001


def test_an_event_is_encoded_as_a_browser_reads_it() -> None:
    event = StreamEvent(7, "ticket.opened", '{"number": "DT-1"}')
    assert event.encoded() == b'id: 7\nevent: ticket.opened\ndata: {"number": "DT-1"}\n\n'
    assert reset(9).startswith(b"id: 9\nevent: reset\n")
