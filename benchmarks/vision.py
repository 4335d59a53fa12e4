"""The whole vision path against the bare model and others' path: ``python -m benchmarks.vision [--json] [footage]``.

All run on the same frames, model, input size and number of threads, in turns of a few frames within one run, the motion
gate off. The path is decode (in the thread that reads cameras in the agent too), detector, tracker, scenes, as the
box analyses recorded footage: it looks ahead, two pictures at once with one thread each. Bare is
``InferenceSession.run`` on the frames made ready beforehand, one after the other with both threads. ``one_by_one`` is
the path as a live camera has it, each picture when it comes, with both threads.

``by_model`` names the shipped detector and, where it lies beside the checkout, YOLOX-nano. A third model is one that
ultralytics can open too: there ``YOLO.predict`` plays the same video with the same file, in turns with ours
(``benchmarks.vision_predict`` says where it is looked for). ``--yolo`` brings a file of one's own; without one it is a
YOLO26n with drawn weights, and both sides are asked for finds of a score that some twenty places in a picture reach.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from benchmarks.vision_predict import NOT_HERE, SIDE, Predict, brought, drawn, install, interpreter
from common.runtime.errors import DrumtowerError
from edge.camera.file import FileSource
from edge.camera.latest import LatestFrame
from edge.vision.ahead import LookAhead
from edge.vision.detections import STREET_LABELS
from edge.vision.detector import OnnxDetector
from edge.vision.pipeline import VisionCounters, VisionPipeline, VisionSettings
from local.footage import find_footage as fetched_footage
from models.store import Model, open_model

LIMIT: Final = 0.9
SHARED: Final = Path(__file__).parents[2] / "shared"
_TURN: Final = 25
"""Frames in one turn: short against the time in which a shared machine changes its mind."""

_SETTINGS = {
    "gate": {"enabled": False},
    "scenes": [
        {
            "scene": "zone",
            "id": "crowded",
            "category": "camera.zone_crowded",
            "zone": [[0.45, 0.30], [0.95, 0.36], [0.98, 0.72], [0.50, 0.62]],
            "limit": 4,
            "enter_s": 2,
            "exit_s": 4,
        },
        {
            "scene": "wrong_way",
            "id": "path",
            "lane": [[0.0, 0.24], [0.62, 0.27], [1.0, 0.42], [1.0, 0.9], [0.45, 0.66], [0.0, 0.47]],
            "direction": [1.0, 0.45],
            "labels": ["person"],
        },
    ],
    # Evidence is made a few times a minute, not for every frame: it is no part of the frame rate.
    "evidence": {"phases": []},
}


class Turn(NamedTuple):
    """Seconds a frame, of all, in one turn; the last where ultralytics plays too."""

    path: float
    bare: float
    one_by_one: float
    predict: float | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """What was measured of one model, and what the path made of the footage."""

    turns: list[Turn]
    counters: VisionCounters

    def told(self, model: Model) -> dict[str, Any]:
        """Figures by name; each turn is judged by its own neighbours, which whatever else runs here disturbs alike."""
        turns, spec = self.turns, model.manifest.input
        path = statistics.median(turn.path for turn in turns)
        bare = statistics.median(turn.bare for turn in turns)
        one_by_one = statistics.median(turn.one_by_one for turn in turns)
        return {
            "input": f"{spec.width}x{spec.height}",
            "turns": len(turns),
            "frames": self.counters.frames,
            "detections": self.counters.detections,
            "events": self.counters.events,
            "ratio": round(statistics.median(turn.bare / turn.path for turn in turns), 3),
            "path_per_s": round(1 / path, 1),
            "bare_per_s": round(1 / bare, 1),
            "path_ms": round(path * 1000, 2),
            "bare_ms": round(bare * 1000, 2),
            "one_by_one_ms": round(one_by_one * 1000, 2),
            "one_by_one_ratio": round(statistics.median(turn.bare / turn.one_by_one for turn in turns), 3),
            "overall_ratio": round(sum(turn.bare for turn in turns) / sum(turn.path for turn in turns), 3),
        } | self._beside()

    def _beside(self) -> dict[str, Any]:
        """How ``YOLO.predict`` did, where it played."""
        beside = [(turn, turn.predict) for turn in self.turns if turn.predict is not None]
        if not beside:
            return {}
        median = statistics.median(predict for _, predict in beside)
        return {
            "predict_per_s": round(1 / median, 1),
            "predict_ms": round(median * 1000, 2),
            "predict_ratio": round(statistics.median(turn.bare / predict for turn, predict in beside), 3),
            "ahead_of_predict": round(statistics.median(predict / turn.path for turn, predict in beside), 3),
            "one_by_one_ahead": round(
                statistics.median(predict / turn.one_by_one for turn, predict in beside), 3
            ),
        }


def find_footage(asked: Path | None) -> Path:
    """The footage asked for, else what the set-up fetched, else what stands beside the checkout, else what ships."""
    if asked is not None:
        return asked
    beside = SHARED / "data" / "video" / "vtest.avi"
    named = os.environ.get("DRUMTOWER_FOOTAGE")
    found = Path(named) if named else fetched_footage() or (beside if beside.is_file() else None)
    if found is None:
        print("vtest.avi could not be had: measuring on the footage that ships", file=sys.stderr)
    return found or Path(__file__).parents[1] / "firmware_configs" / "footage" / "bikes.mp4"


def measure(
    model: Model,
    footage: Path,
    threads: int,
    most_frames: int,
    *,
    labels: Sequence[str] = STREET_LABELS,
    predict: Predict | None = None,
) -> Played:
    """Play the footage through the path, a turn at a time, the others having their turns in between."""
    detector, single = (OnnxDetector(model, labels=labels, threads=many) for many in (threads, 1))
    settings = VisionSettings.model_validate(_SETTINGS)
    pipeline, plain = VisionPipeline(settings, single), VisionPipeline(settings, detector)
    ready = _ready(detector, footage)
    for tensor in [next(ready) for _ in range(10)]:
        detector.run(tensor)
        single.run(tensor)
    turns: list[Turn] = []
    with (
        LatestFrame(FileSource(footage, paced=False), "ahead", keep_all=True) as reader,
        LatestFrame(FileSource(footage, paced=False), "plain", keep_all=True) as other,
        LookAhead(reader.take, single, threads) as ahead,
    ):
        while pipeline.counters.frames < most_frames:
            tensors = [tensor for _, tensor in zip(range(_TURN), ready, strict=False)]
            path, bare = _play(ahead, pipeline), _run(detector, tensors)
            one_by_one = _play_plain(other, plain)
            theirs = predict.turn(_TURN) if predict else None
            if path is None or one_by_one is None or len(tensors) < _TURN:
                break
            turns.append(Turn(path, bare, one_by_one, theirs))
    return Played(turns, pipeline.counters)


def _play(ahead: LookAhead, pipeline: VisionPipeline) -> float | None:
    """Seconds a frame; what was looked at ahead of the next turn is paid for in this one."""
    began = time.perf_counter()
    for _ in range(_TURN):
        looked = ahead.next(10.0)
        if looked is None:
            return None
        pipeline.process(*looked)
    ahead.settle()
    return (time.perf_counter() - began) / _TURN


def _run(detector: OnnxDetector, tensors: Sequence[NDArray[Any]]) -> float:
    began = time.perf_counter()
    for tensor in tensors:
        detector.run(tensor)
    return (time.perf_counter() - began) / max(len(tensors), 1)


def _play_plain(reader: LatestFrame, pipeline: VisionPipeline) -> float | None:
    began = time.perf_counter()
    for _ in range(_TURN):
        frame = reader.take(10.0)
        if frame is None:
            return None
        pipeline.process(frame)
    return (time.perf_counter() - began) / _TURN


def _ready(detector: OnnxDetector, footage: Path) -> Iterator[NDArray[Any]]:
    with FileSource(footage, paced=False) as source:
        for frame in source.frames():
            yield detector.prepare(frame.image)


def beside_ultralytics(
    python: Path, file: Path | None, footage: Path, threads: int, most: int
) -> dict[str, Any]:
    """Our path and ``YOLO.predict`` with one file, named by what it is."""
    with FileSource(footage, paced=False) as source:
        first = next(iter(source.frames())).image
    model = brought(drawn(python), first) if file is None else brought(file)
    with Predict(python, model, footage, threads) as predict:
        played = measure(model, footage, threads, most, labels=model.manifest.names, predict=predict)
        found = predict.found / max(len(played.turns) * _TURN, 1)
    score = model.manifest.thresholds.score
    return played.told(model) | {
        "model": f"YOLO26n, drawn weights, {SIDE}" if file is None else model.path.name,
        "version": predict.version,
        "score": round(score, 6),
        "found_a_frame": round(found, 1),
    }


def missed(found: Mapping[str, Mapping[str, Any]], beside: Mapping[str, Any] | str) -> list[str]:
    """What falls short: of the bare model, by model, and of ``YOLO.predict`` where it was measured."""
    short = [f"{name}: ratio {one['ratio']} < {LIMIT}" for name, one in found.items() if one["ratio"] < LIMIT]
    if not isinstance(beside, str):
        if beside["ratio"] < LIMIT:
            short.append(f"{beside['model']}: ratio {beside['ratio']} < {LIMIT}")
        if beside["ahead_of_predict"] <= 1.0:
            short.append(f"{beside['model']}: {beside['ahead_of_predict']} of YOLO.predict")
    return short


def main() -> int:
    """Measure, and print one line of JSON last; 1 when anything asked is missed."""
    options = _options()
    footage = find_footage(options.footage)
    if options.install:
        install()
    nano = SHARED / "models" / "yolox_nano.onnx"
    asked: list[tuple[str, Path | None]] = [(options.model, options.models)]
    if options.model == "cocossd" and nano.is_file():
        asked.append(("yolox_nano", nano.parent))
    try:
        found = {}
        for name, models in asked:
            model = open_model(name, models)
            found[name] = measure(model, footage, options.threads, options.frames).told(model)
        python = interpreter(options.ultralytics)
        beside: dict[str, Any] | str = (
            f"not measured here: {NOT_HERE}"
            if python is None
            else beside_ultralytics(python, options.yolo, footage, options.threads, options.frames)
        )
    except DrumtowerError as error:
        raise SystemExit(f"vision: {error}") from error
    told, short = found[options.model], missed(found, beside)
    line = {
        "name": "vision",
        "value": told["path_per_s"],
        "unit": "frames/s",
        "limit": LIMIT,
        "ratio": told["ratio"],
        "detail": {"footage": footage.name, "model": options.model, "threads": options.threads}
        | told
        | {"by_model": found, "yolo_predict": beside, "missed": short},
    }
    if not options.json:
        for name, one in found.items():
            print(
                f"{name}: path {one['path_per_s']} frames/s, bare {one['bare_per_s']}, ratio {one['ratio']} (limit {LIMIT})"
            )
        print(f"YOLO.predict: {beside}")
        print("missed: " + ("; ".join(short) or "nothing"))
    print(json.dumps(line))
    return int(bool(short))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("footage", nargs="?", type=Path)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    parser.add_argument("--model", default="cocossd", help="measure this one alone")
    parser.add_argument("--models", type=Path, default=None, help="where weights that do not ship lie")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--frames", type=int, default=795)
    parser.add_argument("--ultralytics", type=Path, help="the interpreter that has ultralytics")
    parser.add_argument("--yolo", type=Path, help="a detector that ultralytics exported, for both")
    parser.add_argument(
        "--install", action="store_true", help="install ultralytics first, apart from all else"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
