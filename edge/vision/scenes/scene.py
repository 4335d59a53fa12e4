"""What every scene is and says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.vision.tracker import Track

ScenePhase = Literal["start", "update", "end", "act"]


class Sighting(NamedTuple):
    """A track that has to do with an event, where it was then."""

    id: int
    label: str
    xyxy: tuple[float, float, float, float]

    @classmethod
    def of(cls, track: Track) -> Sighting:
        """The track as it stands now."""
        return cls(track.id, track.label, track.xyxy)


@dataclass(frozen=True, slots=True)
class SceneEvent:
    """Something that happened; every phase carries the whole state.

    Attributes:
        phase: of a condition ``start``, ``update`` or ``end``; ``act`` is over when it is said.
        scene: the id of the scene in the camera's configuration.
        category: code of ``common.wire.categories``.
        started_at, at: when it began and when this was so, in milliseconds since the Unix epoch.
        count: objects concerned now.
        peak: the most at any time (a condition), or how far it went (an act).
        tracks: the objects concerned now.
        detail: figures for people.
    """

    phase: ScenePhase
    scene: str
    category: str
    started_at: int
    at: int
    count: int
    peak: float
    tracks: tuple[Sighting, ...] = ()
    detail: dict[str, float | int | str] = field(default_factory=dict)


class Scene(Protocol):
    """A pure state machine over tracks."""

    @property
    def id(self) -> str:
        """Its name in the camera's configuration."""
        ...

    @property
    def outline(self) -> NDArray[np.float64]:
        """The part of the picture it watches: ``(N, 2)`` corners in shares of the picture."""
        ...

    def step(self, tracks: Sequence[Track], at_ms: int) -> list[SceneEvent]:
        """What happened up to ``at_ms``, given every track alive then; time does not run backwards."""
        ...

    def resize(self, width: int, height: int) -> None:
        """Say how large the pictures are, in pixels, before the first step and when it changes."""
        ...

    def restore(self, started_at: int) -> None:
        """Go on with a condition that was open when the box stopped; a scene of acts has nothing to do."""
        ...


def inside(outline: NDArray[np.float64], x: float, y: float) -> bool:
    """Whether a point lies within a polygon, by counting the edges a ray to the right crosses.

    A point on an edge belongs to one of the two areas that the edge divides, never to both.
    """
    following = np.roll(outline, -1, axis=0)
    straddles = (outline[:, 1] > y) != (following[:, 1] > y)
    rise = np.where(straddles, following[:, 1] - outline[:, 1], 1.0)
    crossing = outline[:, 0] + (y - outline[:, 1]) / rise * (following[:, 0] - outline[:, 0])
    return bool(np.count_nonzero(straddles & (x < crossing)) % 2)
