"""Painted flames and smoke: inside the picture, as dense as is said, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.data.flames import Scene
from models.data.plumes import flames_of, lit, smoked
from models.data.water import after_dark

seeds = st.integers(0, 10_000)


def _street() -> NDArray[np.uint8]:
    picture = np.random.default_rng(3).integers(60, 160, (192, 320, 3), np.uint8)
    picture[:60] = (200, 170, 140)
    return picture


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_smoke_veils_where_it_is_said_to_be_and_nowhere_else(seed: int) -> None:
    street = _street()
    seen, density = smoked(street, np.random.default_rng(seed))
    assert seen.shape == street.shape
    assert seen.dtype == np.uint8
    assert 0 <= density.min() <= density.max() <= 1
    untouched = density == 0
    assert (np.abs(seen[untouched].astype(int) - street[untouched]) <= 1).all()


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_a_flame_brightens_the_red_of_a_dark_street(seed: int) -> None:
    street = np.full((192, 320, 3), 30, np.uint8)
    seen, burns = lit(street, [], np.random.default_rng(seed))
    assert 0 <= burns.min() <= burns.max() <= 1
    hot = burns > 0.9
    if hot.any():
        assert seen[..., 2][hot].mean() > 60
        assert seen[..., 2][hot].mean() > seen[..., 0][hot].mean()


def test_the_same_seed_paints_the_same() -> None:
    once, again = (lit(_street(), [], np.random.default_rng(5)) for _ in range(2))
    assert (once[0] == again[0]).all()
    assert (once[1] == again[1]).all()


def test_a_box_without_anything_bright_gives_no_flame_to_paint_with() -> None:
    assert flames_of(np.full((192, 320, 3), 40, np.uint8), (0.2, 0.2, 0.6, 0.8)) is None
    bright = np.full((192, 320, 3), 250, np.uint8)
    part = flames_of(bright, (0.2, 0.2, 0.6, 0.8))
    assert part is not None
    assert part.shape == (115, 128, 3)
    assert flames_of(bright, (0.2, 0.2, 0.22, 0.22)) is None


def test_any_place_can_be_seen_after_dark() -> None:
    street = np.full((192, 320, 3), 150, np.uint8)
    nights = [after_dark(street, np.random.default_rng(seed)) for seed in range(8)]
    assert all(night.shape == street.shape for night in nights)
    assert np.mean([night.mean() for night in nights]) < 120


def test_a_frame_shows_what_is_drawn_in_it() -> None:
    scene = Scene(Path("a.jpg"), "a", ((1, 0.1, 0.1, 0.2, 0.2),))
    assert scene.shows(1)
    assert not scene.shows(0)
