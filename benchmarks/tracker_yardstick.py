"""Runs the trackers of the PyPI package ``trackers`` over given detections; started by ``benchmarks.tracker_package``.

It runs in an environment of its own (the package brings its own OpenCV), so it imports nothing of this project:
``python tracker_yardstick.py TOLD.json`` reads detections, plays, and settings by tracker, and writes what each tracker
said to standard output, as JSON.
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

#: Some compensate for a moving camera by looking at the picture; this camera is fixed.
_FIXED = {"BoTSORTTracker": {"enable_cmc": False}}


def follow(name: str, settings: dict[str, Any], play: dict[str, Any]) -> dict[str, Any]:
    """One tracker over one play: boxes and ids by frame, and milliseconds of processor time a frame.

    ``least_score`` among the settings is not the tracker's own: detections below it are kept from the tracker.
    """
    own = {key: value for key, value in settings.items() if key != "least_score"}
    tracker = getattr(trackers, name)(frame_rate=play["fps"], **_FIXED.get(name, {}), **own)
    said = {}
    spent = 0.0
    for frame, at_ms, rows in play["frames"]:
        found = np.array(rows, np.float32).reshape(-1, 5)
        found = found[found[:, 4] >= settings.get("least_score", 0.0)]
        detections = sv.Detections(
            xyxy=found[:, :4], confidence=found[:, 4], class_id=np.zeros(len(found), int)
        )
        began = time.thread_time()
        followed = tracker.update(detections, timestamp=at_ms / 1000 + 1.0)
        spent += time.thread_time() - began
        ids = [] if followed.tracker_id is None else followed.tracker_id.tolist()
        pairs = zip(ids, followed.xyxy.astype(float).round(3).tolist(), strict=True)
        said[frame] = [[name, *box] for name, box in pairs if name != -1]
    return {"said": said, "ms": spent / max(len(play["frames"]), 1) * 1000}


def main() -> None:
    """Every tracker with every setting over every play."""
    warnings.filterwarnings("ignore")
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    runs = [
        {"play": play["name"], "tracker": name, "choice": choice, **follow(name, settings, play)}
        for play in told["plays"]
        for name, choices in told["settings"].items()
        for choice, settings in enumerate(choices)
    ]
    json.dump({"version": version("trackers"), "runs": runs}, sys.stdout)


if __name__ == "__main__":
    main()
