"""What readings add up to over a window, of many series at once. Pure. ``kinds.WindowSum`` says what the number is."""

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
from gateway.rules.kinds import WINDOW_PARTS, WindowSum

#: The newest sixtieths of the window that have any, oldest first; ``part`` is -1 where there is none.
RECORD: Final = np.dtype(
    [
        ("last_at", "<i8"),
        ("last_value", "<f8"),
        ("part", "<i8", (WINDOW_PARTS,)),
        ("amount", "<i8", (WINDOW_PARTS,)),
    ]
)
#: A sum is of whole numbers: so many to one, and at most so much a reading, so that 64 bits hold a day of them.
INTENSITY_STEPS: Final = 10_000
AMOUNT_STEPS: Final = 1_000_000
MOST_INTENSE: Final = 5e6
MOST_AT_ONCE: Final = 1e6
MOST_COUNTED: Final = 1e9


def blank() -> Records:
    """Of a series that nothing is known of."""
    record = np.zeros(1, RECORD)
    record["last_at"] = record["part"] = -1
    return record


class WindowLanes:
    """The sums of lanes of one kind; ``of`` are the rules' measures."""

    record = RECORD
    blank = staticmethod(blank)

    def __init__(self, of: Sequence[WindowSum]) -> None:
        self._part = np.array([max(one.window_ms // WINDOW_PARTS, 1) for one in of], np.int64)
        self._gap = np.array([one.gap_ms for one in of], np.int64)
        self._intensity = np.array([one.of == "intensity" for one in of], bool)
        self._counter = np.array([one.of == "counter" for one in of], bool)
        self._steps = np.array(
            [INTENSITY_STEPS * one.per_ms if one.of == "intensity" else AMOUNT_STEPS for one in of],
            np.float64,
        )

    @staticmethod
    def calm(lanes: LaneGroups, summary: Summary, records: Records, quiet: Bools) -> Bools:  # noqa: ARG004
        """Of which lanes no sum can matter: every reading counts."""
        return np.zeros(len(lanes.lanes), bool)

    def measure(self, rows: LaneRows, records: Records) -> Floats:
        """The sum at each row; ``records`` (of ``rows.lanes``) go on to the last row."""
        rank = rows.rank
        amount = self._amounts(rows, records)
        part = rows.at // self._part[rows.rule][rank]
        total = np.cumsum(amount)  # may wrap around: only differences count
        before_lane = (total - amount)[rows.starts]
        within = total - before_lane[rank]
        oldest = part - WINDOW_PARTS  # the last part that is out of the window
        if (part[rows.starts][rank] <= oldest).any():
            place = newest_until(rank, part, rank, oldest)
            out = (place >= 0) & (rank[place] == rank)
            within = np.where(out, total - total[place], within)
        within += self._in_records(records, rank, oldest)
        self._go_on(rows, records, part, amount)
        return within / self._steps[rows.rule][rank]

    def _amounts(self, rows: LaneRows, records: Records) -> Ints:
        """What each reading adds, in whole steps."""
        rank, value = rows.rank, rows.value
        before_at, before = np.empty_like(rows.at), np.empty_like(value)
        before_at[1:], before[1:] = rows.at[:-1], value[:-1]
        before_at[rows.starts], before[rows.starts] = records["last_at"], records["last_value"]
        paused = (before_at < 0) | (rows.at - before_at > self._gap[rows.rule][rank])
        elapsed = np.where(paused, 0, rows.at - before_at)
        intensity = _whole(value, MOST_INTENSE, INTENSITY_STEPS) * elapsed
        counted = _whole(value, MOST_COUNTED, AMOUNT_STEPS)
        grown = counted - _whole(before, MOST_COUNTED, AMOUNT_STEPS)
        counter = np.where(paused, 0, np.where(grown >= 0, grown, counted))
        plain = _whole(value, MOST_AT_ONCE, AMOUNT_STEPS)
        of_intensity, of_counter = self._intensity[rows.rule][rank], self._counter[rows.rule][rank]
        return np.where(of_intensity, intensity, np.where(of_counter, counter, plain))

    @staticmethod
    def _in_records(records: Records, rank: Ints, oldest: Ints) -> Ints:
        """What the kept parts after ``oldest`` add up to."""
        sums = np.zeros((len(records), WINDOW_PARTS + 1), np.int64)
        np.cumsum(records["amount"][:, ::-1], axis=1, out=sums[:, 1:])
        ranks = np.repeat(np.arange(len(records)), WINDOW_PARTS)
        place = newest_until(ranks, records["part"].reshape(-1), rank, oldest)
        gone = np.where((place >= 0) & (place // WINDOW_PARTS == rank), place % WINDOW_PARTS + 1, 0)
        within: Ints = sums[rank, WINDOW_PARTS - gone]
        return within

    @staticmethod
    def _go_on(rows: LaneRows, records: Records, part: Ints, amount: Ints) -> None:
        rank = rows.rank
        begins = np.ones(len(part), bool)
        begins[1:] = (part[1:] != part[:-1]) | (rank[1:] != rank[:-1])
        starts = np.flatnonzero(begins)
        parts, ranks, sums = part[starts], rank[starts], np.add.reduceat(amount, starts)
        known = records["part"][ranks, -1] == parts
        records["amount"][ranks[known], -1] += sums[known]
        new = ~known
        records["part"] = push(records["part"], ranks[new], parts[new])
        records["amount"] = push(records["amount"], ranks[new], sums[new])
        records["last_at"] = rows.at[rows.ends - 1]
        records["last_value"] = rows.value[rows.ends - 1]


def _whole(value: Floats, most: float, steps: int) -> Ints:
    return np.rint(np.clip(value, 0.0, most) * steps).astype(np.int64)
