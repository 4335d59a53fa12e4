"""Water is where the model is sure somewhere, and around that whatever is likely."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.standing import standing

SHAPE = (36, 64)
EVERYWHERE = np.ones(SHAPE, np.bool_)
maps = arrays(np.float32, SHAPE, elements=st.sampled_from([0.0, 0.25, 0.4, 0.7, 0.98]))


def test_what_is_likely_counts_where_it_hangs_together_with_what_is_sure() -> None:
    seen = _blank()
    seen[10:20, 10:30] = 0.5
    seen[12:15, 12:15] = 0.99
    seen[10:20, 40:50] = 0.5
    water = standing(seen, EVERYWHERE, 0.97, 0.3)
    assert water[10:20, 10:30].all()
    assert not water[:, 40:50].any()


def test_a_few_sure_cells_are_no_water() -> None:
    seen = _blank()
    seen[10:20, 10:30] = 0.5
    seen[12, 12:18] = 0.99
    assert not standing(seen, EVERYWHERE, 0.97, 0.3).any()


def test_pieces_that_hang_together_off_the_road_alone_are_two() -> None:
    seen = _blank()
    seen[10:20] = 0.5
    seen[10:20, :10] = 0.99
    ground = EVERYWHERE.copy()
    ground[:, 20:30] = False
    water = standing(seen, ground, 0.97, 0.3)
    assert water[10:20, :20].all()
    assert not water[:, 20:].any()


def test_of_a_road_of_fewer_cells_than_make_water_all_have_to_be_sure() -> None:
    seen, ground = _blank(), np.zeros(SHAPE, np.bool_)
    ground[12, 12:15] = True
    seen[12, 12:14] = 0.99
    seen[12, 14] = 0.5
    assert not standing(seen, ground, 0.97, 0.3).any()
    seen[12, 14] = 0.99
    assert (standing(seen, ground, 0.97, 0.3) == ground).all()


def test_without_an_extent_only_what_is_sure_counts() -> None:
    seen = _blank()
    seen[10:20, 10:30] = 0.5
    seen[12:15, 12:15] = 0.99
    assert standing(seen, EVERYWHERE, 0.97).sum() == 9


@given(maps, maps, st.sampled_from([0.3, 0.6, 0.9]))
def test_surer_thresholds_and_dry_references_never_add_water(
    seen: NDArray[np.float32], usual: NDArray[np.float32], sure: float
) -> None:
    water = standing(seen, EVERYWHERE, sure, 0.3)
    assert not (water & (seen < 0.3)).any()
    assert not (standing(seen, EVERYWHERE, 0.95, 0.3) & ~water).any()
    assert not (standing(seen, EVERYWHERE, sure, 0.3, usual=usual) & ~water).any()


def _blank() -> NDArray[np.float32]:
    return np.zeros(SHAPE, np.float32)
