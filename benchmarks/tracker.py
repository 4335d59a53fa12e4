"""Our tracker against every one of the PyPI package ``trackers``: ``python -m benchmarks.tracker [--json] [--install]``.

Online, on ``vtest.avi`` against its truth, the same detections for all. Whatever is tuned was tuned on frames 0-397;
all that is scored here lies after. Four plays: every frame at the 10 frames a second it was taken with; every second
frame; two in five dropped at random; and every frame as if it had been taken with 25 a second, people then walking
two and a half times as fast. Which frames are dropped moves anybody's IDF1 by a tenth either way, so that what counts
of that play is the mean over twelve draws, for either side; the first draw by itself is told beside it, and what it
misses too. ``best_mota`` and ``best_idf1`` are the best that any single one of the package's trackers reaches in the
first play, with its own defaults, told the true rate and instants of the frames.

The package is no part of the project: it needs an OpenCV that overwrites ours. ``--install`` puts it into an
environment of its own, ``.drumtower/yardstick``; another one is named by DRUMTOWER_YARDSTICK. Where there is none, what it
reached when it was last measured is taken from ``tracker_best.json``, and the line says whether the detections are
still the same to the last bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.mot import Labelled, MotScore, evaluate, read_mot_truth
from benchmarks.vision import find_footage
from common.runtime.errors import DrumtowerError
from edge.camera.file import FileSource
from edge.vision.detections import Detections
from edge.vision.detector import OnnxDetector
from edge.vision.tracker import Tracker
from models.store import open_model

REPOSITORY: Final = Path(__file__).parents[1]
SHARED: Final = REPOSITORY.parent / "shared"
PACKAGE: Final = "trackers==2.6.1"
TUNED: Final = range(398)
SCORED: Final = range(398, 795)
MOST_MS: Final = 1.0
DRAWS: Final = range(1, 13)
DROPPED: Final = "two in five dropped"
ONE_DRAW: Final = "two in five dropped, draw 1"
_KEPT: Final = Path(__file__).with_name("tracker_best.json")
_SCRIPT: Final = Path(__file__).with_name("tracker_yardstick.py")


@dataclass(frozen=True, slots=True)
class Play:
    """Frames of the footage in order, and when each is said to have been taken.

    Attributes:
        name: of the play.
        fps: as a tracker is told.
        frames: number in the footage, milliseconds.
    """

    name: str
    fps: float
    frames: tuple[tuple[int, int], ...]

    @property
    def numbers(self) -> list[int]:
        """Of the frames shown."""
        return [frame for frame, _ in self.frames]


def plays(frames: range) -> dict[str, list[Play]]:
    """The ways in which the same footage is played, by name: each one play, or several of which the mean is told."""
    every = tuple((n, n * 100) for n in frames)
    drawn = [_draw(every, seed) for seed in DRAWS]
    return {
        "every frame": [Play("every frame", 10.0, every)],
        "every second": [Play("every second", 5.0, every[::2])],
        DROPPED: drawn,
        ONE_DRAW: drawn[:1],
        "as if at 25": [Play("as if at 25", 25.0, tuple((n, n * 40) for n in frames))],
    }


def _draw(every: tuple[tuple[int, int], ...], seed: int) -> Play:
    """Two frames in five dropped by chance."""
    chance = random.Random(seed)
    return Play(f"{DROPPED}, draw {seed}", 6.0, tuple(one for one in every if chance.random() < 0.6))


def detect(model: str, footage: Path, models: Path | None) -> dict[int, Detections]:
    """People in every frame, to a hundredth of a pixel and a thousandth of a score."""
    detector = OnnxDetector(open_model(model, models), labels=("person",))
    found = {}
    with FileSource(footage, paced=False) as source:
        for frame in source.frames():
            one = detector.detect(frame.image)
            found[frame.n] = Detections(np.round(one.xyxy, 2), np.round(one.score, 3), one.label, one.labels)
    return found


def fingerprint(found: Mapping[int, Detections]) -> str:
    """sha256 over all boxes and scores, in order."""
    digest = hashlib.sha256()
    for frame in sorted(found):
        digest.update(found[frame].xyxy.tobytes() + found[frame].score.tobytes())
    return digest.hexdigest()


def follow(found: Mapping[int, Detections], play: Play, tracker: Tracker) -> tuple[Labelled, float]:
    """What our tracker says in a play, and milliseconds of processor time a frame: others' work is none of its."""
    given, spent = {}, 0.0
    for frame, at_ms in play.frames:
        began = time.thread_time()
        tracks = tracker.update(found[frame], at_ms)
        spent += time.thread_time() - began
        seen = [track for track in tracks if track.confirmed and track.last_seen_ms == at_ms]
        given[frame] = (
            np.array([track.id for track in seen], np.int64),
            np.array([track.xyxy for track in seen], np.float32).reshape(-1, 4),
        )
    return given, spent / len(play.frames) * 1000


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


