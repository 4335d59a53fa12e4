"""What fine-tuning begins from is found, or said to be missing, before anything heavy is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from common.runtime.errors import InvalidError
from models.train.begin import BASES, STORY, base_of, dataset_of, story_of, trained_in

REPOSITORY = Path(__file__).parents[2]


def test_a_folder_without_a_description_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"expected data\.yaml") as caught:
        dataset_of(tmp_path)
    assert caught.value.code == "dataset.missing"
    (tmp_path / "data.yaml").touch()
    assert dataset_of(tmp_path) == (tmp_path / "data.yaml").resolve()


def test_weights_of_ones_own_come_before_an_architecture_of_ones_own(tmp_path: Path) -> None:
    assert base_of(tmp_path) is None
    (tmp_path / "base.yaml").touch()
    assert base_of(tmp_path) == tmp_path / "base.yaml"
    (tmp_path / "base.pt").touch()
    assert base_of(tmp_path) == tmp_path / "base.pt"


def test_a_training_that_did_not_come_to_its_end_left_no_story(tmp_path: Path) -> None:
    assert trained_in(tmp_path) is None
    (tmp_path / STORY).write_text('{"epochs": 3}\n', encoding="utf-8")
    assert trained_in(tmp_path) == {"epochs": 3}


@pytest.mark.parametrize(
    ("left", "found"),
    [
        ('{"model": "fire", "steps": 3, "seed": 1, "torch": "2.13"}', "found no learnt"),
        (None, "found no steps, seed, learnt, torch"),
        ('{"steps"', "found Expecting"),
        ("3", "found 'int'"),
    ],
)
def test_a_training_of_an_earlier_release_is_named_and_to_be_done_again(
    tmp_path: Path, left: str | None, found: str
) -> None:
    if left is not None:
        (tmp_path / STORY).write_text(left, encoding="utf-8")
    with pytest.raises(InvalidError, match=found) as caught:
        story_of(tmp_path, "fire")
    assert caught.value.code == "training.story"
    assert "drumtower models train fire" in caught.value.hint


def test_a_training_that_told_everything_is_taken(tmp_path: Path) -> None:
    told = {"model": "fire", "steps": 3, "seed": 1, "learnt": "streets", "torch": "2.13"}
    (tmp_path / STORY).write_text(json.dumps(told), encoding="utf-8")
    assert story_of(tmp_path, "fire") == told


def test_every_kind_has_something_to_begin_from_and_none_of_it_needs_torch() -> None:
    assert set(BASES) == {"detector", "segmenter"}
    block = "import sys; sys.modules['torch'] = None; import models.train.begin, models.train.augment, models.train.headwear"
    subprocess.run([sys.executable, "-c", block], cwd=REPOSITORY, check=True)
