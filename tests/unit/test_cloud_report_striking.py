"""What can be recognised as a person's number or address is struck out of what anybody may read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.reports.striking import STRUCK, struck


@pytest.mark.parametrize(
    "told",
    [
        "13800000000",
        "138 0000 0000",
        "+86 138-0000-0000",
        "１３８００００００００",
        "0591-87654321",
        "0591) 8765 4321",
        "35010219900101123X",
        "6222 0212 3456 7890 123",
        "一三八零零零零零零零零",
        "chen.wei+1@mail.example.cn",
        "闽A12345",
        "闽AD·12345".replace("·", ""),
        "沪 A12345".replace(" ", ""),
    ],
)
def test_numbers_addresses_and_plates_are_struck_out(told: str) -> None:
    assert struck(f"water here, {told} 陈女士") == f"water here, {STRUCK} 陈女士"


@pytest.mark.parametrize(
    "told",
    ["knee-deep at 12:30 on 2026-06-01", "No. 128, 2nd floor", "3 m × 40 m, 0.35 m deep", "a < b & 积水"],
)
def test_dates_house_numbers_and_measures_stay(told: str) -> None:
    assert struck(told) == told


@given(st.text(max_size=80), st.integers(10**6, 10**18))
def test_no_text_around_a_number_keeps_it(text: str, number: int) -> None:
    assert str(number) not in struck(f"{text}\n{number}\n{text}".replace(str(number), f" {number} "))
