"""People in ``vtest.avi``, found in whole pictures and closer: ``python -m benchmarks.detection [--json] [--page]``.

At IoU 0.5 against the truth, every frame counted, at the score that each detector's manifest believes. *Whole* is one
look at each frame. *Closer* is what the box does: the motion gate tells where something moves, what is followed is
added, and now and then the looks go to the one or two parts of the picture that hold all of it. *Tiles* is the yardstick
of both: four looks at each frame, at two by two parts that overlap by a quarter. The cost is processor
time of gate, detector and tracker together, frames in turns, over that of *whole* with the tracker and the
same gate.

Intervals: between what a figure lies with 95 % confidence, by drawing stretches of five seconds again. It is one street in
one minute and a half: no interval over it tells of another street.

``--page`` writes the table into docs/accuracy.md and into the cards of the detectors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.mot import Labelled, evaluate, read_mot_truth
from benchmarks.page import put
from benchmarks.vision import find_footage
from common.runtime.errors import DrumtowerError
from edge.camera.file import FileSource
from edge.vision.appearance import looks_of
from edge.vision.detections import Detections
from edge.vision.detector import OnnxDetector
from edge.vision.motion import MotionGate
from edge.vision.pipeline import GateSettings, tracker_settings
from edge.vision.regions import CloserLooks, detect_in, tiles
from edge.vision.tracker import Track, Tracker
from models.accuracy.figures import Figure, bootstrapped
from models.accuracy.sections import write_figures
from models.store import open_model

RECALL: Final = 0.80
PRECISION: Final = 0.75
COST: Final = 1.5
SHARED: Final = Path(__file__).parents[2] / "shared"
_STEP_MS: Final = 100
_STRETCH: Final = 50
"""Frames that are drawn together: neighbours show the same people."""
_CARDS: Final = Path(__file__).parents[1] / "models" / "cards"
WAYS: Final = ("whole", "closer", "tiles")


class Way:
    """One way of looking at the footage, by its name: its finds, its looks and what they cost."""

    def __init__(self, detector: OnnxDetector, name: str) -> None:
        self._detector, self._tiles = detector, name == "tiles"
        self._closer = CloserLooks(GateSettings().closer if name == "closer" else 0.0)
        self._gate, self._tracker = MotionGate(), Tracker(tracker_settings(detector.thresholds))
        self._tracks: tuple[Track, ...] = ()
        self.found: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        self.looks = 0
        self.cpu_s = 0.0

    def see(self, n: int, image: NDArray[np.uint8]) -> None:
        """One frame."""
        began = time.process_time()
        motion = self._gate.look(image, n * _STEP_MS)
        height, width = image.shape[:2]
        crops = self._closer.crops(motion.boxes, self._tracks, width, height)
        crops = tiles(width, height) if self._tiles else crops
        found = detect_in(self._detector, image, crops) if crops else self._detector.detect(image)
        looks = looks_of(image, found.xyxy, found.score >= self._tracker.settings.strong_score)
        self._tracks = self._tracker.update(found, n * _STEP_MS, looks)
        self.cpu_s += time.process_time() - began
        self.looks += max(len(crops), 1)
        self.found[n] = believed(found, self._detector.thresholds.score)


def believed(found: Detections, score: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Persons that score enough, numbered, for they have no identities yet."""
    sure = found.where(found.score >= score).of("person")
    return np.arange(len(sure), dtype=np.int64), sure.xyxy


def measure(
    model: str, footage: Path, models: Path | None, ways: Sequence[str] = WAYS, threads: int = 2
) -> dict[str, Any]:
    """These ways over the same frames; ``cost`` is over that of *whole*, where it is one of them."""
    detector = OnnxDetector(open_model(model, models), threads=threads)
    truth = read_mot_truth(SHARED / "data" / "video" / "vtest-gt" / "gt.txt")
    looking = [(name, Way(detector, name)) for name in ways]
    with FileSource(footage, paced=False) as source:
        for frame in source.frames():
            # In turns, who comes first too, so that whatever else runs on the machine disturbs all alike.
            for place in range(len(looking)):
                looking[(frame.n + place) % len(looking)][1].see(frame.n, frame.image)
    whole_s = next((way.cpu_s for name, way in looking if name == "whole"), None)
    told: dict[str, Any] = {
        "score": detector.thresholds.score,
        "birth": detector.thresholds.begins,
        "frames": len(looking[0][1].found),
    }
    for name, way in looking:
        recall, precision = scored(truth, way.found)
        told[name] = {
            "recall": round(recall.value, 4),
            "recall_between": [round(recall.low, 4), round(recall.high, 4)],
            "precision": round(precision.value, 4),
            "precision_between": [round(precision.low, 4), round(precision.high, 4)],
            "looks": round(way.looks / len(way.found), 3),
            "cpu_ms": round(way.cpu_s / len(way.found) * 1000, 2),
        }
        if whole_s is not None:
            told[name]["cost"] = round(way.cpu_s / whole_s, 3)
    return told


