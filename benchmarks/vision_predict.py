"""The yardstick of ``benchmarks.vision`` that is not ours: ultralytics' ``YOLO.predict`` in a process of its own.

ultralytics is AGPL-3.0 and brings some gigabytes of torch, so it is no part of what a box or a developer installs. It is
looked for in this order: the interpreter that ``--ultralytics`` or DRUMTOWER_ULTRALYTICS names, the environment
``.drumtower/ultralytics`` (``--install`` makes it), and the interpreter that runs the benchmark, which has it where the
extra [models] is installed.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from common.runtime.errors import InvalidError
from edge.camera.frame import Image
from edge.vision.detector import OnnxDetector
from models.manifest import Manifest
from models.runtime import open_session
from models.store import Model

SIDE: Final = 416
NOT_HERE: Final = (
    "no interpreter here has ultralytics: name one with --ultralytics or DRUMTOWER_ULTRALYTICS, or --install"
)
_REPOSITORY: Final = Path(__file__).parents[1]
_PLACE: Final = _REPOSITORY / ".drumtower" / "ultralytics"
_SCRIPT: Final = Path(__file__).with_name("vision_yardstick.py")
_PACKAGES: Final = ("ultralytics-opencv-headless>=8.4.190", "onnx>=1.17", "onnxruntime>=1.20")
_CONFIDENCE: Final = 0.25
"""What ``YOLO.predict`` asks for by itself."""
_PLACES: Final = 20
"""Finds in a picture, about, where drawn weights are sure of nothing."""


def interpreter(named: Path | None) -> Path | None:
    """The interpreter that has ultralytics, if any."""
    variable = os.environ.get("DRUMTOWER_ULTRALYTICS")
    own = Path(sys.executable) if importlib.util.find_spec("ultralytics") else None
    places = [named, Path(variable) if variable else None, _PLACE / "bin" / "python", own]
    return next((place for place in places if place is not None and place.is_file()), None)


def install() -> None:
    """Put ultralytics into an environment of its own: some gigabytes."""
    venv.create(_PLACE, with_pip=True)
    subprocess.run(
        [str(_PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", *_PACKAGES], check=True
    )


def drawn(python: Path) -> Path:
    """A YOLO26n whose weights are drawn, made once; what it finds is nonsense, how long it takes is not."""
    file = _REPOSITORY / ".drumtower" / f"yolo26n-drawn-{SIDE}.onnx"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.onnx")
        subprocess.run(
            [str(python), str(_SCRIPT), "make", str(part), str(SIDE)], check=True, stdout=sys.stderr
        )
        part.replace(file)
    return file


def brought(file: Path, drawn_for: Image | None = None) -> Model:
    """A file that ultralytics exported, as a model of ours.

    Args:
        file: a detector with a YOLO head, suppressing or not.
        drawn_for: where its weights are drawn, a picture by which the score is chosen that both sides ask for; else it
            is the one that ``YOLO.predict`` asks for by itself.

    Raises:
        InvalidError: ``model.broken``, ``model.shape`` or ``model.labels``.
    """
    session = open_session(file, threads=1)
    spec = session.get_inputs()[0]
    height, width = spec.shape[2:]
    if not all(isinstance(side, int) and side >= 16 for side in (height, width)):
        raise InvalidError(
            "model.shape",
            f"expected {file.name} to be of one size, found {spec.shape}",
            "export it with imgsz=… and dynamic=False",
        )
    shape = session.run(None, {spec.name: np.zeros((1, 3, height, width), np.float32)})[0].shape
    names = ast.literal_eval(session.get_modelmeta().custom_metadata_map.get("names", "{}"))
    content = file.read_bytes()
    told = {
        "name": "brought",
        "title": file.stem,
        "file": f"{file.stem}.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "ships": False,
        "head": "end_to_end" if shape[2] == 6 else "yolo",
        "input": {
            "name": spec.name,
            "width": width,
            "height": height,
            "layout": "nchw",
            "channels": "rgb",
            "dtype": "float32",
            "fit": "letterbox",
            "scale": 1 / 255,
        },
        "labels": [str(names[place]).replace(" ", "_") for place in sorted(names)],
        "licence": "its maker's",
        "origin": "exported by ultralytics",
    }
    surest = _CONFIDENCE if drawn_for is None else _surest(told, file, drawn_for)
    # What suppressed by itself is left as it is; the other number is the one that ``YOLO.predict`` takes.
    scores = {"score": surest, "weak": surest, "overlap": 0.99 if shape[2] == 6 else 0.7}
    if drawn_for is not None:
        # What drawn weights find is nobody: it is no more followed than ``YOLO.predict`` follows anything.
        scores |= {"strong": 0.5, "birth": 0.75}
    return Model(Manifest.model_validate(told | {"thresholds": scores}), file)


def _surest(told: Mapping[str, Any], file: Path, first: Image) -> float:
    """The score that some twenty places in a picture reach."""
    lowest = {"score": 1e-6, "weak": 1e-6, "overlap": 0.7}
    manifest = Manifest.model_validate({**told, "thresholds": lowest})
    found = OnnxDetector(Model(manifest, file), labels=manifest.names).detect(first)
    return float(found.score[min(_PLACES, len(found)) - 1]) if len(found) else _CONFIDENCE


class Predict:
    """A process that plays pictures when it is asked to.

    Args:
        python: the interpreter that has ultralytics.
        model: what it is to look with.
        footage: what it is to look at, from the beginning.
        threads: of its work, and cores.
    """

    def __init__(self, python: Path, model: Model, footage: Path, threads: int) -> None:
        spec, score = model.manifest.input, model.manifest.thresholds.score
        given = [model.path.resolve(), max(spec.width, spec.height), footage.resolve(), threads, score]
        self._process = subprocess.Popen(
            [str(python), str(_SCRIPT), "play", *map(str, given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.found = 0
        told = self._line()
        self.version: str = f"ultralytics {told['version']}, torch {told['torch']}"

    def __enter__(self) -> Self:
        """Ready to be asked."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def turn(self, pictures: int) -> float | None:
        """Seconds a picture over the next so many; None when there are no more."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{pictures}\n")
        self._process.stdin.flush()
        told = self._line()
        self.found += told["found"]
        return float(told["seconds"]) / pictures if told["played"] == pictures else None

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"vision: {_SCRIPT.name} ended with exit code {self._process.wait(30)}")
        told: dict[str, Any] = json.loads(line)
        return told
