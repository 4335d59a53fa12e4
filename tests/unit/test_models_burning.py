"""What looks in a row say together, cell by cell; the scene that goes by it has tests of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.burning import Agreement, Rule, widened

ROWS, COLUMNS = 24, 40


def test_a_flame_that_fills_the_picture_has_nothing_to_outshine() -> None:
    agreement = Agreement(Rule().of_flames(), np.ones((4, 4), np.bool_))
    everywhere = np.ones((4, 4), np.bool_)
    looks = [agreement.look(everywhere, np.full((4, 4), 100 + 5 * (n % 2), np.float32)) for n in range(4)]
    assert looks[-1].alive


def test_fog_that_fills_the_picture_is_not_taken_off_from_itself() -> None:
    agreement = Agreement(Rule(), np.ones((4, 4), np.bool_))
    everywhere = np.ones((4, 4), np.bool_)
    stirs = [
        agreement.look(everywhere, np.full((4, 4), 100 + 5 * (n % 2), np.float32)).stir for n in range(3)
    ]
    assert stirs[-1] == pytest.approx(5)


@given(st.integers(0, 4), st.integers(0, ROWS - 1), st.integers(0, COLUMNS - 1))
def test_a_cell_is_widened_to_all_within_reach_and_no_further(reach: int, row: int, column: int) -> None:
    mask = np.zeros((ROWS, COLUMNS), np.bool_)
    mask[row, column] = True
    rows, columns = np.nonzero(widened(mask, reach))
    assert abs(rows - row).max() <= reach
    assert abs(columns - column).max() <= reach
    assert len(rows) == len(set(rows)) * len(set(columns))
