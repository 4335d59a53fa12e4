"""Our tracker against those of the PyPI package ``trackers``: ``python -m benchmarks.tracker [--json] [--install] [--tune]``.

Online, on ``vtest.avi`` against its truth, the same detections for all. Whatever is tuned was tuned on frames 0-397;
all that is scored here lies after. Four plays: every frame at the 10 frames a second it was taken with; every second
frame; two in five dropped at random; and every frame as if it had been taken with 25 a second, people then walking
two and a half times as fast. Which frames are dropped moves anybody's IDF1 by a tenth either way, so that what counts
of that play is the mean over twelve draws, for either side; the first draw by itself is told beside it, and what it
misses too. ``best_mota`` and ``best_idf1`` are the best that any single one of the package's trackers reaches in a play,
with its own defaults or tuned (``tracker_package`` tells how), told the true rate and instants of the frames.

The package's trackers measured here go by the boxes alone. Ours looks at the same pictures besides, for the colours of whom
it follows: it knows more than they do, and the time that takes is counted as its own.

The package is no part of the project: it needs an OpenCV that overwrites ours. ``--install`` puts it into an
environment of its own, ``.drumtower/yardstick``; another one is named by DRUMTOWER_YARDSTICK. ``--tune`` looks for the
package's settings anew, which takes a quarter of an hour; without it those found last are scored. Where the package is
not installed, what it reached when it was last measured is taken from ``tracker_best.json``, and the line says whether the
detections are still the same to the last bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import tracker_package as package
from benchmarks.mot import Labelled, evaluate, read_mot_truth
from benchmarks.tracker_plays import SCORED, Play, plays
from benchmarks.vision import find_footage
from common.runtime.errors import DrumtowerError
from edge.camera.file import FileSource
from edge.vision.appearance import Looks, looks_of
from edge.vision.detections import Detections
from edge.vision.detector import OnnxDetector
from edge.vision.tracker import Tracker, TrackerSettings
from models.store import open_model

SHARED: Final = Path(__file__).parents[2] / "shared"
MODELS: Final = ("cocossd", "yolox_nano")
MOST_MS: Final = 1.0


class Looked(NamedTuple):
    """How what was found in a frame looks, and milliseconds of processor time that this took."""

    looks: Looks
    ms: float


def detect(model: str, footage: Path, models: Path | None) -> tuple[dict[int, Detections], dict[int, Looked]]:
    """People in every frame, to a hundredth of a pixel and a thousandth of a score, and how they look."""
    detector = OnnxDetector(open_model(model, models), labels=("person",))
    strong = TrackerSettings().strong_score
    found, looked = {}, {}
    with FileSource(footage, paced=False) as source:
        for frame in source.frames():
            one = detector.detect(frame.image)
            one = Detections(np.round(one.xyxy, 2), np.round(one.score, 3), one.label, one.labels)
            began = time.thread_time()
            looks = looks_of(frame.image, one.xyxy, one.score >= strong)
            looked[frame.n] = Looked(looks, (time.thread_time() - began) * 1000)
            found[frame.n] = one
    return found, looked


def fingerprint(found: Mapping[int, Detections]) -> str:
    """sha256 over all boxes and scores, in order."""
    digest = hashlib.sha256()
    for frame in sorted(found):
        digest.update(found[frame].xyxy.tobytes() + found[frame].score.tobytes())
    return digest.hexdigest()


def follow(
    found: Mapping[int, Detections], looked: Mapping[int, Looked], play: Play, tracker: Tracker
) -> tuple[Labelled, float]:
    """What our tracker says in a play, and milliseconds of processor time a frame, that of the looks among them."""
    given, spent = {}, 0.0
    for frame, at_ms in play.frames:
        began = time.thread_time()
        tracks = tracker.update(found[frame], at_ms, looked[frame].looks)
        spent += (time.thread_time() - began) * 1000 + looked[frame].ms
        seen = [track for track in tracks if track.confirmed and track.last_seen_ms == at_ms]
        given[frame] = (
            np.array([track.id for track in seen], np.int64),
            np.array([track.xyxy for track in seen], np.float32).reshape(-1, 4),
        )
    return given, spent / len(play.frames)


def ours(
    found: Mapping[int, Detections],
    looked: Mapping[int, Looked],
    truth: Labelled,
    groups: Mapping[str, Sequence[Play]],
) -> dict[str, dict[str, float]]:
    """Our figures by play."""
    told = {}
    for name, group in groups.items():
        followed = [follow(found, looked, play, Tracker()) for play in group]
        scores = [
            evaluate(truth, said, play.numbers) for (said, _), play in zip(followed, group, strict=True)
        ]
        told[name] = package.figures(scores, [ms for _, ms in followed])
    return told


def measure(
    found: Mapping[str, Mapping[int, Detections]],
    looked: Mapping[str, Mapping[int, Looked]],
    truth: Labelled,
    *,
    tune: bool,
) -> dict[str, Any]:
    """Ours and the package's on each detector's finds; what may be kept of the package's besides."""
    python, kept = package.yardstick_python(), package.read_kept()
    if python is not None and tune:
        kept["settings"] = package.tune(python, found, truth)
    groups = plays(SCORED)
    told = {}
    for model, finds in found.items():
        same = fingerprint(finds)
        if python is not None:
            ways = package.ways_of(kept["settings"], model)
            version, rows = package.measure_package(python, finds, truth, groups, ways)
            kept[model] = {"trackers": version, "detections": same, "plays": rows}
        rows = kept[model]["plays"]
        told[model] = {
            "measured": "now" if python is not None else "kept",
            "same_detections": kept[model]["detections"] == same,
            "trackers": kept[model]["trackers"],
            "detections": kept[model]["detections"],
            "plays": {
                name: one | package.best(rows[name]) | {"package": rows[name]}
                for name, one in ours(finds, looked[model], truth, groups).items()
            },
        }
    return {"told": told, "kept": kept}


