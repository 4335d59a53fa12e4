"""From configuration to scenes."""

from __future__ import annotations

from collections.abc import Sequence

from common.runtime.errors import InvalidError, TransientError
from edge.vision.scenes.config import (
    FireConfig,
    HelmetConfig,
    SceneConfig,
    WaterConfig,
    WrongWayConfig,
    ZoneConfig,
    outside,
)
from edge.vision.scenes.fire import FireScene
from edge.vision.scenes.helmet import HelmetScene
from edge.vision.scenes.scene import Scene
from edge.vision.scenes.water import WaterScene
from edge.vision.scenes.wrong_way import WrongWayScene
from edge.vision.scenes.zone import ZoneScene


class OutsideError(TransientError):
    """A scene is drawn outside the picture: until somebody draws it anew."""


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


def check_drawn(scenes: Sequence[SceneConfig]) -> None:
    """Let no camera look whose scenes lie outside its picture: its hours would pass for hours in which nothing happened.

    Raises:
        OutsideError: ``scene.outside``, with everything that is.
    """
    wrong = list(outside(scenes))
    if not wrong:
        return
    ids = sorted({scenes[number].id for one in wrong if isinstance(number := one.at[1], int)})
    places = "; ".join(f"{'.'.join(map(str, one.at))}: {one.message}" for one in wrong)
    raise OutsideError(
        "scene.outside",
        f"expected scene {', '.join(ids)} within the picture, found {places}",
        "draw it anew in the box's file; `drumtower edge check` names the lines, and no restart is needed",
    )


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
