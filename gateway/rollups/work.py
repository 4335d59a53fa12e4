"""What has to be computed anew: notes of many batches merged, and cut into slices. Pure.

Times are in minutes (or hours) since the Unix epoch; ranges leave their ends out. A *cell* is one minute (or hour) of
one series: one row of a rollup at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.rollups.dirty import Range
from gateway.rows import Ints

MINUTES_OF_HOUR: Final = 60
#: No range of one series in a slice is longer, so that a slice can be small whatever was replayed.
_LONGEST: Final = 500
_SERIES: Final = np.int64(1) << 40  # minutes and hours are far below


@dataclass(frozen=True, slots=True)
class Spans:
    """Ranges of single series, one a row: ``series[i]`` from ``first[i]`` until ``until[i]``; int64, shape (n,) each."""

    series: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    first: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    until: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        """How many ranges."""
        return len(self.series)

    def where(self, chosen: NDArray[np.bool_] | slice) -> Spans:
        """Some of them."""
        return Spans(self.series[chosen], self.first[chosen], self.until[chosen])

    def and_(self, other: Spans) -> Spans:
        """These and others."""
        mine, others = (self.series, self.first, self.until), (other.series, other.first, other.until)
        return Spans(*(np.concatenate(pair) for pair in zip(mine, others, strict=True)))

    def within(self, first: int, until: int) -> Spans:
        """What of them lies in a range."""
        found = Spans(self.series, np.maximum(self.first, first), np.minimum(self.until, until))
        return found.where(found.first < found.until)

    def without(self, ranges: Iterable[Range]) -> Spans:
        """What of them lies in none of these ranges."""
        left = self
        for first, until in ranges:
            before = Spans(left.series, left.first, np.minimum(left.until, first))
            after = Spans(left.series, np.maximum(left.first, until), left.until)
            both = before.and_(after)
            left = both.where(both.first < both.until)
        return left

    def joined(self) -> Spans:
        """The same cells as disjoint ranges, in the order of series and time."""
        some = self.where(self.first < self.until)
        order = np.lexsort((some.first, some.series))
        some = Spans(some.series[order], some.first[order], some.until[order])
        # A later series' ranges end after an earlier one's: one running maximum does for all.
        ends = np.maximum.accumulate(some.series * _SERIES + some.until)
        apart = np.ones(len(some), np.bool_)
        apart[1:] = (some.series * _SERIES + some.first)[1:] > ends[:-1]
        heads = np.flatnonzero(apart)
        if not len(heads):
            return some
        return Spans(some.series[heads], some.first[heads], np.maximum.reduceat(some.until, heads))

    def hours(self) -> Spans:
        """The hours that minutes lie in."""
        return Spans(
            self.series, self.first // MINUTES_OF_HOUR, (self.until - 1) // MINUTES_OF_HOUR + 1
        ).joined()

    def cut(self, longest: int = _LONGEST) -> Spans:
        """The same cells in ranges that are no longer."""
        parts = -(-(self.until - self.first) // longest)
        number = np.arange(int(parts.sum())) - np.repeat(np.cumsum(parts) - parts, parts)
        first = np.repeat(self.first, parts) + number * longest
        until = np.minimum(first + longest, np.repeat(self.until, parts))
        return Spans(np.repeat(self.series, parts), first, until)


@dataclass(frozen=True, slots=True)
class Work:
    """What to compute: ``everything`` of every series, and ``single`` of one each."""

    everything: list[Range] = field(default_factory=list)
    single: Spans = field(default_factory=Spans)


def gather(live: Iterable[Range], late: Spans, since: int) -> Work:
    """One work of many notes: overlaps joined, nothing twice, nothing before the minute ``since``.

    Args:
        live: ranges for every series.
        late: ranges of single ones.
        since: before it readings may be gone, so that computing anew would forget them.
    """
    everything = union((max(first, since), until) for first, until in live)
    kept = Spans(late.series, np.maximum(late.first, since), late.until)
    return Work(everything, kept.joined().without(everything))


class Area(NamedTuple):
    """Some minutes (or hours) of the series whose numbers are at least ``low`` and below ``high``."""

    first: int
    until: int
    low: int
    high: int


def areas(ranges: Iterable[Range], series: int, size: Callable[[], int]) -> Iterator[Area]:
    """Ranges of every series, numbered below ``series``, in slices of about ``size()`` cells, at least one cell each."""
    for first, until in ranges:
        at = first
        while at < until:
            if (cells := max(size(), 1)) >= series:
                end = min(at + cells // max(series, 1), until)
                yield Area(at, end, 0, series)
                at = end
                continue
            low = 0
            while low < series:
                high = min(low + max(size(), 1), series)
                yield Area(at, at + 1, low, high)
                low = high
            at += 1


def slices(single: Spans, size: Callable[[], int]) -> Iterator[Spans]:
    """Ranges of single series in slices of about ``size()`` cells, at least one range each."""
    single = single.cut()
    cells = np.cumsum(single.until - single.first)
    at = done = 0
    while at < len(single):
        end = max(int(np.searchsorted(cells, done + size(), side="right")), at + 1)
        yield single.where(slice(at, end))
        at, done = end, int(cells[end - 1])


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


def hours(ranges: Iterable[Range]) -> list[Range]:
    """The hours that minutes lie in."""
    return union((first // MINUTES_OF_HOUR, (until - 1) // MINUTES_OF_HOUR + 1) for first, until in ranges)
