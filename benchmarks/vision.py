"""The whole vision path against the bare model: ``python -m benchmarks.vision [--json] [footage]``.

Both run on the same frames, model, input size and number of threads, in turns of a few frames within one run, the motion
gate off. The path is decode (in the thread that reads cameras in the agent too), detector, tracker, scenes, as the
box analyses recorded footage: it looks ahead, two pictures at once with one thread each. Bare is
``InferenceSession.run`` on the frames made ready beforehand, one after the other with both threads. ``one_by_one`` is
the path as a live camera has it, each picture when it comes, with both threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from common.runtime.errors import DrumtowerError
from edge.camera.file import FileSource
from edge.camera.latest import LatestFrame
from edge.vision.ahead import LookAhead
from edge.vision.detector import OnnxDetector
from edge.vision.pipeline import VisionPipeline, VisionSettings
from local.footage import find_footage as fetched_footage
from models.store import Model, open_model

LIMIT = 0.9
_TURN = 25
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
    """Seconds a frame, of all, in one turn."""

    path: float
    bare: float
    one_by_one: float


def find_footage(asked: Path | None) -> Path:
    """The footage asked for, else what the set-up fetched, else what stands beside the checkout, else what ships."""
    if asked is not None:
        return asked
    repository = Path(__file__).parents[1]
    beside = repository.parent / "shared" / "data" / "video" / "vtest.avi"
    named = os.environ.get("DRUMTOWER_FOOTAGE")
    found = Path(named) if named else fetched_footage() or (beside if beside.is_file() else None)
    if found is None:
        print("vtest.avi could not be had: measuring on the footage that ships", file=sys.stderr)
    return found or repository / "firmware_configs" / "footage" / "bikes.mp4"


def measure(model: Model, footage: Path, threads: int, most_frames: int) -> tuple[list[Turn], VisionPipeline]:
    """Play the footage through the path, a turn at a time, the others having their turns in between."""
    detector, single = OnnxDetector(model, threads=threads), OnnxDetector(model, threads=1)
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
            if path is None or one_by_one is None or len(tensors) < _TURN:
                break
            turns.append(Turn(path, bare, one_by_one))
    return turns, pipeline


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


def main() -> None:
    """Measure, and print one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("footage", nargs="?", type=Path)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    parser.add_argument("--model", default="cocossd")
    parser.add_argument("--models", type=Path, default=None, help="where weights that do not ship lie")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--frames", type=int, default=795)
    options = parser.parse_args()
    footage = find_footage(options.footage)
    try:
        model = open_model(options.model, options.models)
        turns, pipeline = measure(model, footage, options.threads, options.frames)
    except DrumtowerError as error:
        raise SystemExit(f"vision: {error}") from error
    path = statistics.median(turn.path for turn in turns)
    bare = statistics.median(turn.bare for turn in turns)
    # Each turn is judged by its own neighbour, so that a neighbour on the machine disturbs both alike.
    ratio = statistics.median(turn.bare / turn.path for turn in turns)
    detail = {
        "footage": footage.name,
        "model": options.model,
        "input": f"{model.manifest.input.width}x{model.manifest.input.height}",
        "threads": options.threads,
        "turns": len(turns),
        "frames": pipeline.counters.frames,
        "detections": pipeline.counters.detections,
        "events": pipeline.counters.events,
        "bare_per_s": round(1 / bare, 1),
        "path_ms": round(path * 1000, 2),
        "bare_ms": round(bare * 1000, 2),
        "one_by_one_ms": round(statistics.median(turn.one_by_one for turn in turns) * 1000, 2),
        "one_by_one_ratio": round(statistics.median(turn.bare / turn.one_by_one for turn in turns), 3),
        "overall_ratio": round(sum(turn.bare for turn in turns) / sum(turn.path for turn in turns), 3),
    }
    line = {
        "name": "vision",
        "value": round(1 / path, 1),
        "unit": "frames/s",
        "limit": LIMIT,
        "ratio": round(ratio, 3),
        "detail": detail,
    }
    if not options.json:
        print(
            f"path {line['value']} frames/s, bare {detail['bare_per_s']}, ratio {line['ratio']} (limit {LIMIT})"
        )
    print(json.dumps(line))


if __name__ == "__main__":
    main()
