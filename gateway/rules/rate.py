"""How fast readings change, of many series at once. Pure. ``kinds.Rate`` says what the number is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.rules.columns import (
    Bools,
    Floats,
    Ints,
    LaneGroups,
    LaneRows,
    Records,
    Summary,
    newest_until,
    push,
)
from gateway.rules.kinds import RATE_PARTS, Rate

#: Thirteen twelfths can lie within a span of the newest reading; the one before them is what it is compared with.
_KEPT: Final = RATE_PARTS + 2
#: The first readings of the newest twelfths that have any, oldest first; ``at`` is -1 where there is none.
RECORD: Final = np.dtype([("last_at", "<i8"), ("at", "<i8", (_KEPT,)), ("value", "<f8", (_KEPT,))])


def blank() -> Records:
    """Of a series that nothing is known of."""
    record = np.zeros(1, RECORD)
    record["last_at"] = record["at"] = -1
    return record


class RateLanes:
    """The rates of lanes of one kind; ``of`` are the rules' measures, ``raise_at`` what a rate must reach, upward."""

    record = RECORD
    blank = staticmethod(blank)

    def __init__(self, of: Sequence[Rate], raise_at: Sequence[float]) -> None:
        self._raise_at = np.array(raise_at, np.float64)
        self._span = np.array([one.span_ms for one in of], np.int64)
        self._part = np.maximum(self._span // RATE_PARTS, 1)
        self._per = np.array([one.per_ms for one in of], np.int64)

    def calm(self, lanes: LaneGroups, summary: Summary, records: Records, quiet: Bools) -> Bools:
        """Of which lanes no rate can matter; the records of those go on.

        A rate is no more than the whole range of what it could be taken of, in the shortest time.
        """
        group, rank, rule = lanes.group, lanes.rank, lanes.rule
        part = summary.earliest[group] // self._part[rule][rank]
        whole = summary.latest[group] // self._part[rule][rank] == part
        blank = records["at"] < 0
        low = np.where(blank, np.inf, records["value"]).min(axis=1)
        high = np.where(blank, -np.inf, records["value"]).max(axis=1)
        low = np.minimum(low, np.minimum.reduceat(summary.least[group], lanes.starts))
        high = np.maximum(high, np.maximum.reduceat(summary.greatest[group], lanes.starts))
        with np.errstate(over="ignore"):
            most = (high - low) / self._span[rule] * self._per[rule]
        calm = quiet & lanes.ordered & np.logical_and.reduceat(whole, lanes.starts)
        calm &= most < self._raise_at[rule]
        before = np.empty_like(part)
        before[1:] = part[:-1]
        before[lanes.starts] = records["at"][:, -1] // self._part[rule]  # of a blank one: before all parts
        new = np.flatnonzero((part != before) & calm[rank])
        records["at"] = push(records["at"], rank[new], summary.earliest[group[new]])
        records["value"] = push(records["value"], rank[new], summary.first[group[new]])
        latest = summary.latest[group[lanes.ends - 1]]
        records["last_at"] = np.where(calm, latest, records["last_at"])
        return calm

    def measure(self, rows: LaneRows, records: Records) -> Floats:
        """The rate at each row, NaN where there is none; ``records`` (of ``rows.lanes``) go on to the last row."""
        span, rank, at = self._span[rows.rule], rows.rank, rows.at
        part = at // self._part[rows.rule][rank]
        before = np.empty_like(part)
        before[1:] = part[:-1]
        newest = records["at"][:, -1]
        before[rows.starts] = np.where(newest < 0, -1, newest // self._part[rows.rule])
        first = np.flatnonzero(part != before)
        wanted = at - span[rank]
        anchor_at, anchor = self._in_records(records, rank, wanted)
        if len(first) and (wanted >= at[rows.starts][rank]).any():
            place = newest_until(rank[first], at[first], rank, wanted)
            found = (place >= 0) & (rank[first][place] == rank)
            anchor_at = np.where(found, at[first][place], anchor_at)
            anchor = np.where(found, rows.value[first][place], anchor)
        known = (anchor_at >= 0) & (at - anchor_at <= 2 * span[rank])
        with np.errstate(over="ignore", invalid="ignore"):
            rate = (rows.value - anchor) / np.where(known, at - anchor_at, 1) * self._per[rows.rule][rank]
        records["at"] = push(records["at"], rank[first], at[first])
        records["value"] = push(records["value"], rank[first], rows.value[first])
        records["last_at"] = at[rows.ends - 1]
        return np.where(known & np.isfinite(rate), rate, np.nan)

    @staticmethod
    def _in_records(records: Records, rank: Ints, wanted: Ints) -> tuple[Ints, Floats]:
        """When and what the newest kept reading was that is old enough; -1 and NaN where none is."""
        kept_at = records["at"]
        ranks = np.repeat(np.arange(len(records)), _KEPT)
        place = newest_until(ranks, kept_at.reshape(-1), rank, wanted)
        found = (place >= 0) & (place // _KEPT == rank)
        place = np.where(found, place, 0)
        at = np.where(found, kept_at.reshape(-1)[place], -1)
        return at, np.where(at >= 0, records["value"].reshape(-1)[place], np.nan)