def scored(truth: Labelled, found: Labelled) -> tuple[Figure, Figure]:
    """Recall and precision, frame by frame: people found, people there and people said."""
    counts = []
    for frame in sorted(found):
        score = evaluate(truth, found, [frame])
        hits = score.truths - score.misses
        counts.append((hits, score.truths, hits + score.false_positives))
    table = np.array(counts, np.float64)
    stretches = [str(place // _STRETCH) for place in range(len(table))]

    def share_of(column: int) -> Figure:
        return bootstrapped(
            stretches, lambda at: float(table[at, 0].sum() / max(table[at, column].sum(), 1.0))
        )

    return share_of(1), share_of(2)


def _spelt(one: Mapping[str, Any], key: str) -> str:
    return str(Figure(one[key], *one[f"{key}_between"]))


def table(found: Mapping[str, Any]) -> str:
    """As Markdown."""
    rows = [
        f"| {model} | {name} | {_spelt(one[name], 'recall')} | {_spelt(one[name], 'precision')} | "
        f"{one[name]['looks']:.2f} | {one[name]['cost']:.2f} |"
        for model, one in found.items()
        for name in WAYS
    ]
    return "\n".join(
        [
            "People in `vtest.avi` (PETS 2009 S2.L1, every frame), IoU 0.5, at the score each manifest believes. *Closer* is",
            "what a box does by default: part of the looks go to one or two parts of the picture where something moves. *Tiles*",
            "are the yardstick: four looks at every frame, in two by two overlapping parts, at a cost that no box has to spare.",
            "Limits for the detector that ships (*closer*): recall at least .80, precision at least .75, at no more than 1.5 times",
            "the processor time. In brackets: 95 % confidence over stretches of five seconds of this one street.",
            "A box acts by tracks, not by these finds, and a track takes more to begin: "
            + "; ".join(
                f"{model} {one['birth']:g}, counted here from {one['score']:g} on"
                for model, one in found.items()
            )
            + ".",
            "",
            "| detector | looks at | recall | precision | looks a frame | processor time |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )


def missed(found: Mapping[str, Any]) -> list[str]:
    """What falls short of what is asked of the detector that ships."""
    shipped = found["cocossd"]
    asked = (
        (shipped["closer"]["recall"] >= RECALL, f"recall >= {RECALL:g}"),
        (shipped["closer"]["precision"] >= PRECISION, f"precision >= {PRECISION:g}"),
        (shipped["closer"]["cost"] <= COST, f"cost <= {COST:g}"),
    )
    return [words for met, words in asked if not met]


def main() -> int:
    """Measure and print; 1 when anything asked is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    parser.add_argument("--page", action="store_true", help="write the table into docs/accuracy.md")
    options = parser.parse_args()
    beside = SHARED / "models" / "yolox_nano.onnx"
    asked = [("cocossd", None), *([("yolox_nano", beside.parent)] if beside.is_file() else [])]
    try:
        found = {model: measure(model, find_footage(None), models) for model, models in asked}
    except DrumtowerError as error:
        raise SystemExit(f"detection: {error}") from error
    if options.page:
        put("detection", table(found))
        for model in found:
            write_figures(_CARDS / f"{model}.md", table(found))
    if not options.json:
        print(table(found))
    short = missed(found)
    shipped = found["cocossd"]
    line = {
        "name": "detection",
        "value": shipped["closer"]["recall"],
        "unit": "recall",
        "limit": RECALL,
        "ratio": round(shipped["closer"]["recall"] / RECALL, 3),
        "detail": shipped["closer"] | {"by_model": found, "missed": short},
    }
    print(json.dumps(line))
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
