"""Looks for fire and smoke for the scenes of one camera: the pixels' side of ``edge.vision.scenes.fire``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edge.camera.frame import Frame
from edge.vision.scenes.fire import FireScene
from edge.vision.scenes.scene import Scene
from models.fire import FireLook, FireSegmenter
from models.manifest import FireManifest
from models.store import open_as


def open_fire(model: str, directory: Path | None = None, threads: int = 1) -> FireSegmenter:
    """The segmenter of that model; raises InvalidError when its file is missing, changed or broken."""
    return FireSegmenter(open_as(FireManifest, model, directory), threads)


class FireWatch:
    """Looks whenever a fire scene's timer wants it; scenes of one model whose time has come share a look.

    Args:
        scenes: of one camera; the others than fire scenes are left alone.
        open_fire: gives the segmenter of a model's name; asked once for each scene.

    Raises:
        InvalidError: what opening raises.
    """

    def __init__(self, scenes: Sequence[Scene], open_fire: Callable[[str], FireSegmenter]) -> None:
        self._pairs: list[tuple[FireScene, FireSegmenter]] = []
        self.looks = 0
        for scene in scenes:
            if isinstance(scene, FireScene):
                segmenter = open_fire(scene.config.model)
                own = segmenter.manifest.thresholds
                own_threshold = own.fire if scene.config.category == "camera.fire" else own.smoke
                scene.threshold = scene.config.threshold or own_threshold
                self._pairs.append((scene, segmenter))

    def due(self, at_ms: int) -> bool:
        """Whether a frame is wanted now even if nothing moves in it."""
        return any(scene.due(at_ms) for scene, _ in self._pairs)

    @property
    def scenes(self) -> tuple[FireScene, ...]:
        """Those that it looks for."""
        return tuple(scene for scene, _ in self._pairs)

    def look(self, frame: Frame, *, hidden: bool = False) -> None:
        """Look for those whose time has come; ``hidden`` says that something hides the view, see ``FireScene.look``."""
        looks: dict[str, FireLook] = {}
        for scene, segmenter in self._pairs:
            if not scene.due(frame.captured_at):
                continue
            model = scene.config.model
            if model not in looks:
                self.looks += 1
                looks[model] = segmenter.look(frame.image)
            seen = looks[model]
            probability = seen.fire if scene.config.category == "camera.fire" else seen.smoke
            scene.look(probability, seen.brightness, frame.captured_at, hidden=hidden)
