"""How fast readings change, of many series at once. Pure. ``kinds.Rate`` says what the number is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from gateway.rules.columns import Floats, Ints, LaneRows, Records, newest_until, push
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
    """The rates of lanes of one kind; ``of`` are the rules' measures."""

    record = RECORD
    blank = staticmethod(blank)

    def __init__(self, of: Sequence[Rate]) -> None:
        self._span = np.array([one.span_ms for one in of], np.int64)
        self._part = np.maximum(self._span // RATE_PARTS, 1)
        self._per = np.array([one.per_ms for one in of], np.int64)

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
