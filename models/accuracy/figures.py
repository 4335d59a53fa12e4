"""Figures with intervals. Near-duplicates come in groups, so the groups are drawn again and not the single pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and between what it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """``.975 (.962–.986)``."""
        value, low, high = (f"{one:.3f}".removeprefix("0") for one in (self.value, self.low, self.high))
        return f"{value} ({low}–{high})"


def area_under_curve(score: Floats, positive: Bools) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties counted half.

    Source: Mann and Whitney, 1947; Hanley and McNeil, 1982.
    """
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    wins = ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / (positive.sum() * (~positive).sum()))


def bootstrapped(
    groups: Sequence[str],
    measure: Callable[[NDArray[np.intp]], float],
    rounds: int = 1000,
    seed: int = 0,
) -> Figure:
    """A figure over all, with the interval of the figure over groups drawn with replacement.

    Args:
        groups: of each example.
        measure: the figure over the examples of these places; NaN where they do not allow one.
        rounds: drawings.
        seed: of the drawings.

    Source: the percentile bootstrap over clusters (Efron and Tibshirani, 1993).
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(member == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = [
        measure(np.concatenate([members[one] for one in rng.integers(0, len(names), len(names))]))
        for _ in range(rounds)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5]).tolist()
    return Figure(measure(np.arange(len(member))), low, high)
