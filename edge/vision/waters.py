"""Looks at the road for the water scenes of one camera: the pixels' side of ``edge.vision.scenes.water``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from common.runtime.errors import InvalidError
from edge.camera.frame import Frame, Image
from edge.vision.scenes.scene import Scene
from edge.vision.scenes.water import WaterScene
from models.manifest import WaterManifest
from models.store import open_as
from models.water import WaterSegmenter


def open_segmenter(model: str, directory: Path | None = None, threads: int = 1) -> WaterSegmenter:
    """The segmenter of that model; raises InvalidError when its file is missing, changed or broken."""
    return WaterSegmenter(open_as(WaterManifest, model, directory), threads)


class WaterWatch:
    """Looks whenever a water scene's timer wants it.

    Args:
        scenes: of one camera; the others than water scenes are left alone.
        open_segmenter: gives the segmenter of a model's name; asked once for each scene.

    Raises:
        InvalidError: ``camera.dry_picture`` when a picture of the dry road cannot be read, and what opening raises.
    """

    def __init__(self, scenes: Sequence[Scene], open_segmenter: Callable[[str], WaterSegmenter]) -> None:
        self._pairs: list[tuple[WaterScene, WaterSegmenter]] = []
        self.looks = 0
        for scene in scenes:
            if isinstance(scene, WaterScene):
                segmenter = open_segmenter(scene.config.model)
                own = segmenter.manifest.thresholds
                own_threshold = own.known if scene.config.dry_pictures else own.water
                scene.threshold = scene.config.threshold or own_threshold
                scene.extent = own.extent
                for path in scene.config.dry_pictures:
                    scene.learn_dry(segmenter.probability(dry_picture(path)))
                self._pairs.append((scene, segmenter))

    def due(self, at_ms: int) -> bool:
        """Whether a frame is wanted now even if nothing moves in it."""
        return any(scene.due(at_ms) for scene, _ in self._pairs)

    def look(self, frame: Frame) -> None:
        """Look for those whose time has come."""
        for scene, segmenter in self._pairs:
            if scene.due(frame.captured_at):
                self.looks += 1
                scene.look(segmenter.probability(frame.image), frame.captured_at)


def dry_picture(path: Path) -> Image:
    """A picture of the dry road, as pixels (height × width × 3, BGR).

    Raises:
        InvalidError: ``camera.dry_picture`` when there is none.
    """
    found = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if found is None:
        raise InvalidError(
            "camera.dry_picture",
            f"expected a picture of the dry road at {path}, found none",
            "take one with the camera as it hangs, or leave it out of dry_pictures",
        )
    return np.asarray(found, np.uint8)