def run_package(
    python: Path,
    found: Mapping[int, Detections],
    chosen: Sequence[Play],
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the package's trackers say, by play; see ``tracker_yardstick``."""
    told = [
        {
            "name": play.name,
            "fps": play.fps,
            "frames": [
                (
                    frame,
                    at_ms,
                    np.column_stack((found[frame].xyxy, found[frame].score)).astype(float).tolist(),
                )
                for frame, at_ms in play.frames
            ],
        }
        for play in chosen
    ]
    with tempfile.TemporaryDirectory(prefix="tracker-") as directory:
        path = Path(directory) / "plays.json"
        path.write_text(json.dumps(told), encoding="utf-8")
        extra = [json.dumps(settings)] if settings else []
        ran = subprocess.run(
            [str(python), str(_SCRIPT), str(path), *extra], stdout=subprocess.PIPE, text=True, check=True
        )
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def score_run(truth: Labelled, run: Mapping[str, Any], play: Play) -> MotScore:
    """Score what one of the package's trackers said."""
    given = {}
    for frame, rows in run["said"].items():
        table = np.array(rows, np.float64).reshape(-1, 5)
        given[int(frame)] = (table[:, 0].astype(np.int64), table[:, 1:].astype(np.float32))
    return evaluate(truth, given, play.numbers)


def best_of_package(
    python: Path, found: Mapping[int, Detections], truth: Labelled, chosen: Mapping[str, Sequence[Play]]
) -> dict[str, Any]:
    """By row: the best MOTA and the best IDF1 of any single tracker, and by whom; over draws, the best mean."""
    by_name = {play.name: play for group in chosen.values() for play in group}
    answer = run_package(python, found, list(by_name.values()))
    scores = {
        (run["tracker"], run["play"]): score_run(truth, run, by_name[run["play"]]) for run in answer["runs"]
    }
    best: dict[str, Any] = {}
    for name, group in chosen.items():
        best[name] = {}
        for key in ("mota", "idf1"):
            reached = {
                tracker: [getattr(scores[tracker, play.name], key) for play in group] for tracker, _ in scores
            }
            first = max(reached, key=lambda tracker: float(np.mean(reached[tracker])))
            best[name] |= _told(key, reached[first]) | {f"{key}_by": first}
    return {"trackers": answer["version"], "detections": fingerprint(found), "plays": best}


def _told(key: str, reached: Sequence[float]) -> dict[str, float]:
    """A measure's mean over the plays of a row and, where there are several, one play's standard deviation."""
    told = {key: round(float(np.mean(reached)), 4)}
    return told if len(reached) == 1 else told | {f"{key}_sd": round(float(np.std(reached, ddof=1)), 4)}


def measure(model: str, footage: Path, truth: Labelled, models: Path | None) -> dict[str, Any]:
    """Ours and the package's on one detector's finds."""
    found = detect(model, footage, models)
    chosen = plays(SCORED)
    python = yardstick_python()
    if python is not None:
        best = best_of_package(python, found, truth, chosen)
    else:
        best = json.loads(_KEPT.read_text(encoding="utf-8"))[model]
    ours = {}
    for name, group in chosen.items():
        followed = [follow(found, play, Tracker()) for play in group]
        scores = [evaluate(truth, told[0], play.numbers) for told, play in zip(followed, group, strict=True)]
        ours[name] = {
            **_told("mota", [score.mota for score in scores]),
            **_told("idf1", [score.idf1 for score in scores]),
            "switches": round(float(np.mean([score.switches for score in scores]))),
            "ms": round(float(np.mean([ms for _, ms in followed])), 3),
        }
    return {
        "measured": "now" if python is not None else "kept",
        "same_detections": best["detections"] == fingerprint(found),
        "trackers": best["trackers"],
        "detections": best["detections"],
        "plays": {
            name: one | {f"best_{key}": reached for key, reached in best["plays"][name].items()}
            for name, one in ours.items()
        },
    }


def missed(found: Mapping[str, Any]) -> list[str]:
    """What falls short, by detector and play; of dropped frames the mean over the draws and the one draw too."""
    return [
        f"{model}, {name}: {words}"
        for model, one in found.items()
        for name, play in one["plays"].items()
        for met, words in (
            (play["mota"] >= play["best_mota"], f"mota {play['mota']} < {play['best_mota']}"),
            (play["idf1"] >= play["best_idf1"], f"idf1 {play['idf1']} < {play['best_idf1']}"),
            (play["ms"] <= MOST_MS, f"{play['ms']} ms > {MOST_MS}"),
        )
        if not met
    ]


def main() -> int:
    """Measure and print; 1 when the first play misses anything with any detector at hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    parser.add_argument("--install", action="store_true", help="install the package first")
    parser.add_argument(
        "--keep", action="store_true", help="write what the package reached into tracker_best.json"
    )
    options = parser.parse_args()
    if options.install:
        install()
    truth_file = SHARED / "data" / "video" / "vtest-gt" / "gt.txt"
    if not truth_file.is_file():
        raise SystemExit(f"tracker: expected the truth of vtest.avi at {truth_file}, found nothing")
    footage, truth = find_footage(None), read_mot_truth(truth_file)
    beside = SHARED / "models" / "yolox_nano.onnx"
    asked = [("cocossd", None), *([("yolox_nano", beside.parent)] if beside.is_file() else [])]
    try:
        found = {model: measure(model, footage, truth, models) for model, models in asked}
    except DrumtowerError as error:
        raise SystemExit(f"tracker: {error}") from error
    if options.keep:
        keep(found)
    short = missed(found)
    told = found["cocossd"]["plays"]["every frame"]
    worst = min(
        min(one["mota"] / one["best_mota"], one["idf1"] / one["best_idf1"])
        for one in (each["plays"]["every frame"] for each in found.values())
    )
    if not options.json:
        for model, one in found.items():
            for name, play in one["plays"].items():
                print(f"{model:11} {name:27} {play}")
        print("missed: " + ("; ".join(short) or "nothing"))
    line = {
        "name": "tracker",
        "value": told["mota"],
        "unit": "MOTA",
        "limit": told["best_mota"],
        "ratio": round(worst, 3),
        "detail": {key: told[key] for key in ("mota", "idf1", "switches", "best_mota", "best_idf1", "ms")}
        | {"model": "cocossd", "by_model": found, "missed": short},
    }
    print(json.dumps(line))
    return int(worst < 1.0 or any(one["plays"]["every frame"]["ms"] > MOST_MS for one in found.values()))


def keep(found: Mapping[str, Any]) -> None:
    """Write down what the package reached, for where it is not installed."""
    kept = {
        model: {
            "trackers": one["trackers"],
            "detections": one["detections"],
            "plays": {
                name: {
                    key.removeprefix("best_"): reached
                    for key, reached in play.items()
                    if key.startswith("best_")
                }
                for name, play in one["plays"].items()
            },
        }
        for model, one in found.items()
    }
    _KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
