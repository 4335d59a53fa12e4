"""What the tracker is measured against, as it was written down when it was last measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tracker as benchmark
from benchmarks import tracker_package as package
from benchmarks.tracker_plays import DROPPED, ONE_DRAW, SCORED, TUNED, plays

MODELS = ("cocossd", "yolox_nano")
WAYS = ["defaults", "tuned", "tuned here"]


def test_no_frame_that_is_scored_was_tuned_on() -> None:
    assert not set(TUNED) & set(SCORED)
    for frames in (TUNED, SCORED):
        shown = {n for group in plays(frames).values() for play in group for n in play.numbers}
        assert shown == set(frames)


def test_the_first_draw_by_itself_is_one_of_those_the_mean_is_over() -> None:
    by_name = plays(SCORED)
    assert by_name[ONE_DRAW] == by_name[DROPPED][:1]
    assert len({play.frames for play in by_name[DROPPED]}) == 12


@pytest.mark.parametrize("tracker", package.GRID)
def test_the_defaults_of_a_tracker_are_among_what_is_tried(tracker: str) -> None:
    tried = package.settings_in(tracker)
    assert tried[0] == {}
    assert all(set(one) == set(package.GRID[tracker]) for one in tried[1:])
    assert len({tuple(sorted(one.items())) for one in tried}) == len(tried)


@pytest.mark.parametrize("model", MODELS)
def test_every_tracker_is_told_in_every_play_untuned_and_tuned(model: str) -> None:
    kept = package.read_kept()
    rows = kept[model]["plays"]
    assert list(rows) == list(plays(SCORED))
    for by_tracker in rows.values():
        assert list(by_tracker) == list(package.GRID)
        for by_way in by_tracker.values():
            assert list(by_way) == WAYS
            assert all({"mota", "idf1", "switches", "ms"} <= set(told) for told in by_way.values())


def test_what_was_chosen_was_among_what_was_tried() -> None:
    for tracker, chosen in package.read_kept()["settings"].items():
        tried = package.settings_in(tracker)
        assert chosen["tuned"] in tried
        assert all(one in tried for by_play in chosen["tuned here"].values() for one in by_play.values())


def test_the_best_of_a_play_may_be_two_trackers_each_by_its_own_measure() -> None:
    quick = {"mota": 0.7, "idf1": 0.5, "switches": 3, "ms": 0.1}
    steady = {"mota": 0.6, "idf1": 0.8, "switches": 1, "ms": 0.2}
    assert package.best(
        {"Quick": {"defaults": quick}, "Steady": {"defaults": quick | {"mota": 0.1}, "tuned": steady}}
    ) == {
        "best_mota": 0.7,
        "best_mota_by": "Quick, defaults",
        "best_idf1": 0.8,
        "best_idf1_by": "Steady, tuned",
    }


Run = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command with what it measured given: its exit code and its line."""
    truth = tmp_path / "data" / "video" / "vtest-gt" / "gt.txt"
    truth.parent.mkdir(parents=True)
    truth.write_text("1,1,10,10,20,50,1,-1,-1,-1\n", encoding="utf-8")
    monkeypatch.setattr(benchmark, "SHARED", tmp_path)
    monkeypatch.setattr(benchmark, "find_footage", lambda _: tmp_path)
    monkeypatch.setattr(benchmark, "detect", lambda *_: ({}, {}))
    monkeypatch.setattr(sys, "argv", ["tracker", "--json"])

    def ran(told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(benchmark, "measure", lambda *_, **__: {"told": told, "kept": {}})
        code = benchmark.main()
        return code, json.loads(capsys.readouterr().out)

    return ran


def _told() -> dict[str, Any]:
    """What a measurement gave in which ours leads in every play."""
    good = {"mota": 0.9, "best_mota": 0.8, "idf1": 0.9, "best_idf1": 0.8, "switches": 1, "ms": 0.5}
    return {model: {"plays": {name: dict(good) for name in plays(SCORED)}} for model in MODELS}


@pytest.mark.parametrize(
    ("play", "worse"),
    [(play, worse) for play in plays(SCORED) for worse in ({"mota": 0.7}, {"idf1": 0.7}, {"ms": 1.1})],
)
def test_whatever_is_missed_in_any_play_is_listed_and_fails(
    run: Run, play: str, worse: dict[str, float]
) -> None:
    told = _told()
    told["yolox_nano"]["plays"][play] |= worse
    code, line = run(told)
    assert code == 1
    (short,) = line["detail"]["missed"]
    assert short.startswith(f"yolox_nano, {play}: ")


def test_nothing_missed_passes(run: Run) -> None:
    code, line = run(_told())
    assert (code, line["detail"]["missed"]) == (0, [])


def test_tuning_without_the_second_detector_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    truth = tmp_path / "data" / "video" / "vtest-gt" / "gt.txt"
    installed = tmp_path / "yardstick" / "bin" / "python"
    for file in (truth, installed):
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setattr(benchmark, "SHARED", tmp_path)
    monkeypatch.setenv("DRUMTOWER_YARDSTICK", str(tmp_path / "yardstick"))
    monkeypatch.setattr(sys, "argv", ["tracker", "--tune", "--keep"])
    with pytest.raises(SystemExit, match=r"expected YOLOX-nano at .*yolox_nano\.onnx to tune with both"):
        benchmark.main()
