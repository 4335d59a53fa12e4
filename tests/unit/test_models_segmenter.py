"""What the card of a fine-tuned segmenter says: cells of its maps against masks, by label and with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.accuracy.segmenter import UNKNOWN, Masked, Segmenter, SegmenterReport, measure
from models.describe import SIDE, described
from models.manifest import FireManifest
from models.maps import MapModel
from models.store import Model
from models.train.finds import failures
from tests.fixtures.onnx_files import answering

NAMES = ["fire", "smoke"]
NUMBERS = {"fire": 0, "smoke": 1}
_NOTHING = 2
_STORY = {"base": "yolo26n-sem.pt", "epochs": 3, "seed": 0, "torch": "2.14"}


@pytest.fixture
def segmenter(tmp_path: Path) -> MapModel[Segmenter]:
    """One that sees fire in the left half of whatever it is shown, in four by four cells, and smoke nowhere."""
    maps = np.full((1, 2, 4, 4), 0.1, np.float32)
    maps[0, 0, :, :2] = 0.9
    file = answering(tmp_path / "fire.onnx", [maps], shape=(1, 3, SIDE, SIDE), name="pixels")
    told = described(file, "fire", "fire", NAMES, _STORY) | {"parity": 0.0}
    model: Model[Segmenter] = Model(FireManifest.model_validate(told), file)
    return MapModel(model)


def _shown(columns: Sequence[int], group: str = "a") -> Masked:
    """A picture of ten by ten pixels to a cell, with what each column of cells is labelled as."""
    mask = np.repeat(np.array(columns, np.uint8), 10)[None].repeat(40, axis=0)
    return Masked(np.zeros((40, 40, 3), np.uint8), group, mask)


def _of_fire(report: SegmenterReport) -> tuple[float, float, float]:
    one = report.labels["fire"]
    return one.overlap.value, one.recall.value, one.precision.value


def test_cells_are_counted_over_all_pictures_together(segmenter: MapModel[Segmenter]) -> None:
    half = _shown([_NOTHING, 0, 0, _NOTHING])
    report = measure(segmenter, [half], NUMBERS, rounds=2)
    assert _of_fire(report) == pytest.approx((1 / 3, 1 / 2, 1 / 2))
    report = measure(segmenter, [half, _shown([_NOTHING] * 4)], NUMBERS, rounds=2)
    assert _of_fire(report) == pytest.approx((1 / 5, 1 / 2, 1 / 4))
    assert (report.labels["fire"].pictures, report.labels["fire"].share) == (1, 1 / 4)


def test_a_cell_is_what_most_of_its_pixels_are_and_unknown_ones_do_not_count(
    segmenter: MapModel[Segmenter],
) -> None:
    one = _shown([0, 0, UNKNOWN, 0])
    one.mask[:, 6:10] = _NOTHING
    one.mask[:, 12:20] = UNKNOWN
    assert _of_fire(measure(segmenter, [one], NUMBERS, rounds=2)) == (1 / 2, 1 / 2, 1.0)


def test_a_cell_is_what_most_of_its_labelled_pixels_are_whatever_part_of_it_is_unknown(
    segmenter: MapModel[Segmenter],
) -> None:
    one = _shown([UNKNOWN, 0, _NOTHING, _NOTHING])
    # Forty per cent of the first column is unknown, and of the rest three quarters are fire.
    one.mask[:, :6] = np.resize(np.array([0, 0, 0, _NOTHING], np.uint8), (40, 6))
    assert _of_fire(measure(segmenter, [one], NUMBERS, rounds=2)) == (1.0, 1.0, 1.0)


def test_the_interval_is_of_groups_drawn_again_the_same_each_time(segmenter: MapModel[Segmenter]) -> None:
    good, poor = _shown([0, 0, _NOTHING, _NOTHING]), _shown([_NOTHING, _NOTHING, 0, 0])

    def shown(groups: Sequence[str]) -> list[Masked]:
        return [
            Masked(one.picture, group, one.mask) for one, group in zip([good, poor] * 8, groups, strict=True)
        ]

    single = measure(segmenter, shown([str(n) for n in range(16)]), NUMBERS)
    grouped = measure(segmenter, shown([str(n % 2) for n in range(16)]), NUMBERS)
    fire = single.labels["fire"].recall
    assert 0 < fire.low < fire.value < fire.high < 1
    recall = grouped.labels["fire"].recall
    assert (recall.low, recall.value, recall.high) == (0.0, 0.5, 1.0)
    assert (single.groups, grouped.groups) == (16, 2)
    assert measure(segmenter, shown([str(n) for n in range(16)]), NUMBERS) == single


def test_the_card_says_figures_with_intervals_and_what_is_missed(segmenter: MapModel[Segmenter]) -> None:
    report = measure(
        segmenter,
        [_shown([_NOTHING] * 3 + [0]), _shown([0, _NOTHING, _NOTHING, 0], group="b")],
        NUMBERS,
        rounds=50,
    )
    assert "in 2 pictures of 2 groups" in report.table()
    assert "| fire | 2 | 37.50% | .167 (.000–.333) |" in report.table()
    assert "| smoke" not in report.table()
    assert list(failures(report, NAMES)) == [
        "fire: of its cells 33% are found.",
        "smoke: no picture of `val` shows one, so nothing is known of it.",
        "Of cameras, weather and hours that `val` does not show nothing is known.",
    ]
