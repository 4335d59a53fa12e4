"""Runs the trackers of the PyPI package ``trackers`` over given detections; started by ``benchmarks.tracker`` alone.

It runs in an environment of its own (the package brings its own OpenCV), so it imports nothing of this project:
``python tracker_yardstick.py DETECTIONS.json`` reads detections and plays, and writes what each tracker said to
standard output, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
import trackers

#: Class and settings: the package's own defaults, which did better on the frames that tuning may see than thresholds
#: lowered to suit a small detector. The true rate of frames and their instants it is told besides.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "SORTTracker": [{}],
    "ByteTrackTracker": [{}],
    "OCSORTTracker": [{}],
    "CBIoUTracker": [{}],
    "BoTSORTTracker": [{}],
}
#: Some compensate for a moving camera by looking at the picture; this camera is fixed.
_FIXED = {"BoTSORTTracker": {"enable_cmc": False}}


def follow(name: str, settings: dict[str, Any], play: dict[str, Any]) -> dict[str, Any]:
    """One tracker over one play: boxes and ids by frame, and milliseconds of processor time a frame."""
    tracker = getattr(trackers, name)(frame_rate=play["fps"], **_FIXED.get(name, {}), **settings)
    said = {}
    spent = 0.0
    for frame, at_ms, rows in play["frames"]:
        found = np.array(rows, np.float32).reshape(-1, 5)
        detections = sv.Detections(
            xyxy=found[:, :4], confidence=found[:, 4], class_id=np.zeros(len(found), int)
        )
        began = time.thread_time()
        followed = tracker.update(detections, timestamp=at_ms / 1000 + 1.0)
        spent += time.thread_time() - began
        ids = [] if followed.tracker_id is None else followed.tracker_id.tolist()
        pairs = zip(ids, followed.xyxy.tolist(), strict=True)
        said[frame] = [[name, *box] for name, box in pairs if name != -1]
    return {"said": said, "ms": spent / max(len(play["frames"]), 1) * 1000}


def main() -> None:
    """Every tracker with every setting over every play."""
    warnings.filterwarnings("ignore")
    plays = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    given = json.loads(sys.argv[2]) if len(sys.argv) > 2 else SETTINGS
    told = [
        {"play": play["name"], "tracker": name, "settings": settings, **follow(name, settings, play)}
        for play in plays
        for name, choices in given.items()
        for settings in choices
    ]
    json.dump({"version": version("trackers"), "runs": told}, sys.stdout)


if __name__ == "__main__":
    main()
