"""Composed water: where it may stand, what must not count, and that no background is on both sides of the split."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.runtime.errors import InvalidError
from models.accuracy import water
from models.accuracy.water_shown import Shown
from models.data.water import Weather, composed, water_area
from models.data.water_split import drivable, names_of, roads_of
from models.data.water_views import HEIGHT, STRIDE, WIDTH, by_another_camera, cells, seen_elsewhere

weathers = st.builds(Weather, *(st.booleans() for _ in range(8)))


def _street() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Houses above, grey road below, a car on it."""
    picture = np.random.default_rng(3).integers(60, 160, (240, 400, 3), np.uint8)
    picture[:90] = (200, 170, 140)
    road = np.zeros((240, 400), np.bool_)
    road[110:] = True
    road[140:200, 150:230] = False
    return picture, road


@settings(max_examples=30, deadline=None)
@given(weathers, st.integers(0, 1000))
def test_water_stands_on_the_road_alone_and_only_where_it_is_asked_for(weather: Weather, seed: int) -> None:
    picture, road = seen_elsewhere(*_street(), np.random.default_rng(seed))
    seen, where = composed(picture, road, np.random.default_rng(seed), weather)
    assert seen.shape == (HEIGHT, WIDTH, 3)
    assert seen.dtype == np.uint8
    assert not (where & ~road).any()
    assert weather.flood or not where.any()


def test_the_same_seed_gives_the_same_picture() -> None:
    picture, road = seen_elsewhere(*_street(), np.random.default_rng(0))
    weather = Weather(night=True, wet=True, rain=True, shade=True, patches=True, flood=True)
    once, again = (composed(picture, road, np.random.default_rng(9), weather) for _ in range(2))
    assert (once[0] == again[0]).all()
    assert (once[1] == again[1]).all()


def test_nights_are_darker_than_days() -> None:
    picture, road = seen_elsewhere(*_street(), np.random.default_rng(0))
    nights = [
        composed(picture, road, np.random.default_rng(n), Weather(night=True))[0].mean() for n in range(10)
    ]
    assert max(nights) < picture.mean()


def test_a_road_too_small_for_water_stays_dry() -> None:
    assert not water_area(np.zeros((HEIGHT, WIDTH), np.bool_), np.random.default_rng(0)).any()


def test_cells_hold_the_share_that_is_covered() -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:STRIDE, : STRIDE // 2] = True
    assert cells(mask).shape == (HEIGHT // STRIDE, WIDTH // STRIDE)
    assert cells(mask)[0, 0] == pytest.approx(0.5)
    assert cells(mask).sum() == pytest.approx(0.5)


def test_another_camera_keeps_the_size() -> None:
    rng = np.random.default_rng(4)
    picture, _ = seen_elsewhere(*_street(), rng)
    assert all(by_another_camera(picture, rng).shape == picture.shape for _ in range(20))


# --- counting ---


def _answered(
    shares: list[float], kind: str, truth: float = 0.0, usual: float | None = None
) -> water.Answered:
    """Pictures on whose ground so much is called water, of which ``truth`` is; ``usual`` as much when it is dry."""
    shape = (HEIGHT // STRIDE, WIDTH // STRIDE)
    shown, maps = [], []
    picture = np.zeros((2, 2, 3), np.uint8)
    dry = () if usual is None else (picture,)
    for number, share in enumerate(shares):
        probability, meant = (np.zeros(shape[0] * shape[1], np.float32) for _ in range(2))
        probability[: round(share * probability.size)] = 0.8
        meant[: round(truth * meant.size)] = 1.0
        ground = np.ones(shape, np.bool_)
        shown.append(Shown(picture, meant.reshape(shape), ground, str(number), kind, dry))
        maps.append(probability.reshape(shape))
    return water.Answered(shown, np.stack(maps), np.full((len(maps), *shape), usual or 0.0, np.float32))


def test_the_overlap_is_of_all_water_together() -> None:
    answered = _answered([0.5, 0.25], "flood by day", truth=0.5)
    assert answered.overlap(0.5, rounds=20).value == pytest.approx(0.75, abs=0.01)
    assert answered.overlap(0.9, rounds=20).value == 0.0


def test_what_is_called_off_the_road_is_nobodys_business() -> None:
    answered = _answered([1.0], "flood by day", truth=0.5)
    half = np.zeros((HEIGHT // STRIDE, WIDTH // STRIDE), np.bool_)
    half[: HEIGHT // STRIDE // 2] = True
    shown = [replace(one, ground=half) for one in answered.shown]
    cut = water.Answered(shown, answered.probability, answered.usual)
    assert cut.overlap(0.5, rounds=5).value == 1.0


def test_an_alarm_is_a_share_of_the_ground_in_one_look() -> None:
    dry = _answered([0.0, 0.06, 0.1], "night")
    day, night = (_answered([0.5], f"flood by {name}", truth=0.5) for name in ("day", "night"))
    floods = water.Answered(
        day.shown + night.shown,
        np.concatenate((day.probability, night.probability)),
        np.concatenate((day.usual, night.usual)),
    )
    counted = water.count(floods, dry, 0.5, known=False, rounds=5)
    assert counted.dry["night"][:2] == (3, 1)
    assert counted.alarms == 1
    assert counted.reported == 1.0


def test_the_threshold_is_the_least_that_keeps_all_dry() -> None:
    dry = _answered([0.0, 0.06, 0.1], "night")
    assert water.choose_threshold(dry) == 0.81
    assert water.choose_threshold(_answered([0.01], "day")) == 0.3


def test_a_camera_that_was_shown_what_shines_needs_no_higher_threshold() -> None:
    dry = _answered([0.1], "night", usual=0.7)
    assert water.choose_threshold(dry) == 0.81
    assert water.choose_threshold(dry, known=True) == 0.3


def test_small_pieces_of_road_and_gaps_between_legs_are_no_drivable_area() -> None:
    road = np.zeros((240, 400), np.bool_)
    road[120:] = True
    road[:100, 10:16] = True
    road[20:40, 200:230] = True
    tidy = drivable(road)
    assert tidy[130:, 10:390].all()
    assert not tidy[:110].any()


# --- the split ---


@pytest.mark.shared_data
def test_no_background_is_learnt_from_and_judged_on(shared_data: Path) -> None:
    riders = shared_data / "data" / "helmet-riders"
    learnt, judged = (dict(names_of(riders, judged=side)) for side in (False, True))
    with (riders / "manifest.csv").open(newline="", encoding="utf-8") as file:
        names = {row["file"] for row in csv.DictReader(file)}
    assert set(learnt) | set(judged) == names
    assert not set(learnt) & set(judged)
    assert not set(learnt.values()) & set(judged.values())
    assert {"camera-island", "camera-columns", "camera-pillar"} <= set(judged.values())


def test_a_folder_without_the_road_segmenter_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="road segmenter"):
        roads_of(tmp_path, tmp_path / "none.onnx", judged=True)
