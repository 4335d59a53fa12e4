"""What scenes have in common that look at a map by the clock, whether anything moves or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from edge.vision.scenes.config import FireConfig, WaterConfig
from edge.vision.scenes.scene import Outline, SceneEvent
from edge.vision.tracker import Track

C = TypeVar("C", FireConfig, WaterConfig)


class TimedScene(Generic[C]):
    """When it looks, whether its condition lasts, and what waits to be told."""

    def __init__(self, config: C, outline: Outline) -> None:
        self.config: C = config
        self.outline = outline
        self.threshold = 0.5
        self._looked_at: int | None = None
        self._started_at: int | None = None
        self._said_at: int | None = None
        self._peak = 0.0
        self._waiting: list[SceneEvent] = []

    @property
    def id(self) -> str:
        """Its name in the camera's configuration."""
        return self.config.id

    @property
    def is_open(self) -> bool:
        """Whether the condition lasts."""
        return self._started_at is not None

    def resize(self, width: int, height: int) -> None:
        """Nothing to do: everything here is in shares of the picture."""

    def pause(self) -> None:
        """Nothing to do: looks too far apart are not in a row."""

    def due(self, at_ms: int) -> bool:
        """Whether a look is wanted now; after a clock that ran backwards it is."""
        since = None if self._looked_at is None else at_ms - self._looked_at
        return since is None or since < 0 or since >= self.config.every_s * 1000

    def step(self, tracks: Sequence[Track], at_ms: int) -> list[SceneEvent]:
        """What followed from the looks since the last step; tracks have nothing to do with it."""
        del tracks, at_ms
        waiting, self._waiting = self._waiting, []
        return waiting
