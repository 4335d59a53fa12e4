"""The lanes of one kind of measure: their records, and which of them have to be stepped. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np

from gateway.rules.columns import (
    Bools,
    Floats,
    Groups,
    Ints,
    LaneGroups,
    LaneRows,
    Records,
    Summary,
    grown,
    lane_groups,
    lane_rows,
)
from gateway.rules.kinds import Measure, Rate, Stuck, ThresholdRule, WindowSum, reach_ms, shape
from gateway.rules.machine import NEVER, QUIET, bounds, step
from gateway.rules.rate import RateLanes
from gateway.rules.stepping import Cause, Member, Moment, States, Stepping
from gateway.rules.stuck import StuckLanes
from gateway.rules.window import WindowLanes

_STAGE: Final = 0


class Measuring(Protocol):
    """One kind of measure, of many lanes at once."""

    record: np.dtype[Any]

    def blank(self) -> Records:
        """The record of a series that nothing is known of."""
        ...

    def calm(self, lanes: LaneGroups, summary: Summary, records: Records, quiet: Bools) -> Bools:
        """Of which lanes no number can matter, by what their groups come to; the records of those go on.

        ``records`` are of ``lanes.lanes``, ``quiet`` says which of them no condition is near to.
        """
        ...

    def measure(self, rows: LaneRows, records: Records) -> Floats:
        """The number at each row; the records of ``rows.lanes`` go on to the last one."""
        ...


def lanes_of(rules: Sequence[ThresholdRule]) -> list[Lanes]:
    """Lanes for the measured rules among some, one for each kind that there is."""
    made = []
    for kind, measuring in ((Rate, _rate), (WindowSum, _window), (Stuck, _stuck)):
        mine = [rule for rule in rules if isinstance(rule.measure, kind)]
        if mine:
            made.append(Lanes(mine, measuring(mine)))
    return made


def _rate(rules: Sequence[ThresholdRule]) -> Measuring:
    measures = [rule.measure for rule in rules if isinstance(rule.measure, Rate)]
    return RateLanes(measures, [rule.sign * rule.raise_at for rule in rules])


def _window(rules: Sequence[ThresholdRule]) -> Measuring:
    return WindowLanes([rule.measure for rule in rules if isinstance(rule.measure, WindowSum)])


def _stuck(rules: Sequence[ThresholdRule]) -> Measuring:
    measures = [rule.measure for rule in rules if isinstance(rule.measure, Stuck)]
    return StuckLanes(measures, [rule.raise_at for rule in rules])


class Lanes:
    """Measured rules of one kind over their series."""

    def __init__(self, rules: Sequence[ThresholdRule], measuring: Measuring) -> None:
        self._rules = tuple(rules)
        self._measuring = measuring
        self._first = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int64)
        self._slot = np.zeros(0, np.int64)
        self._rule = np.zeros(0, np.int64)
        self._records = np.zeros(0, measuring.record)
        self._low = np.zeros(0)
        self._high = np.zeros(0)
        self._until = np.zeros(0, np.int64)
        self._quiet = np.zeros(0, bool)
        self._size = 0

    def add(self, slot: int, member: Member, states: Mapping[int, States]) -> bool:
        """Take a series under the rules that watch it; whether any does. Slots come in order."""
        watching = [
            number
            for number, rule in enumerate(self._rules)
            if rule.watches(member.site, member.sensor, member.metric)
        ]
        self._first = grown(self._first, slot + 1, 0)
        self._count = grown(self._count, slot + 1, 0)
        if not watching:
            return False
        self._first[slot], self._count[slot] = self._size, len(watching)
        blank = self._measuring.blank()[0]
        for number in watching:
            lane = self._size
            self._size += 1
            self._slot = grown(self._slot, self._size, 0)
            self._rule = grown(self._rule, self._size, 0)
            self._records = grown(self._records, self._size, blank)
            self._low = grown(self._low, self._size, -np.inf)
            self._high = grown(self._high, self._size, np.inf)
            self._until = grown(self._until, self._size, NEVER)
            self._quiet = grown(self._quiet, self._size, fill=True)
            self._slot[lane], self._rule[lane] = slot, number
        self.refresh(slot, states)
        return True

    def refresh(self, slot: int, states: Mapping[int, States]) -> None:
        """Set the bounds of a series' lanes by where it stands now."""
        known = states.get(slot, {})
        for lane in self._lanes(slot):
            rule = self._rules[self._rule[lane]]
            state = known.get(rule.rule_id, QUIET)
            self._low[lane], self._high[lane], self._until[lane] = bounds(rule, state)
            self._quiet[lane] = state.position == "quiet"

    def evaluate(self, summary: Summary, stepping: Stepping) -> tuple[Ints, Records] | None:
        """Step a batch; which lanes it touched and their records after it, to be put back once it counts."""
        lanes, records, calm = self._look(stepping.groups, summary)
        if lanes is None:
            return None
        rows = self._rows(stepping.groups, lanes, records, ~calm)
        if rows is not None:
            place = np.searchsorted(lanes.lanes, rows.lanes)
            mine = records[place]
            numbers = self._measuring.measure(rows, mine)
            records[place] = mine
            touched = (
                (np.fmax.reduceat(numbers, rows.starts) >= self._high[rows.lanes])
                | (np.fmin.reduceat(numbers, rows.starts) <= self._low[rows.lanes])
                | (rows.at[rows.ends - 1] >= self._until[rows.lanes])
            )
            for one in np.flatnonzero(touched).tolist():
                self._step(stepping, rows, numbers, one)
        return lanes.lanes, records

    def _groups(self, groups: Groups, summary: Summary) -> LaneGroups | None:
        return lane_groups(
            groups,
            summary,
            first=self._first,
            count=self._count,
            rule=self._rule,
            clock=self._records["last_at"],
        )

    def _look(self, groups: Groups, summary: Summary) -> tuple[LaneGroups | None, Records, Bools]:
        """The lanes of a batch with copies of their records, those of calm ones gone on already."""
        lanes = self._groups(groups, summary)
        if lanes is None:
            return None, self._records[:0], self._quiet[:0]
        records = self._records[lanes.lanes]
        return lanes, records, self._measuring.calm(lanes, summary, records, self._quiet[lanes.lanes])

    @staticmethod
    def _rows(groups: Groups, lanes: LaneGroups, records: Records, chosen: Bools) -> LaneRows | None:
        return lane_rows(groups, lanes, chosen, records["last_at"]) if chosen.any() else None

    def put_back(self, lanes: Ints, records: Records) -> None:
        """Take over the records of a batch that counts."""
        self._records[lanes] = records

    def reach(self, slot: int) -> int:
        """How far back of its newest reading a series is remembered, in ms; 0 when it is not."""
        return max((reach_ms(self._measure(lane)) for lane in self._lanes(slot)), default=0)

    def restore(self, slot: int, kept: Mapping[str, tuple[str, bytes]]) -> list[int]:
        """Put kept records back in; up to when each lane is known then (-1: not at all), in ms."""
        for lane in self._lanes(slot):
            form, content = kept.get(self._rules[self._rule[lane]].rule_id, ("", b""))
            if form == shape(self._measure(lane)) and len(content) == self._records.dtype.itemsize:
                self._records[lane] = np.frombuffer(content, self._records.dtype)[0]
        return [int(self._records["last_at"][lane]) for lane in self._lanes(slot)]

    def recall(self, groups: Groups) -> None:
        """Go through readings that were stepped before this process knew of them; nothing is told."""
        lanes = self._groups(groups, Summary.of(groups))
        if lanes is None:
            return
        records = self._records[lanes.lanes]
        rows = self._rows(groups, lanes, records, np.ones(len(lanes.lanes), bool))
        if rows is not None:
            mine = self._records[rows.lanes]
            self._measuring.measure(rows, mine)
            self.put_back(rows.lanes, mine)

    def kept(self, lanes: Ints, records: Records) -> list[tuple[int, str, str, bytes]]:
        """Records as they are kept: slot, rule, shape, content."""
        return [
            (int(self._slot[lane]), self._rules[rule].rule_id, shape(self._measure(lane)), record.tobytes())
            for lane, rule, record in zip(lanes.tolist(), self._rule[lanes].tolist(), records, strict=True)
        ]

    def slots(self, lanes: Ints) -> Ints:
        """Whose the lanes are."""
        return self._slot[lanes]

    def _lanes(self, slot: int) -> range:
        first = int(self._first[slot])
        return range(first, first + int(self._count[slot]))

    def _measure(self, lane: int) -> Measure:
        measure = self._rules[int(self._rule[lane])].measure
        assert measure is not None
        return measure

    def _step(self, stepping: Stepping, rows: LaneRows, numbers: Floats, place: int) -> None:
        groups = stepping.groups
        slot, rule = int(self._slot[rows.lanes[place]]), self._rules[rows.rule[place]]
        first, end = int(rows.starts[place]), int(rows.ends[place])
        group = rows.group[first:end]
        cuts = [0, *(np.flatnonzero(group[1:] != group[:-1]) + 1).tolist(), end - first]
        for start, stop in pairwise(cuts):
            number = int(group[start])
            part = slice(first + start, first + stop)
            after = step(
                rule,
                stepping.state(slot, rule.rule_id),
                groups.origin(number),
                rows.at[part].tolist(),
                numbers[part].tolist(),
            )
            cause = Cause(Moment.of_packet(int(groups.packet[number])), _STAGE, number)
            stepping.take(cause, slot, rule, after)
