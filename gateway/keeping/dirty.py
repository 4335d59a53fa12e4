"""Which minutes have to be computed anew: noted by each batch, merged and cut into pieces by who computes. Pure.

Minutes and hours are counted from the Unix epoch; ranges leave their ends out. Nearly all readings are *live*: of
the minute in which they came, or the two before it. For those the range alone is noted, for every series, which
costs a batch one small row. The others are *late* (or of a fast clock): each series' minutes are named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from gateway.rows import Ints

MINUTE_MS: Final = 60_000
MINUTES_OF_HOUR: Final = 60
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


@dataclass(slots=True)
class Work:
    """Minutes to compute: ``everything`` of every series, ``single`` of one."""

    everything: list[Range] = field(default_factory=list)
    single: dict[int, list[Range]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.everything or self.single)

    def minutes(self) -> int:
        """How many minutes of how many series, those of every series counted once."""
        return _length(self.everything) + sum(_length(ranges) for ranges in self.single.values())


def gather(live: Iterable[Range], late: Iterable[tuple[int, int, int]], since: int) -> Work:
    """One work of many notes: overlaps joined, nothing twice, nothing before the minute ``since``.

    Args:
        live: ranges for every series.
        late: ``(series_id, from, until)``.
        since: before it readings may be gone, so that computing anew would forget them.
    """
    everything = union((max(first, since), until) for first, until in live)
    by_series: dict[int, list[Range]] = defaultdict(list)
    for series, first, until in late:
        by_series[series].append((max(first, since), until))
    single = {series: subtract(union(ranges), everything) for series, ranges in sorted(by_series.items())}
    return Work(everything, {series: ranges for series, ranges in single.items() if ranges})


def split(work: Work, budget: int) -> tuple[Work, Work]:
    """As much as a budget of series-minutes allows, at least something, and the rest.

    A minute of every series counts as ``EVERY_SERIES`` single ones.
    """
    now, rest = Work(), Work()
    for first, until in work.everything:
        fits = max(0 if now else 1, min(until - first, budget // EVERY_SERIES))
        budget -= fits * EVERY_SERIES
        if fits:
            now.everything.append((first, first + fits))
        if first + fits < until:
            rest.everything.append((first + fits, until))
    for series, ranges in work.single.items():
        for first, until in ranges:
            fits = max(0 if now else 1, min(until - first, budget))
            budget -= fits
            if fits:
                now.single.setdefault(series, []).append((first, first + fits))
            if first + fits < until:
                rest.single.setdefault(series, []).append((first + fits, until))
    return now, rest


#: What a minute of every series counts in a budget of series-minutes.
EVERY_SERIES: Final = 5000


def union(ranges: Iterable[Range]) -> list[Range]:
    """Ranges as disjoint ones in order; empty ones vanish."""
    found: list[Range] = []
    for first, until in sorted(ranges):
        if first >= until:
            continue
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], until))
        else:
            found.append((first, until))
    return found


def subtract(ranges: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """What of disjoint ordered ranges lies in none of others that are disjoint and ordered as well."""
    left = []
    others = list(taken)
    for first, until in ranges:
        at = first
        for start, end in others:
            if end <= at or start >= until:
                continue
            if start > at:
                left.append((at, start))
            at = max(at, end)
        if at < until:
            left.append((at, until))
    return left


def hours(ranges: Iterable[Range]) -> list[Range]:
    """The hours that minutes lie in."""
    return union((first // MINUTES_OF_HOUR, (until - 1) // MINUTES_OF_HOUR + 1) for first, until in ranges)


def rows_of(single: Mapping[int, Iterable[Range]]) -> tuple[list[int], list[int], list[int]]:
    """The ranges of each series as three columns."""
    flat = [(series, *span) for series, ranges in single.items() for span in ranges]
    return [row[0] for row in flat], [row[1] for row in flat], [row[2] for row in flat]


def _length(ranges: Iterable[Range]) -> int:
    return sum(until - first for first, until in ranges)
