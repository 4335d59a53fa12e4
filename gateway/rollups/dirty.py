"""Which minutes a batch made dirty, so that they are computed anew. Pure.

Minutes and hours are counted from the Unix epoch; ranges leave their ends out. Nearly all readings are *live*: of
the minute in which they came, or the two before it. For those the range alone is noted, for every series, which
costs a batch one small row. The others are *late* (or of a fast clock): each series' minutes are named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from gateway.rows import Ints

MINUTE_MS: Final = 60_000
#: So many minutes back from its receipt a reading still counts as live.
LIVE_MINUTES: Final = 2
#: Late ranges of a series that are no further apart than this are computed as one.
_JOIN_MINUTES: Final = 10
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Touched:
    """What a batch wrote to: ``live`` minutes of any series, and of ``series[i]`` the minutes from … until."""

    live: Range | None
    series: list[int] = field(default_factory=list)
    late_from: list[int] = field(default_factory=list)
    late_until: list[int] = field(default_factory=list)


def touched(captured: Ints, received: Ints, starts: Ints, series_id: Ints) -> Touched:
    """The minutes of a batch's readings.

    Args:
        captured: capture times in ms since the Unix epoch, one a reading.
        received: times of receipt, one a reading.
        starts: where each group (the readings of one series in one packet) begins; at least one.
        series_id: one a group.
    """
    first = np.minimum.reduceat(captured, starts) // MINUTE_MS
    last = np.maximum.reduceat(captured, starts) // MINUTE_MS
    came = received[starts] // MINUTE_MS
    is_live = (first >= came - LIVE_MINUTES) & (last <= came)
    if is_live.all():
        return Touched((int(first.min()), int(last.max()) + 1))
    live = (int(first[is_live].min()), int(last[is_live].max()) + 1) if is_live.any() else None
    late = ~is_live
    return Touched(live, *_joined(series_id[late], first[late], last[late] + 1))


def _joined(series: Ints, first: Ints, until: Ints) -> tuple[list[int], list[int], list[int]]:
    """The ranges of each series, those that follow each other closely as one."""
    order = np.lexsort((first, series))
    series, first, until = series[order], first[order], until[order]
    apart = np.ones(len(series), bool)
    apart[1:] = (series[1:] != series[:-1]) | (first[1:] > until[:-1] + _JOIN_MINUTES)
    heads = np.flatnonzero(apart)
    return series[heads].tolist(), first[heads].tolist(), np.maximum.reduceat(until, heads).tolist()
