"""A batch as the bytes of one binary COPY, and clocks that are held."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.rows import Flag, ReadingRows, copy_bytes, hold_clock, hold_instant, order_of_groups

HOUR = 3_600_000
EPOCH_2000 = 946_684_800_000


def test_each_field_stands_where_postgresql_expects_it() -> None:
    rows = ReadingRows(
        captured_at=np.array([EPOCH_2000 + 5, EPOCH_2000 + 6]),
        received_at=np.array([EPOCH_2000 + 7, EPOCH_2000 + 8]),
        value=np.array([1.5, -2.5]),
        series_id=np.array([42, 43]),
        flags=np.array([0, Flag.CLOCK | Flag.IMPLAUSIBLE]),
        claimed_at=np.array([0, EPOCH_2000 + 99]),
    )
    plain = struct.pack(">hiqiqidiiihi", 6, 8, 5000, 8, 7000, 8, 1.5, 4, 42, 2, 0, -1)
    claimed = struct.pack(">hiqiqidiiihiq", 6, 8, 6000, 8, 8000, 8, -2.5, 4, 43, 2, 3, 8, 99_000)
    assert copy_bytes(rows) == b"PGCOPY\n\xff\r\n\0" + bytes(8) + plain + claimed + b"\xff\xff"


def test_a_clock_within_its_bounds_is_believed() -> None:
    received = np.array([100 * HOUR] * 3)
    claimed = np.array([52 * HOUR, 100 * HOUR, 124 * HOUR])
    held, wild = hold_clock(claimed, received, future_ms=24 * HOUR, past_ms=48 * HOUR)
    assert wild is None
    assert held is claimed


def test_a_clock_beyond_them_is_set_to_the_time_of_receipt() -> None:
    received = np.array([100 * HOUR] * 3)
    claimed = np.array([52 * HOUR - 1, 100 * HOUR, 124 * HOUR + 1])
    held, wild = hold_clock(claimed, received, future_ms=24 * HOUR, past_ms=48 * HOUR)
    assert held.tolist() == [100 * HOUR] * 3
    assert wild is not None
    assert wild.tolist() == [True, False, True]
    assert [
        hold_instant(at, 100 * HOUR, future_ms=24 * HOUR, past_ms=48 * HOUR) for at in claimed.tolist()
    ] == held.tolist()


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=12))
def test_rows_are_put_in_the_order_of_their_groups_keys(groups: list[tuple[int, int]]) -> None:
    offset = np.cumsum([0, *(length for length, _ in groups)])
    key = np.array([key for _, key in groups])
    rows = [(key, group, row) for group, (length, key) in enumerate(groups) for row in range(length)]
    order = order_of_groups(offset, key)
    assert [rows[place] for place in order] == sorted(rows)