def missed(told: Mapping[str, Any]) -> list[str]:
    """What falls short, by detector and play; of dropped frames the mean over the draws and the one draw too."""
    return [
        f"{model}, {name}: {words}"
        for model, one in told.items()
        for name, play in one["plays"].items()
        for met, words in (
            (play["mota"] >= play["best_mota"], f"mota {play['mota']} < {play['best_mota']}"),
            (play["idf1"] >= play["best_idf1"], f"idf1 {play['idf1']} < {play['best_idf1']}"),
            (play["ms"] <= MOST_MS, f"{play['ms']} ms > {MOST_MS}"),
        )
        if not met
    ]


def show(told: Mapping[str, Any]) -> None:
    """Print a line for ours and for each of the package's trackers, by detector and play."""
    print(f"{'':11} {'':27} {'':17} {'':11} {'MOTA':>6} {'IDF1':>6} {'switches':>8} {'ms':>6}")
    for model, one in told.items():
        for name, play in one["plays"].items():
            lines = [("ours", "", play)]
            for tracker, ways in play["package"].items():
                lines += [(tracker, way, reached) for way, reached in ways.items()]
            for tracker, way, line in lines:
                told_of = f"{line['mota']:6.4f} {line['idf1']:6.4f} {line['switches']:8} {line['ms']:6.3f}"
                print(f"{model:11} {name:27} {tracker:17} {way:11} {told_of}")


def main() -> int:
    """Measure and print; 1 when anything is missed, in any play with any detector at hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    parser.add_argument("--install", action="store_true", help="install the package first")
    parser.add_argument(
        "--tune", action="store_true", help="look for the package's best settings on frames 0-397"
    )
    parser.add_argument(
        "--keep", action="store_true", help="write what the package reached into tracker_best.json"
    )
    options = parser.parse_args()
    if options.install:
        package.install()
    if (options.tune or options.keep) and package.yardstick_python() is None:
        raise SystemExit(
            "tracker: expected the package to tune or to keep figures of, found none; add --install"
        )
    truth_file = SHARED / "data" / "video" / "vtest-gt" / "gt.txt"
    if not truth_file.is_file():
        raise SystemExit(f"tracker: expected the truth of vtest.avi at {truth_file}, found nothing")
    beside = SHARED / "models" / "yolox_nano.onnx"
    asked = [("cocossd", None), *([("yolox_nano", beside.parent)] if beside.is_file() else [])]
    if options.tune and len(asked) < len(MODELS):
        # The one setting is by the mean over both; found with one, it would be kept without the other's.
        raise SystemExit(
            f"tracker: expected YOLOX-nano at {beside} to tune with both detectors, found nothing; leave out --tune"
        )
    footage, truth = find_footage(None), read_mot_truth(truth_file)
    try:
        seen = {model: detect(model, footage, models) for model, models in asked}
    except DrumtowerError as error:
        raise SystemExit(f"tracker: {error}") from error
    found = {model: finds for model, (finds, _) in seen.items()}
    looked = {model: looks for model, (_, looks) in seen.items()}
    measured = measure(found, looked, truth, tune=options.tune)
    told = measured["told"]
    if options.keep:
        package.KEPT.write_text(json.dumps(measured["kept"], indent=1) + "\n", encoding="utf-8")
    short = missed(told)
    first = {model: one["plays"]["every frame"] for model, one in told.items()}
    worst = min(min(one["mota"] / one["best_mota"], one["idf1"] / one["best_idf1"]) for one in first.values())
    if not options.json:
        show(told)
        print("missed: " + ("; ".join(short) or "nothing"))
    shipped = first["cocossd"]
    line = {
        "name": "tracker",
        "value": shipped["mota"],
        "unit": "MOTA",
        "limit": shipped["best_mota"],
        "ratio": round(worst, 3),
        "detail": {key: shipped[key] for key in ("mota", "idf1", "switches", "best_mota", "best_idf1", "ms")}
        | {"model": "cocossd", "by_model": told, "missed": short},
    }
    print(json.dumps(line))
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
