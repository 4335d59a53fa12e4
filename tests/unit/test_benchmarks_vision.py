"""The vision benchmark beside others': what it brings, what it says where they are not here, and what it calls missed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import vision_predict
from benchmarks.vision import LIMIT, Played, Turn, missed
from benchmarks.vision_predict import Predict, brought, interpreter
from common.runtime.errors import InvalidError
from edge.vision.detector import OnnxDetector
from edge.vision.pipeline import VisionCounters
from models.store import open_model
from tests.fixtures.onnx_files import answering

NAMES = {"names": "{0: 'person', 1: 'hand cart'}"}
GREY = np.full((48, 64, 3), 90, np.uint8)

#: Stands in for the process with ultralytics: seven pictures, a find in each.
_PLAYER = """
import json, sys
print(json.dumps({"version": "0", "torch": "0"}), flush=True)
left = 7
for line in sys.stdin:
    played = min(int(line), left)
    left -= played
    print(json.dumps({"seconds": 0.5 * played, "played": played, "found": played}), flush=True)
"""


def _grid(scores: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    grid = np.zeros((1, 6, 84), np.float32)
    for place, score in enumerate(scores):
        grid[0, :, place] = (6 + 4 * (place % 14), 6 + 6 * (place // 14), 2, 2, score, 0)
    return grid


@pytest.mark.parametrize(
    ("answer", "head"), [(_grid([0.9, 0.8]), "yolo"), (np.zeros((1, 300, 6)), "end_to_end")]
)
def test_what_ultralytics_exported_opens_by_what_the_file_says_of_itself(
    tmp_path: Path, answer: np.ndarray[tuple[int, ...], np.dtype[np.float32]], head: str
) -> None:
    file = answering(tmp_path / "yolo.onnx", [answer], shape=(1, 3, 64, 64), metadata=NAMES)
    model = brought(file)
    assert model.manifest.head == head
    assert model.manifest.names == ("person", "hand_cart")
    assert OnnxDetector(model, labels=("person",), threads=1).manifest.input.name == "images"


def test_drawn_weights_are_asked_for_what_twenty_places_reach_and_trained_ones_for_what_is_usual(
    tmp_path: Path,
) -> None:
    drawn = answering(
        tmp_path / "drawn.onnx",
        [_grid([0.001 * (n + 1) for n in range(40)])],
        shape=(1, 3, 64, 64),
        metadata=NAMES,
    )
    assert brought(drawn, GREY).manifest.thresholds.score == pytest.approx(0.021)
    assert brought(drawn).manifest.thresholds.score == 0.25


def test_a_file_of_any_size_is_refused(tmp_path: Path) -> None:
    file = answering(tmp_path / "any.onnx", [_grid([])], shape=(1, 3, 0, 0), metadata=NAMES)
    with pytest.raises(InvalidError, match="of one size"):
        brought(file)


def test_the_other_player_plays_when_asked_until_there_are_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "player.py"
    script.write_text(_PLAYER, encoding="utf-8")
    monkeypatch.setattr(vision_predict, "_SCRIPT", script)
    python = interpreter(None) or Path(sys.executable)
    with Predict(python, open_model("cocossd"), Path("street.avi"), 2) as predict:
        assert predict.turn(5) == pytest.approx(0.5)
        assert predict.turn(5) is None
        assert predict.found == 7
        assert predict.version == "ultralytics 0, torch 0"


def test_a_player_that_dies_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "player.py"
    script.write_text("raise SystemExit(7)", encoding="utf-8")
    monkeypatch.setattr(vision_predict, "_SCRIPT", script)
    with pytest.raises(SystemExit, match="exit code 7"):
        Predict(Path(sys.executable), open_model("cocossd"), Path("street.avi"), 2)


def test_the_interpreter_that_is_named_goes_before_the_one_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, other = tmp_path / "named", tmp_path / "other"
    for python in (named, other):
        python.touch()
    monkeypatch.setenv("DRUMTOWER_ULTRALYTICS", str(other))
    assert interpreter(named) == named
    assert interpreter(None) == other
    assert interpreter(tmp_path / "nowhere") == other


def test_figures_are_medians_over_turns_each_against_its_neighbour() -> None:
    turns = [Turn(0.02, 0.03, 0.04, 0.05), Turn(0.04, 0.06, 0.08, 0.10), Turn(0.2, 0.1, 0.3, 0.1)]
    told = Played(turns, VisionCounters(frames=75)).told(open_model("cocossd"))
    assert told["ratio"] == 1.5
    assert told["path_per_s"] == 25.0
    assert told["one_by_one_ratio"] == 0.75
    assert told["ahead_of_predict"] == 2.5
    alone = Played([Turn(0.02, 0.03, 0.04)], VisionCounters()).told(open_model("cocossd"))
    assert "ahead_of_predict" not in alone


def test_each_model_and_the_others_path_have_to_be_met_and_nothing_unmeasured_counts() -> None:
    good, slow = {"ratio": LIMIT}, {"ratio": LIMIT - 0.01}
    assert missed({"a": good}, "not measured here: …") == []
    assert missed({"a": good, "b": slow}, "not measured here: …") == ["b: ratio 0.89 < 0.9"]
    beside = {"model": "c", "ratio": 1.0, "ahead_of_predict": 1.0}
    assert missed({"a": good}, beside) == ["c: 1.0 of YOLO.predict"]
    assert missed({"a": good}, beside | {"ahead_of_predict": 1.01}) == []
