"""Going the wrong way along a lane: a passing act, said once for each who does it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.vision.scenes.config import WrongWayConfig
from edge.vision.scenes.scene import SceneEvent, Sighting, inside
from edge.vision.tracker import GroundPoint, Track

_STRAIGHTNESS = 0.6
"""Least distance between the ends of a way, as a share of its length: what only jitters goes nowhere."""


class WrongWayScene:
    """Looks at where each track stood within the lane during its latest stay there."""

    def __init__(self, config: WrongWayConfig) -> None:
        self.config = config
        self.outline: NDArray[np.float64] = np.asarray(config.lane, np.float64)
        self._size = (1, 1)
        self._said: set[int] = set()

    @property
    def id(self) -> str:
        """Its name in the camera's configuration."""
        return self.config.id

    def resize(self, width: int, height: int) -> None:
        """Say how large the pictures are."""
        self._size = (width, height)

    def restore(self, started_at: int) -> None:
        """An act has nothing to go on with."""

    def step(self, tracks: Sequence[Track], at_ms: int) -> list[SceneEvent]:
        """An act for each track that is now known to go the wrong way."""
        self._said &= {track.id for track in tracks}
        events = []
        for track in tracks:
            if (
                track.confirmed
                and track.last_seen_ms == at_ms
                and track.id not in self._said
                and track.label in self.config.labels
                and (event := self._judge(track, at_ms)) is not None
            ):
                self._said.add(track.id)
                events.append(event)
        return events

    def _judge(self, track: Track, at_ms: int) -> SceneEvent | None:
        config = self.config
        way = self._latest_stay(track.ground)
        if len(way) < 3 or way[-1].at_ms - way[0].at_ms < config.least_s * 1000:
            return None
        height = max(track.xyxy[3] - track.xyxy[1], 1.0)
        across, down = way[-1].x - way[0].x, way[-1].y - way[0].y
        distance = math.hypot(across, down)
        if distance < config.least_heights * height:
            return None
        length = sum(math.hypot(b.x - a.x, b.y - a.y) for a, b in itertools.pairwise(way))
        if distance < _STRAIGHTNESS * length:
            return None
        ahead_x, ahead_y = config.direction[0] * self._size[0], config.direction[1] * self._size[1]
        cosine = (across * ahead_x + down * ahead_y) / (distance * math.hypot(ahead_x, ahead_y))
        angle = math.degrees(math.acos(max(-1.0, min(1.0, -cosine))))
        if angle > config.widest_angle:
            return None
        return SceneEvent(
            phase="act",
            scene=self.id,
            category=config.category,
            started_at=way[0].at_ms,
            at=at_ms,
            count=1,
            peak=round(distance / height, 2),
            tracks=(Sighting.of(track),),
            detail={
                "label": track.label,
                "track": track.id,
                "heights": round(distance / height, 2),
                "seconds": round((way[-1].at_ms - way[0].at_ms) / 1000, 1),
                "angle": round(angle, 1),
            },
        )

    def _latest_stay(self, ground: Sequence[GroundPoint]) -> Sequence[GroundPoint]:
        """Where it stood since it last entered the lane."""
        width, height = self._size
        first = len(ground)
        while first > 0 and inside(
            self.outline, ground[first - 1].x / width, min(ground[first - 1].y / height, 1.0 - 1e-9)
        ):
            first -= 1
        return ground[first:]
