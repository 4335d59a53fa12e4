"""How little readings moved, of many series at once. Pure. ``kinds.Stuck`` says what the number is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gateway.rules.columns import (
    Bools,
    Floats,
    Ints,
    LaneGroups,
    LaneRows,
    Records,
    Summary,
    push,
)
from gateway.rules.kinds import STUCK_PARTS, Stuck

_KEPT: Final = STUCK_PARTS + 1
#: The newest twelfths that have any, oldest first, with their least and greatest; ``part`` is -1 where there is none.
#: ``since`` is when readings began to come without a pause.
RECORD: Final = np.dtype(
    [
        ("last_at", "<i8"),
        ("since", "<i8"),
        ("part", "<i8", (_KEPT,)),
        ("least", "<f8", (_KEPT,)),
        ("greatest", "<f8", (_KEPT,)),
    ]
)


def blank() -> Records:
    """Of a series that nothing is known of."""
    record = np.zeros(1, RECORD)
    record["last_at"] = record["part"] = -1
    return record


class StuckLanes:
    """The ranges of lanes of one kind; ``of`` are the rules' measures, ``epsilon`` what counts as unmoved."""

    record = RECORD
    blank = staticmethod(blank)

    def __init__(self, of: Sequence[Stuck], epsilon: Sequence[float]) -> None:
        self._after = np.array([one.after_ms for one in of], np.int64)
        self._part = np.maximum(self._after // STUCK_PARTS, 1)
        self._gap = np.array([one.gap_ms for one in of], np.int64)
        self._epsilon = np.array(epsilon, np.float64)

    def calm(self, lanes: LaneGroups, summary: Summary, records: Records, quiet: Bools) -> Bools:
        """Which lanes cannot stand still for long enough in this batch; the records of those go on.

        Either their readings have not come for that long yet, or what is kept moved by enough and stays within the
        window of every reading of the batch.
        """
        group, rank, rule = lanes.group, lanes.rank, lanes.rule
        part = summary.earliest[group] // self._part[rule][rank]
        whole = summary.latest[group] // self._part[rule][rank] == part
        latest, known = summary.latest[group[lanes.ends - 1]], records["last_at"] >= 0
        ranks = np.arange(len(lanes.lanes))
        low, high = _kept_range(records, ranks, part[lanes.ends - 1])
        moves = high - low > self._epsilon[rule]
        soon = latest - records["since"] < self._after[rule]
        calm: Bools = quiet & lanes.ordered & known & (latest - records["last_at"] <= self._gap[rule])
        calm &= np.logical_and.reduceat(whole, lanes.starts) & (moves | soon)
        mine = calm[rank]
        if mine.any():
            group, rank, part = group[mine], rank[mine], part[mine]
            begins = np.ones(len(part), bool)
            begins[1:] = (part[1:] != part[:-1]) | (rank[1:] != rank[:-1])
            starts = np.flatnonzero(begins)
            least = np.minimum.reduceat(summary.least[group], starts)
            greatest = np.maximum.reduceat(summary.greatest[group], starts)
            self._go_on(records, rank[starts], part[starts], least, greatest)
            records["last_at"] = np.where(calm, latest, records["last_at"])
        return calm

    def measure(self, rows: LaneRows, records: Records) -> Floats:
        """The range at each row, NaN while unknown; ``records`` (of ``rows.lanes``) go on to the last row."""
        rank = rows.rank
        part = rows.at // self._part[rows.rule][rank]
        begins = np.ones(len(part), bool)
        begins[1:] = (part[1:] != part[:-1]) | (rank[1:] != rank[:-1])
        starts = np.flatnonzero(begins)
        segment = np.cumsum(begins) - 1
        least = _running(np.minimum, rows.value, begins)
        greatest = _running(np.maximum, rows.value, begins)
        ends = np.append(starts[1:], len(part)) - 1
        low, high = self._before(records, rank[starts], part[starts], least[ends], greatest[ends])
        span = np.maximum(greatest, high[segment]) - np.minimum(least, low[segment])
        since = self._since(rows, records)
        known = (rows.at - since >= self._after[rows.rule][rank]) | (span > self._epsilon[rows.rule][rank])
        self._go_on(records, rank[starts], part[starts], least[ends], greatest[ends])
        records["last_at"], records["since"] = rows.at[rows.ends - 1], since[rows.ends - 1]
        return np.where(known, span, np.nan)

    def _since(self, rows: LaneRows, records: Records) -> Ints:
        """When readings began to come without a pause, at each row."""
        before = np.empty_like(rows.at)
        before[1:] = rows.at[:-1]
        before[rows.starts] = records["last_at"]
        restarts: Bools = (before < 0) | (rows.at - before > self._gap[rows.rule][rows.rank])
        mark = np.zeros(len(rows.at), np.int64)
        mark[restarts] = np.flatnonzero(restarts)
        mark[rows.starts] = rows.starts
        newest = np.maximum.accumulate(mark)
        return np.where(restarts[newest], rows.at[newest], records["since"][rows.rank])

    @staticmethod
    def _before(
        records: Records, rank: Ints, part: Ints, least: Floats, greatest: Floats
    ) -> tuple[Floats, Floats]:
        """Least and greatest of what came before each segment, within its window; infinities where nothing did."""
        low, high = _kept_range(records, rank, part)
        for back in range(1, min(STUCK_PARTS, len(part) - 1) + 1):
            near = (rank[back:] == rank[:-back]) & (part[:-back] >= part[back:] - STUCK_PARTS)
            if not near.any():
                break
            low[back:] = np.where(near, np.minimum(low[back:], least[:-back]), low[back:])
            high[back:] = np.where(near, np.maximum(high[back:], greatest[:-back]), high[back:])
        return low, high

    @staticmethod
    def _go_on(records: Records, rank: Ints, part: Ints, least: Floats, greatest: Floats) -> None:
        known = records["part"][rank, -1] == part
        mine = rank[known]
        records["least"][mine, -1] = np.minimum(records["least"][mine, -1], least[known])
        records["greatest"][mine, -1] = np.maximum(records["greatest"][mine, -1], greatest[known])
        new = ~known
        records["part"] = push(records["part"], rank[new], part[new])
        records["least"] = push(records["least"], rank[new], least[new])
        records["greatest"] = push(records["greatest"], rank[new], greatest[new])


def _kept_range(records: Records, rank: Ints, part: Ints) -> tuple[Floats, Floats]:
    """Least and greatest of what is kept of a lane and within the window that ends with a part; infinities if nothing."""
    within = records["part"][rank] >= np.maximum(part - STUCK_PARTS, 0)[:, None]
    low = np.where(within, records["least"][rank], np.inf).min(axis=1)
    high = np.where(within, records["greatest"][rank], -np.inf).max(axis=1)
    return low, high


def _running(least: Any, values: Floats, begins: Bools) -> Floats:
    """The least (or greatest) so far of each segment, by doubling steps (Hillis and Steele, 1986)."""
    found = values.copy()
    starts = np.flatnonzero(begins)
    into = np.arange(len(values)) - np.repeat(starts, np.diff(np.append(starts, len(values))))
    reach, longest = 1, int(into.max())
    while reach <= longest:
        found[reach:] = np.where(into[reach:] >= reach, least(found[reach:], found[:-reach]), found[reach:])
        reach *= 2
    return found
