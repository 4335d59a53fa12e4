"""The models of a box, each opened once for all its cameras."""

from __future__ import annotations

from pathlib import Path

from edge.vision.detector import Detector, OnnxDetector
from edge.vision.fires import open_fire
from edge.vision.helmets import open_judge
from edge.vision.waters import open_segmenter
from models.fire import FireSegmenter
from models.helmet import HelmetJudge
from models.store import open_model
from models.water import WaterSegmenter


class Detectors:
    """One session a model, opened when the first camera asks.

    Args:
        directory: where models that do not ship lie.
        threads: of each session.
    """

    def __init__(self, directory: Path | None, threads: int) -> None:
        self._directory = directory
        self.threads = threads
        self._opened: dict[str, Detector] = {}
        self._judges: dict[str, HelmetJudge] = {}
        self._segmenters: dict[str, WaterSegmenter] = {}
        self._singles: dict[str, Detector] = {}
        self._fires: dict[str, FireSegmenter] = {}

    def get(self, model: str) -> Detector:
        """The detector of that model; raises InvalidError when its file is missing, changed or broken."""
        if model not in self._opened:
            self._opened[model] = OnnxDetector(open_model(model, self._directory), threads=self.threads)
        return self._opened[model]

    def single(self, model: str) -> Detector:
        """The same on one thread, for several looks at once; raises as ``get`` does."""
        if model not in self._singles:
            self._singles[model] = OnnxDetector(open_model(model, self._directory), threads=1)
        return self._singles[model]

    def judge(self, model: str) -> HelmetJudge:
        """The judge of helmets of that model; raises as ``get`` does."""
        if model not in self._judges:
            self._judges[model] = open_judge(model, self._directory, threads=1)
        return self._judges[model]

    def segmenter(self, model: str) -> WaterSegmenter:
        """The segmenter of water of that model; raises as ``get`` does."""
        if model not in self._segmenters:
            self._segmenters[model] = open_segmenter(model, self._directory, threads=1)
        return self._segmenters[model]

    def fire(self, model: str) -> FireSegmenter:
        """The segmenter of fire and smoke of that model; raises as ``get`` does."""
        if model not in self._fires:
            self._fires[model] = open_fire(model, self._directory, threads=1)
        return self._fires[model]
