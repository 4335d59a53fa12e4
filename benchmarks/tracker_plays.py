"""The ways in which ``benchmarks.tracker`` plays the labelled footage, and which of its frames may be tuned on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TUNED: Final = range(398)
SCORED: Final = range(398, 795)
DRAWS: Final = range(1, 13)
DROPPED: Final = "two in five dropped"
ONE_DRAW: Final = "two in five dropped, draw 1"


@dataclass(frozen=True, slots=True)
class Play:
    """Frames of the footage in order, and when each is said to have been taken.

    Attributes:
        name: of the play.
        fps: as a tracker is told.
        frames: number in the footage, milliseconds.
    """

    name: str
    fps: float
    frames: tuple[tuple[int, int], ...]

    @property
    def numbers(self) -> list[int]:
        """Of the frames shown."""
        return [frame for frame, _ in self.frames]


def plays(frames: range, draws: Sequence[int] = DRAWS) -> dict[str, list[Play]]:
    """The ways in which the same footage is played, by name: each one play, or several of which the mean is told."""
    every = tuple((n, n * 100) for n in frames)
    drawn = [_draw(every, seed) for seed in draws]
    return {
        "every frame": [Play("every frame", 10.0, every)],
        "every second": [Play("every second", 5.0, every[::2])],
        DROPPED: drawn,
        ONE_DRAW: drawn[:1],
        "as if at 25": [Play("as if at 25", 25.0, tuple((n, n * 40) for n in frames))],
    }


def _draw(every: tuple[tuple[int, int], ...], seed: int) -> Play:
    """Two frames in five dropped by chance."""
    chance = random.Random(seed)
    return Play(f"{DROPPED}, draw {seed}", 6.0, tuple(one for one in every if chance.random() < 0.6))
