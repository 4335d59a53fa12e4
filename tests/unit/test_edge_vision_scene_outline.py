"""What a scene watches: which points lie within, and which cells of a map are its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.scenes.scene import Outline


def test_a_point_lies_in_a_polygon_or_not() -> None:
    arrow = Outline(((0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.0, 1.0)))
    assert arrow.holds(0.2, 0.5)
    assert arrow.holds(0.7, 0.1)
    assert not arrow.holds(0.8, 0.5)
    assert not arrow.holds(-0.1, 0.5)


@given(st.floats(0, 0.999), st.floats(0, 0.999))
def test_halves_of_a_picture_share_no_point_and_miss_none(x: float, y: float) -> None:
    left = Outline(((0.0, 0.0), (0.4, 0.0), (0.6, 1.0), (0.0, 1.0)))
    right = Outline(((0.4, 0.0), (1.0, 0.0), (1.0, 1.0), (0.6, 1.0)))
    assert left.holds(x, y) != right.holds(x, y)


@pytest.mark.parametrize(
    ("corners", "cells"),
    [
        pytest.param(((0.3, 0.3), (0.4, 0.3), (0.4, 0.4)), [(1, 1)], id="within a cell"),
        pytest.param(
            ((0.45, 0.3), (0.55, 0.3), (0.55, 0.35), (0.45, 0.35)), [(1, 1), (1, 2)], id="across a side"
        ),
        pytest.param(
            ((0.0, 0.97), (1.0, 0.97), (1.0, 1.0), (0.0, 1.0)),
            [(3, 0), (3, 1), (3, 2), (3, 3)],
            id="along the picture's edge",
        ),
        pytest.param(
            ((0.6, 0.6), (0.65, 0.6), (0.65, 1.0), (0.6, 1.0)), [(2, 2), (3, 2)], id="holds a middle"
        ),
    ],
)
def test_an_area_too_small_for_the_middle_of_a_cell_has_the_cells_that_it_touches(
    corners: tuple[tuple[float, float], ...], cells: list[tuple[int, int]]
) -> None:
    found = Outline(corners).cells(4, 4)
    assert [(int(row), int(column)) for row, column in np.argwhere(found)] == cells


share = st.floats(0, 1)


@given(st.lists(st.tuples(share, share), min_size=3, max_size=6), st.integers(1, 9), st.integers(1, 9))
def test_no_area_within_the_picture_is_watched_nowhere(
    corners: list[tuple[float, float]], rows: int, columns: int
) -> None:
    assert Outline(corners).cells(rows, columns).any()
