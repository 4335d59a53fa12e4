"""Other people's detectors are counted as ours are, and none of them ships."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.yardsticks import FIRE, HELMET, drawn, main, probability
from edge.vision.detections import Detections
from models.store import WEIGHTS, list_manifests

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"
HEAD = np.array([10, 10, 30, 30], np.float32)


def _heads(*cast: tuple[float, float, int]) -> Detections:
    """Finds of 20 px across: how far to the right of the head, score, and whether helmetless."""
    boxes = [[10 + right, 10, 30 + right, 30] for right, _, _ in cast]
    score = np.array([score for _, score, _ in cast], np.float32)
    label = np.array([bare for _, _, bare in cast], np.int32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), score, label, ("helmet", "helmetless"))


def test_the_surest_find_of_a_head_is_its_answer_and_none_is_none() -> None:
    assert probability(_heads((2, 0.4, 0), (0, 0.6, 1)), HEAD) == pytest.approx(0.8)
    assert probability(_heads((2, 0.7, 0), (0, 0.6, 1)), HEAD) == pytest.approx(0.15)
    assert probability(_heads((15, 0.9, 1)), HEAD) == 0.5
    assert probability(_heads(), HEAD) == 0.5


def test_boxes_are_drawn_into_every_cell_that_they_touch_the_surest_on_top() -> None:
    boxes = np.array([[0, 0, 9, 11], [8, 0, 800, 10]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.4], np.float32), np.array([0, 0], np.int32), ("fire",))
    cells = drawn(found, (480, 800))
    assert cells.shape == (48, 80)
    assert cells[:2, 0].tolist() == pytest.approx([0.9, 0.9])
    assert cells[0, 1:].tolist() == pytest.approx([0.4] * 79)
    assert not cells[2:].any()


def test_the_yardsticks_stand_on_the_page_and_do_not_ship() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## yardsticks\n")[2].partition("\n## ")[0]
    for one in (HELMET, FIRE):
        assert one.file in section, "run `python -m benchmarks.yardsticks --page`"
        assert one.name not in {manifest.name for manifest in list_manifests()}
        assert not (WEIGHTS / one.file).exists()
    assert section.count("–") >= 20


def test_tiles_stand_beside_the_ways_that_a_box_looks() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## detection\n")[2].partition("\n## ")[0]
    for model in ("cocossd", "yolox_nano"):
        assert f"| {model} | tiles |" in section, "run `python -m benchmarks.detection --page`"


@pytest.mark.parametrize("options", [["--json"], []])
def test_where_the_yardsticks_are_not_at_hand_the_last_line_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    (tmp_path / FIRE.file).touch()
    monkeypatch.setattr(sys, "argv", ["yardsticks", *options, "--models", str(tmp_path)])
    assert main() == 0
    *before, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert (told["name"], told["value"], told["ratio"]) == ("yardsticks", None, None)
    assert told["detail"]["missing"] == [HELMET.file]
    assert len(before) == 1 - len(options)
