"""The PyPI package ``trackers`` beside ours: run in an environment of its own, tuned, scored and written down.

Every tracker of it that runs online without looking at the picture is told in three ways: ``defaults``, its own
settings; ``tuned``, the settings out of ``GRID`` with the best mean of MOTA + IDF1 on frames 0-397 over all plays and both
detectors, as ours was tuned; ``tuned here``, those that did best there in one play with one detector, which ours is not
allowed: it has one setting for all.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.mot import Labelled, MotScore, evaluate
from benchmarks.tracker_plays import DROPPED, ONE_DRAW, TUNED, Play, plays
from edge.vision.detections import Detections

REPOSITORY: Final = Path(__file__).parents[1]
PACKAGE: Final = "trackers==2.6.1"
KEPT: Final = Path(__file__).with_name("tracker_best.json")
_SCRIPT: Final = Path(__file__).with_name("tracker_yardstick.py")

#: Each tracker's own published parameters, around its defaults (which are tried besides): lost for one or three (OC-SORT
#: two) seconds, counted at 30 frames a second; easier and surer births; looser and stricter matches. The two that are
#: best untuned are given three times as many. One thing is not theirs: ``least_score`` keeps weak detections from SORT,
#: which knows no weak ones.
GRID: Final[Mapping[str, Mapping[str, Sequence[float]]]] = {
    "SORTTracker": {
        "least_score": (0.3, 0.5),
        "lost_track_buffer": (30, 90),
        "track_activation_threshold": (0.5, 0.7),
        "minimum_consecutive_frames": (2,),
        "minimum_iou_threshold": (0.1, 0.3),
    },
    "ByteTrackTracker": {
        "lost_track_buffer": (30, 90),
        "track_activation_threshold": (0.6, 0.7, 0.8),
        "minimum_iou_threshold": (0.1, 0.2, 0.3),
        "high_conf_det_threshold": (0.4, 0.5, 0.6),
    },
    "OCSORTTracker": {
        "lost_track_buffer": (30, 60),
        "minimum_consecutive_frames": (2, 3),
        "minimum_iou_threshold": (0.1, 0.3),
        "high_conf_det_threshold": (0.4, 0.6),
    },
    "CBIoUTracker": {
        "lost_track_buffer": (30, 90),
        "track_activation_threshold": (0.6, 0.7, 0.8),
        "minimum_iou_threshold_first_assoc": (0.1, 0.2),
        "minimum_iou_threshold_second_assoc": (0.3, 0.5),
        "high_conf_det_threshold": (0.5, 0.6),
    },
    "BoTSORTTracker": {
        "lost_track_buffer": (30, 90),
        "track_activation_threshold": (0.6, 0.8),
        "minimum_iou_threshold_first_assoc": (0.1, 0.2),
        "high_conf_det_threshold": (0.5, 0.6),
    },
}
#: Three draws of dropped frames are tuned on: a quarter of those scored.
_TUNING_DRAWS: Final = (1, 2, 3)

Found = Mapping[int, Detections]
Settings = dict[str, float]
Chosen = dict[str, dict[str, Any]]
"""By tracker: ``tuned``, settings; ``tuned here``, by detector and play, settings."""
Ways = Mapping[str, Mapping[str, Mapping[str, Settings]]]
"""By play, tracker, and how it is set."""
Rows = dict[str, dict[str, dict[str, dict[str, float]]]]
"""By play, tracker, and how it was set: the figures."""


def yardstick_python() -> Path | None:
    """The interpreter that has the package, if any."""
    named = os.environ.get("DRUMTOWER_YARDSTICK")
    place = Path(named) if named else REPOSITORY / ".drumtower" / "yardstick"
    python = place / "bin" / "python"
    return python if python.is_file() else None


def install() -> None:
    """Put the package into an environment of its own."""
    place = REPOSITORY / ".drumtower" / "yardstick"
    venv.create(place, with_pip=True)
    subprocess.run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", PACKAGE], check=True)


def read_kept() -> dict[str, Any]:
    """What the package reached and with which settings, when it was last measured."""
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    return kept


def settings_in(tracker: str) -> list[Settings]:
    """The settings tried of a tracker, its defaults first."""
    names, values = list(GRID[tracker]), GRID[tracker].values()
    return [{}, *(dict(zip(names, one, strict=True)) for one in itertools.product(*values))]


def run_package(
    python: Path, found: Found, chosen: Sequence[Play], settings: Mapping[str, Sequence[Settings]]
) -> dict[str, Any]:
    """What the package's trackers say, by play; see ``tracker_yardstick``."""
    rows = {
        n: np.column_stack((one.xyxy, one.score)).astype(float).round(3).tolist() for n, one in found.items()
    }
    told = [
        {"name": one.name, "fps": one.fps, "frames": [(n, at_ms, rows[n]) for n, at_ms in one.frames]}
        for one in chosen
    ]
    with tempfile.TemporaryDirectory(prefix="tracker-") as directory:
        path = Path(directory) / "told.json"
        path.write_text(json.dumps({"plays": told, "settings": settings}), encoding="utf-8")
        ran = subprocess.run([str(python), str(_SCRIPT), str(path)], stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def score_run(truth: Labelled, run: Mapping[str, Any], play: Play) -> MotScore:
    """Score what one of the package's trackers said."""
    given = {}
    for frame, rows in run["said"].items():
        table = np.array(rows, np.float64).reshape(-1, 5)
        given[int(frame)] = (table[:, 0].astype(np.int64), table[:, 1:].astype(np.float32))
    return evaluate(truth, given, play.numbers)


def figures(scores: Sequence[MotScore], ms: Sequence[float]) -> dict[str, float]:
    """Means over the plays of a row and, where there are several, one play's standard deviation."""
    told: dict[str, float] = {}
    for key in ("mota", "idf1"):
        reached = [getattr(score, key) for score in scores]
        told[key] = round(float(np.mean(reached)), 4)
        if len(reached) > 1:
            told[f"{key}_sd"] = round(float(np.std(reached, ddof=1)), 4)
    switches = float(np.mean([score.switches for score in scores]))
    return told | {"switches": round(switches), "ms": round(float(np.mean(ms)), 3)}


def tune(python: Path, found: Mapping[str, Found], truth: Labelled) -> Chosen:
    """The settings with which each tracker does best on the tuning half, by MOTA + IDF1."""
    asked = [(tracker, model) for tracker in GRID for model in found]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reached = pool.map(lambda one: reached_in_tuning(python, found[one[1]], truth, one[0]), asked)
        return choose(dict(zip(asked, reached, strict=True)))


def reached_in_tuning(python: Path, found: Found, truth: Labelled, tracker: str) -> dict[str, list[float]]:
    """MOTA + IDF1 of a tracker on the tuning half, by play and setting."""
    tried = settings_in(tracker)
    reached = {}
    for name, group in plays(TUNED, _TUNING_DRAWS).items():
        if name == ONE_DRAW:
            continue
        by_name = {play.name: play for play in group}
        answer = run_package(python, found, group, {tracker: tried})
        total = [0.0] * len(tried)
        for run in answer["runs"]:
            score = score_run(truth, run, by_name[run["play"]])
            total[run["choice"]] += (score.mota + score.idf1) / len(group)
        reached[name] = total
    return reached


def choose(reached: Mapping[tuple[str, str], Mapping[str, Sequence[float]]]) -> Chosen:
    """By tracker, what did best in the mean and what did best in each play with each detector.

    Args:
        reached: by tracker and detector, play and setting.
    """
    chosen: Chosen = {}
    for tracker in dict.fromkeys(tracker for tracker, _ in reached):
        tried = settings_in(tracker)
        by_model = {model: told for (name, model), told in reached.items() if name == tracker}
        here = {
            model: {play: tried[int(np.argmax(told))] for play, told in by_play.items()}
            for model, by_play in by_model.items()
        }
        for by_play in here.values():
            by_play[ONE_DRAW] = by_play[DROPPED]
        mean = np.mean([told for by_play in by_model.values() for told in by_play.values()], axis=0)
        chosen[tracker] = {
            "tuned": tried[int(mean.argmax())],
            "tuning half": {"defaults": round(float(mean[0]), 4), "tuned": round(float(mean.max()), 4)},
            "tuned here": here,
        }
    return chosen


def ways_of(chosen: Chosen, model: str) -> Ways:
    """How each tracker is set with one detector's finds."""
    return {
        play: {
            tracker: {"defaults": {}, "tuned": one["tuned"], "tuned here": one["tuned here"][model][play]}
            for tracker, one in chosen.items()
        }
        for play in plays(TUNED)
    }


def measure_package(
    python: Path, found: Found, truth: Labelled, groups: Mapping[str, Sequence[Play]], ways: Ways
) -> tuple[str, Rows]:
    """Every tracker in every play with one detector's finds, and which version of the package it was.

    Args:
        python: the interpreter that has the package.
        found: by frame.
        truth: what is there.
        groups: the plays by name, the one draw among them.
        ways: of setting each tracker in each play.
    """
    told: Rows = {}
    version = ""
    for name, group in groups.items():
        if name == ONE_DRAW:
            continue
        answer = run_package(
            python, found, group, {tracker: list(one.values()) for tracker, one in ways[name].items()}
        )
        version = answer["version"]
        by_name = {play.name: play for play in group}
        scored = [(run, score_run(truth, run, by_name[run["play"]])) for run in answer["runs"]]
        told[name] = _rows(scored, ways[name])
        if name == DROPPED:
            first = [one for one in scored if one[0]["play"] == group[0].name]
            told[ONE_DRAW] = _rows(first, ways[name])
    return version, {name: told[name] for name in groups}


def _rows(
    scored: Sequence[tuple[Mapping[str, Any], MotScore]], ways: Mapping[str, Mapping[str, Settings]]
) -> dict[str, dict[str, dict[str, float]]]:
    """By tracker and how it was set."""
    told: dict[str, dict[str, dict[str, float]]] = {}
    for tracker, by_way in ways.items():
        told[tracker] = {}
        for choice, way in enumerate(by_way):
            mine = [one for one in scored if (one[0]["tracker"], one[0]["choice"]) == (tracker, choice)]
            told[tracker][way] = figures([score for _, score in mine], [run["ms"] for run, _ in mine])
    return told


def best(by_tracker: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """The best MOTA and the best IDF1 of any single tracker in a play, however it was set, and by whom."""
    told: dict[str, Any] = {}
    for key in ("mota", "idf1"):
        first = max(_ways(by_tracker), key=lambda one: one[2][key])
        told |= {f"best_{key}": first[2][key], f"best_{key}_by": f"{first[0]}, {first[1]}"}
    return told


def _ways(
    by_tracker: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    for tracker, by_way in by_tracker.items():
        for way, told in by_way.items():
            yield tracker, way, told
