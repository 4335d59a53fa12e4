"""What every scene is and says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
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
    def outline(self) -> Outline:
        """The part of the picture it watches."""
        ...

    def step(self, tracks: Sequence[Track], at_ms: int) -> list[SceneEvent]:
        """What happened up to ``at_ms``, given every track alive then; time does not run backwards."""
        ...

    def resize(self, width: int, height: int) -> None:
        """Say how large the pictures are, in pixels, before the first step and when it changes."""
        ...

    def pause(self) -> None:
        """Nobody could look for a while before the next step: what was not said yet has not gone on meanwhile."""
        ...

    def restore(self, started_at: int) -> None:
        """Go on with a condition that was open when the box stopped; a scene of acts has nothing to do."""
        ...


class Outline:
    """A polygon in shares of the picture that can be asked about points."""

    def __init__(self, corners: Sequence[tuple[float, float]]) -> None:
        self.corners = tuple(corners)
        self._edges = tuple(zip(self.corners, self.corners[1:] + self.corners[:1], strict=True))

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies within, by counting the edges that a ray to the right crosses.

        A point on an edge belongs to one of the two areas that the edge divides, never to both. Points
        beyond the picture's lower edge are taken as on it: there stand the feet of whoever is cut off.
        """
        y = min(y, 1.0 - 1e-9)
        within = False
        for (x1, y1), (x2, y2) in self._edges:
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                within = not within
        return within

    def cells(self, rows: int, columns: int) -> NDArray[np.bool_]:
        """Of a map over the whole picture, the cells whose middle lies within: ``(rows, columns)``.

        An area so small or narrow that it holds no cell's middle has every cell that it touches: it would be watched
        nowhere else, and nobody would be told.
        """
        within = np.array(
            [
                [self.holds((column + 0.5) / columns, (row + 0.5) / rows) for column in range(columns)]
                for row in range(rows)
            ],
            np.bool_,
        ).reshape(rows, columns)
        return within if within.any() else self._crossed(rows, columns)

    def _crossed(self, rows: int, columns: int) -> NDArray[np.bool_]:
        """The cells that the edges run through: what holds no cell's middle has no others."""
        crossed = np.zeros((rows, columns), np.bool_)
        for (x1, y1), (x2, y2) in self._edges:
            cuts = {0.0, 1.0, *_cuts(x1, x2, columns), *_cuts(y1, y2, rows)}
            for before, after in pairwise(sorted(cuts)):
                middle = (before + after) / 2
                column = int((x1 + (x2 - x1) * middle) * columns)
                row = int((y1 + (y2 - y1) * middle) * rows)
                crossed[min(row, rows - 1), min(column, columns - 1)] = True
        return crossed


def _cuts(begin: float, end: float, cells: int) -> Iterator[float]:
    """Where, as a share of the way, an edge passes from one cell into the next, along one axis."""
    if begin != end:
        for line in range(1, cells):
            if 0 < (share := (line / cells - begin) / (end - begin)) < 1:
                yield share
