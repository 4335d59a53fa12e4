"""Plays a video through ultralytics' ``YOLO.predict``; started by ``benchmarks.vision_predict`` alone.

It may run in an environment of its own, so it imports nothing of this project:

- ``vision_yardstick.py make FILE.onnx SIDE`` exports a YOLO26n with drawn weights: as fast as a trained one, and its
  scores differ from place to place as a trained one's do.
- ``vision_yardstick.py play FILE.onnx SIDE VIDEO THREADS CONFIDENCE`` says what it is, then for each number on standard
  input plays so many pictures and says how long they took: one line of JSON each.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

# Before ultralytics is imported: its settings stay out of the home directory, and it fetches nothing by itself.
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_OFFLINE"] = "true"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def make(file: Path, side: int) -> None:
    """Export the network."""
    import torch  # noqa: PLC0415 - heavy, and only here
    from ultralytics import YOLO  # noqa: PLC0415 - after the environment is set

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as directory:
        weights = Path(directory) / "yolo26n.pt"
        net = YOLO("yolo26n.yaml")
        _spread(net.model, side)
        net.save(str(weights))
        exported = YOLO(str(weights)).export(format="onnx", imgsz=side, simplify=False, verbose=False)
        file.write_bytes(Path(exported).read_bytes())


def _spread(network: Any, side: int) -> None:
    """Undrawn, the layers fade out and the last give every place one score: let all of them differ a little: which twenty are surest is then told apart."""
    import torch  # noqa: PLC0415

    head = network.model[-1]
    last = [
        branch[-1] for branches in (head.cv3, getattr(head, "one2one_cv3", None) or ()) for branch in branches
    ]
    said: dict[Any, Any] = {}
    hooks = [layer.register_forward_hook(lambda layer, _, out: said.update({layer: out})) for layer in last]
    street = torch.nn.functional.interpolate(torch.rand((1, 3, side // 16, side // 16)), (side, side))
    with torch.no_grad():
        for layer in last:
            torch.nn.init.normal_(layer.weight)
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        network.train()(street)
        network.eval()(street)
        for hook in hooks:
            hook.remove()
        for layer in last:
            layer.weight *= 0.1 / float(said[layer].std(dim=(2, 3)).mean())


def play(file: Path, side: int, video: Path, *, threads: int, confidence: float, out: TextIO) -> None:
    """Play when asked."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import numpy as np  # noqa: PLC0415 - after the number of cores is settled
    import torch  # noqa: PLC0415
    import ultralytics  # noqa: PLC0415

    torch.set_num_threads(threads)
    net = ultralytics.YOLO(str(file), task="detect")
    asked: dict[str, Any] = {"imgsz": side, "conf": confidence, "device": "cpu", "verbose": False}
    for _ in range(10):
        net.predict(np.full((side, side, 3), 114, np.uint8), **asked)
    results: Iterator[Any] = net.predict(str(video), stream=True, **asked)
    say(out, {"version": ultralytics.__version__, "torch": torch.__version__})
    for line in sys.stdin:
        began, played, found = time.perf_counter(), 0, 0
        while played < int(line) and (result := next(results, None)) is not None:
            found += len(result.boxes.cpu().numpy())
            played += 1
        say(out, {"seconds": time.perf_counter() - began, "played": played, "found": found})


def say(out: TextIO, told: dict[str, Any]) -> None:
    """One line."""
    out.write(json.dumps(told) + "\n")
    out.flush()


def main() -> None:
    """As the first argument says; ultralytics' own words go to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    file, side = Path(sys.argv[2]), int(sys.argv[3])
    if sys.argv[1] == "make":
        make(file, side)
    else:
        threads, confidence = int(sys.argv[5]), float(sys.argv[6])
        play(file, side, Path(sys.argv[4]), threads=threads, confidence=confidence, out=out)


if __name__ == "__main__":
    main()
