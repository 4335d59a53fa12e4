"""Going the wrong way along a lane: a passing act, said once for each who does it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from edge.vision.scenes.config import WrongWayConfig
from edge.vision.scenes.scene import Outline, SceneEvent, Sighting
from edge.vision.tracker import GroundPoint, Track

_STRAIGHTNESS = 0.6
"""Least distance between the ends of a way, as a share of its length: what only jitters goes nowhere."""

_GONE = 0.6
"""Of ``least_s``, so much has to lie between a tenth and nine tenths of the way. Who is sooner there did not go it: the
camera was knocked, or the track leapt to somebody else."""


class WrongWayScene:
    """Looks at where each track stood within the lane during its latest stay there."""

    def __init__(self, config: WrongWayConfig) -> None:
        self.config = config
        self.outline = Outline(config.lane)
        self._size = (1, 1)
        self._said: set[int] = set()
        self._entered: dict[int, int] = {}

    @property
    def id(self) -> str:
        """Its name in the camera's configuration."""
        return self.config.id

    def resize(self, width: int, height: int) -> None:
        """Say how large the pictures are; whoever was on the way in the old ones is forgotten, and so is his number."""
        self._size = (width, height)
        self._said.clear()
        self._entered.clear()

    def restore(self, started_at: int) -> None:
        """An act has nothing to go on with."""

    def pause(self) -> None:
        """Where somebody stood is kept with its instant by the track: there is nothing to forget."""

    def step(self, tracks: Sequence[Track], at_ms: int) -> list[SceneEvent]:
        """An act for each track that is now known to go the wrong way."""
        alive = {track.id for track in tracks}
        self._said &= alive
        self._entered = {name: at for name, at in self._entered.items() if name in alive}
        events = []
        for track in tracks:
            if track.last_seen_ms != at_ms or not track.ground:
                continue
            self._follow(track, at_ms)
            if (
                track.confirmed
                and track.id not in self._said
                and track.label in self.config.labels
                and (event := self._judge(track, at_ms)) is not None
            ):
                self._said.add(track.id)
                events.append(event)
        return events

    def _follow(self, track: Track, at_ms: int) -> None:
        """Remember since when it has been in the lane."""
        width, height = self._size
        if not self.outline.holds(track.ground[-1].x / width, track.ground[-1].y / height):
            self._entered.pop(track.id, None)
        else:
            self._entered.setdefault(track.id, at_ms)

    def _judge(self, track: Track, at_ms: int) -> SceneEvent | None:
        config = self.config
        entered = self._entered.get(track.id)
        if entered is None:
            return None
        way = [point for point in track.ground if point.at_ms >= entered]
        if len(way) < 3 or way[-1].at_ms - way[0].at_ms < config.least_s * 1000:
            return None
        height = max(track.xyxy[3] - track.xyxy[1], 1.0)
        across, down = way[-1].x - way[0].x, way[-1].y - way[0].y
        distance = math.hypot(across, down)
        if distance < config.least_heights * height:
            return None
        length = sum(math.hypot(b.x - a.x, b.y - a.y) for a, b in itertools.pairwise(way))
        if distance < _STRAIGHTNESS * length or _gone_ms(way, across, down) < _GONE * config.least_s * 1000:
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


def _gone_ms(way: Sequence[GroundPoint], across: float, down: float) -> int:
    """From when it was last within a tenth of its way to when it first had nine tenths behind it; negative for who swayed."""
    whole = across**2 + down**2
    done = [
        (point.at_ms, ((point.x - way[0].x) * across + (point.y - way[0].y) * down) / whole) for point in way
    ]
    left = max(at_ms for at_ms, share in done if share <= 0.1)
    return min(at_ms for at_ms, share in done if share >= 0.9) - left
