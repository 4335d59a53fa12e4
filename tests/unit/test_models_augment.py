"""What training does to pictures so that foreign streets are not foreign: the same for the same seed, and seen."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.train import augment, headwear

Picture = NDArray[np.uint8]
HEAD = (34.0, 24.0, 62.0, 60.0)
SIZE = (96, 96)

STREETS: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "another camera": augment.other_camera,
    "other colours": augment.recoloured,
    "night": augment.at_night,
    "distance": augment.from_afar,
    "blur": augment.moving,
    "grain": augment.noisy,
    "compression": augment.compressed,
    "an umbrella's edge": headwear.half_hidden,
    "other hues": headwear.other_colours,
}
ON_HEADS: dict[str, Callable[[Picture, headwear.Box, np.random.Generator], Picture]] = {
    "cap, hood or scarf": headwear.dressed,
    "other hair": headwear.other_hair,
    "other skin": headwear.other_skin,
}


def _street() -> Picture:
    """Detail and colour everywhere, a dark head with a bright face in the middle."""
    noise = np.random.default_rng(3).integers(60, 200, (12, 12, 3), dtype=np.uint8)
    picture = np.asarray(cv2.resize(noise, SIZE, interpolation=cv2.INTER_NEAREST), np.uint8)
    cv2.ellipse(picture, (48, 42), (14, 18), 0, 0, 360, (35, 40, 45), -1)
    cv2.ellipse(picture, (48, 48), (8, 9), 0, 0, 360, (120, 150, 200), -1)
    return picture


def _detail(picture: Picture) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var())


@pytest.mark.parametrize("name", sorted(STREETS))
def test_the_same_seed_gives_the_same_picture_of_the_same_size_and_leaves_the_given_one(name: str) -> None:
    given = _street()
    changed = 0
    for seed in range(20):
        one, other = (STREETS[name](given, np.random.default_rng(seed)) for _ in range(2))
        assert one.shape == given.shape
        assert one.dtype == np.uint8
        assert np.array_equal(one, other)
        changed += not np.array_equal(one, given)
    assert np.array_equal(given, _street())
    assert changed >= 15


@pytest.mark.parametrize("name", sorted(ON_HEADS))
def test_what_is_worn_is_painted_on_the_head_and_not_on_the_street(name: str) -> None:
    given = _street()
    for seed in range(20):
        one, other = (ON_HEADS[name](given, HEAD, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(one, other)
        change = np.abs(one.astype(int) - given).mean(axis=2)
        assert change[24:60, 34:62].mean() > 1
        assert change[:10].mean() < 0.5
        assert change[24:60, 34:62].mean() > 3 * change[:60, :20].mean()


def test_nights_lose_light_or_gain_grain() -> None:
    given = _street()
    nights = [augment.at_night(given, np.random.default_rng(seed)) for seed in range(20)]
    assert np.mean([night.mean() for night in nights]) < 0.75 * given.mean()


@pytest.mark.parametrize("name", ["blur", "distance"])
def test_what_moves_and_what_is_far_away_loses_detail(name: str) -> None:
    given = _street()
    detail = [_detail(STREETS[name](given, np.random.default_rng(seed))) for seed in range(20)]
    assert np.median(detail) < 0.6 * _detail(given)


def test_compression_shows_by_blocks_of_eight() -> None:
    given = np.asarray(cv2.GaussianBlur(_street(), (0, 0), 5), np.uint8)
    steps: NDArray[np.float64] = np.zeros(8)
    for seed in range(20):
        shown = augment.compressed(given, np.random.default_rng(seed)).astype(float)
        across = np.abs(np.diff(shown, axis=1)).mean(axis=(0, 2))
        steps += [across[edge::8].mean() for edge in range(8)]
    assert steps.argmax() == 7


def test_another_head_stands_beside_and_not_over_the_one_in_the_middle() -> None:
    given, other = _street(), np.full((*SIZE, 3), 255, np.uint8)
    for seed in range(20):
        both = headwear.accompanied(given, other, np.random.default_rng(seed))
        change = np.abs(both.astype(int) - given).mean(axis=2)
        assert change.max() > 20
        assert change[44:52, 44:52].mean() < 2
