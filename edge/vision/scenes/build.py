"""From configuration to scenes."""

from __future__ import annotations

from collections.abc import Sequence

from common.runtime.errors import InvalidError
from edge.vision.scenes.config import (
    FireConfig,
    HelmetConfig,
    SceneConfig,
    WaterConfig,
    WrongWayConfig,
    ZoneConfig,
)
from edge.vision.scenes.fire import FireScene
from edge.vision.scenes.helmet import HelmetScene
from edge.vision.scenes.scene import Scene
from edge.vision.scenes.water import WaterScene
from edge.vision.scenes.wrong_way import WrongWayScene
from edge.vision.scenes.zone import ZoneScene


def build_scene(config: SceneConfig) -> Scene:
    """The state machine that a configuration asks for."""
    match config:
        case ZoneConfig():
            return ZoneScene(config)
        case WrongWayConfig():
            return WrongWayScene(config)
        case HelmetConfig():
            return HelmetScene(config)
        case WaterConfig():
            return WaterScene(config)
        case FireConfig():
            return FireScene(config)


def check_labels(scenes: Sequence[SceneConfig], known: Sequence[str], model: str) -> None:
    """Let no scene wait for what its detector can never say.

    A scene whose labels somebody wrote down needs each of them; one that has the usual ones needs any.

    Args:
        scenes: of a camera.
        known: labels that its detector may give.
        model: its name.

    Raises:
        InvalidError: ``model.labels``, for the first scene that would wait in vain.
    """
    for scene in scenes:
        if isinstance(scene, HelmetConfig):
            lacking = [label for label in ("person",) if label not in known]
            if not set(scene.vehicles) & set(known):
                lacking += scene.vehicles
        elif isinstance(scene, ZoneConfig | WrongWayConfig):
            lacking = [label for label in scene.labels if label not in known]
            if "labels" not in scene.model_fields_set and len(lacking) < len(scene.labels):
                lacking = []
        else:
            continue
        if lacking:
            raise InvalidError(
                "model.labels",
                f"expected the detector {model} to know what scene {scene.id} watches for: {', '.join(lacking)}; "
                f"found {', '.join(known)}",
                "choose a model that knows them, or take them out of the scene's labels",
            )
