"""From configuration to scenes."""

from __future__ import annotations

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
