"""All rules over a whole batch at once: series that stay inside their present state cost almost nothing. Pure.

Per series (a *slot*, dense from 0) four numbers are kept in arrays: the rule clock and the bounds of
``machine.bounds``. A batch is reduced to the least and greatest value and instant of each group (the readings of
one series in one packet); only the series that touch a bound, or whose readings are out of order, are stepped
reading by reading. Measured rules do the same with the numbers that they measure (``lanes``), silences and
combinations with the devices (``silences``, ``combinations``). ``evaluate`` changes nothing; ``apply`` takes its
outcome over once the batch is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from gateway.rules.columns import Bools, Groups, Ints, Summary, grown
from gateway.rules.combinations import Combinations
from gateway.rules.devices import events, newest
from gateway.rules.kinds import CombinationRule, Rule, SilenceRule, ThresholdRule
from gateway.rules.lanes import lanes_of
from gateway.rules.machine import NEVER, QUIET, RuleState, bounds, combine, step
from gateway.rules.silences import Silences
from gateway.rules.stepping import Cause, Member, Moment, Outcome, States, Stepping

#: The clock of a series of which nothing is known yet; it is asked of the store before rules are stepped.
UNKNOWN_CLOCK: Final = -1
_UNWATCHED_CLOCK: Final = -2
_STAGE: Final = 0


class Watch:
    """The rules over the series of one partition.

    Args:
        rules: in the order in which they are told.
        device_states: of combinations, by the registry's device id.
    """

    def __init__(self, rules: Sequence[Rule], device_states: Mapping[int, States] | None = None) -> None:
        self.rules = tuple(rules)
        self._order = {rule.rule_id: place for place, rule in enumerate(rules)}
        thresholds = [rule for rule in rules if isinstance(rule, ThresholdRule)]
        self._plain = tuple(rule for rule in thresholds if rule.measure is None)
        self._lanes = lanes_of(thresholds)
        self._silences = Silences([rule for rule in rules if isinstance(rule, SilenceRule)])
        self._combinations = Combinations([rule for rule in rules if isinstance(rule, CombinationRule)])
        self._by_device = any(isinstance(rule, SilenceRule | CombinationRule) for rule in rules)
        self._device_states = dict(device_states or {})
        self.members: list[Member] = []
        self._plain_of: list[tuple[ThresholdRule, ...]] = []
        self._states: dict[int, States] = {}
        self._numbers: dict[int, int] = {}
        self._device = np.zeros(0, np.int64)
        self._newest = np.zeros(0, np.int64)
        self._low = np.zeros(0)
        self._high = np.zeros(0)
        self._until = np.zeros(0, np.int64)
        self._clock = np.zeros(0, np.int64)

    def add(self, member: Member, states: Mapping[str, RuleState] | None = None) -> int:
        """Take a series under the rules that watch it; its slot."""
        slot = len(self.members)
        self.members.append(member)
        plain = tuple(rule for rule in self._plain if rule.watches(member.site, member.sensor, member.metric))
        self._plain_of.append(plain)
        self._low, self._high = grown(self._low, slot + 1, -np.inf), grown(self._high, slot + 1, np.inf)
        self._until = grown(self._until, slot + 1, NEVER)
        self._clock = grown(self._clock, slot + 1, _UNWATCHED_CLOCK)
        self._device = grown(self._device, slot + 1, -1)
        known = {key: state for key, state in (states or {}).items() if key in self._order}
        if known:
            self._states[slot] = known
        watched = bool(plain)
        for lanes in self._lanes:
            watched |= lanes.add(slot, member, self._states)
        if self._by_device:
            watched |= self._add_to_device(slot, member)
        if watched:
            self._clock[slot] = UNKNOWN_CLOCK
        self._set_bounds(slot)
        return slot

    def unknown(self, slots: Ints, devices: Iterable[int] = ()) -> list[int]:
        """The series whose clocks have to be asked for before these slots, or pings of these devices, are stepped."""
        found = set(np.unique(slots[self._clock[slots] == UNKNOWN_CLOCK]).tolist())
        if self._by_device:
            numbers = set(np.unique(self._device[slots]).tolist())
            numbers |= {self._numbers[device] for device in devices if device in self._numbers}
            for number in numbers:
                found |= {slot for slot in self._silences.slots(number) if self._clock[slot] == UNKNOWN_CLOCK}
        return sorted(found)

    def start_clock(self, slot: int, at: int) -> None:
        """Say up to which capture time a series was stepped before this process saw it (0: it is new)."""
        known = max((state.clock for state in self._states.get(slot, {}).values()), default=0)
        self._clock[slot] = max(at, known)
        if self._by_device:
            number = self._device[slot]
            self._newest[number] = max(int(self._newest[number]), at)
            self._silences.refresh(int(number))

    def clock(self, slot: int) -> int:
        """Up to which capture time a series was stepped; negative when nobody knows."""
        return int(self._clock[slot])

    def go_on_from(self, slot: int, clock: int) -> None:
        """Take a clock over from a watch with other rules, where nothing else has to be known of a series."""
        if clock >= 0 and self._clock[slot] == UNKNOWN_CLOCK and not self.reach(slot):
            self.start_clock(slot, clock)

    def reach(self, slot: int) -> int:
        """How far back of its clock the readings of a series matter still, in ms; 0: not at all."""
        return max((lanes.reach(slot) for lanes in self._lanes), default=0)

    def restore(self, slot: int, kept: Mapping[str, tuple[str, bytes]]) -> int:
        """Put a series' kept records back in, by rule; from when on its readings have to be recalled, in ms."""
        until = [at for lanes in self._lanes for at in lanes.restore(slot, kept)]
        return max(min(until, default=0), int(self._clock[slot]) - self.reach(slot))

    def recall(self, groups: Groups) -> None:
        """Go through readings that were stepped before this process saw their series; nothing is told."""
        for lanes in self._lanes:
            lanes.recall(groups)

    def evaluate(self, groups: Groups) -> Outcome:
        """Step a batch; the watch itself does not change.

        The clocks of all series that ``unknown`` names for it must be known.
        """
        outcome = Outcome()
        stepping = Stepping(groups, self.members, self._clock, self._states, self._order)
        if len(groups.slot):
            summary = Summary.of(groups)
            self._step_plain(summary, outcome, stepping)
            for place, lanes in enumerate(self._lanes):
                touched = lanes.evaluate(summary, stepping)
                if touched is not None:
                    outcome.records.append((place, *touched))
        if self._by_device:
            self._step_devices(outcome, stepping)
        self._settle(outcome, stepping)
        return outcome

    def apply(self, outcome: Outcome) -> None:
        """Take over what a committed batch did."""
        if outcome.clocks is not None:
            slots, latest = outcome.clocks
            watched = self._clock[slots] != _UNWATCHED_CLOCK
            np.maximum.at(self._clock, slots[watched], latest[watched])
        for place, touched, records in outcome.records:
            self._lanes[place].put_back(touched, records)
        for slot, changed in outcome.changed.items():
            states = {**self._states.get(slot, {}), **changed}
            self._states[slot] = {key: one for key, one in states.items() if one.position != "quiet"}
            self._set_bounds(slot)
            for lanes in self._lanes:
                lanes.refresh(slot, self._states)
            if self._by_device:
                self._silences.refresh(int(self._device[slot]))
        if outcome.heard is not None:
            self._newest[: len(outcome.heard)] = np.maximum(self._newest[: len(outcome.heard)], outcome.heard)
        for number, states in outcome.combined.items():
            self._combinations.apply(number, states)

    def states(self, slot: int) -> Mapping[str, RuleState]:
        """The states of a series that are more than quiet, by rule."""
        return self._states.get(slot, {})

    def kept(self, outcome: Outcome, chosen: Bools | None = None) -> list[tuple[int, str, str, bytes]]:
        """The records of a batch as they are kept: series id, rule, shape, content.

        Args:
            outcome: the batch's.
            chosen: per slot, whether it is wanted; all when None.
        """
        found = []
        for place, touched, records in outcome.records:
            lanes = self._lanes[place]
            if chosen is not None:
                wanted = chosen[lanes.slots(touched)]
                touched, records = touched[wanted], records[wanted]  # noqa: PLW2901 - narrowed
            found += [
                (self.members[slot].series, rule_id, form, content)
                for slot, rule_id, form, content in lanes.kept(touched, records)
            ]
        return found

    def measured(self, outcome: Outcome) -> Ints:
        """The series of which measured rules know more now, each once."""
        parts = [self._lanes[place].slots(touched) for place, touched, _ in outcome.records]
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)

    def _add_to_device(self, slot: int, member: Member) -> bool:
        number = self._numbers.setdefault(member.device, len(self._numbers))
        self._device[slot] = number
        self._newest = grown(self._newest, number + 1, 0)
        self._combinations.add(number, slot, member, self._device_states.get(member.device))
        # A combination needs its series' clocks no more than they do themselves.
        return self._silences.add(number, slot, member)

    def _set_bounds(self, slot: int) -> None:
        known = self._states.get(slot, {})
        self._low[slot], self._high[slot], self._until[slot] = combine(
            bounds(rule, known.get(rule.rule_id, QUIET)) for rule in self._plain_of[slot]
        )

    def _step_plain(self, summary: Summary, outcome: Outcome, stepping: Stepping) -> None:
        slots = stepping.groups.slot
        touched = (
            (summary.greatest >= self._high[slots])
            | (summary.least <= self._low[slots])
            | (summary.latest >= self._until[slots])
            | self._disordered(stepping.groups, summary)
        )
        touched &= self._clock[slots] != _UNWATCHED_CLOCK
        outcome.clocks = (slots, summary.latest)
        if touched.any():
            self._step_slowly(np.isin(slots, slots[touched]), outcome, stepping)

    def _disordered(self, groups: Groups, summary: Summary) -> Bools:
        """Which groups may hold readings before one already stepped, of an earlier batch, group or row."""
        slots, earliest, latest = groups.slot, summary.earliest, summary.latest
        found = (earliest < self._clock[slots]) | ~summary.ordered
        order = np.argsort(slots, kind="stable")
        same = slots[order[1:]] == slots[order[:-1]]
        backwards = same & (earliest[order[1:]] < latest[order[:-1]])
        found[order[1:][backwards]] = True
        return found

    def _step_slowly(self, chosen: Bools, outcome: Outcome, stepping: Stepping) -> None:
        groups = stepping.groups
        late = np.zeros(len(groups.at), bool)
        clocks: dict[int, int] = {}
        for group in np.flatnonzero(chosen).tolist():
            slot = int(groups.slot[group])
            first, end = int(groups.offset[group]), int(groups.offset[group + 1])
            at, values = groups.at[first:end].tolist(), groups.value[first:end].tolist()
            clock = clocks.get(slot, int(self._clock[slot]))
            cause = Cause(Moment.of_packet(int(groups.packet[group])), _STAGE, group)
            for rule in self._plain_of[slot]:
                # The stored clock stands still while nothing changes; the array's is the exact one.
                state = _at_clock(stepping.state(slot, rule.rule_id), clock)
                stepping.take(cause, slot, rule, step(rule, state, groups.origin(group), at, values))
            for row, at_row in enumerate(at, first):
                late[row] = at_row < clock
                clock = max(clock, at_row)
            clocks[slot] = clock
        if late.any():
            outcome.late = late

    def _step_devices(self, outcome: Outcome, stepping: Stepping) -> None:
        groups = stepping.groups
        device = self._device[groups.slot]
        pings = [self._numbers.get(ping.device, -1) for ping in groups.pings]
        heard = newest(groups, device, pings, self._newest)
        numbers = np.unique(np.concatenate((device, np.array([one for one in pings if one >= 0], np.int64))))
        outcome.heard = heard
        fresh = np.unique(device[self._clock[groups.slot] == 0])
        silent = self._silences.due(numbers, fresh, heard, self._clock, self._states)
        happened = events(groups, device, pings, silent)
        for number in silent:
            self._silences.step(number, happened[number], int(self._newest[number]), stepping)
        combined = self._combinations.due(numbers, heard, stepping, self._device)
        happened = events(groups, device, pings, combined)
        for number in combined:
            outcome.combined[number] = self._combinations.step(number, happened[number], stepping)

    def _settle(self, outcome: Outcome, stepping: Stepping) -> None:
        """Keep of the new states what is worth keeping, and put what was seen in order."""
        for slot, states in stepping.states.items():
            known = self._states.get(slot, {})
            changed = {
                key: state
                for key, state in states.items()
                if not _same_but_clock(known.get(key, QUIET), state)
            }
            if changed:
                outcome.changed[slot] = changed
                outcome.states[self.members[slot].series] = changed
        for number, states in outcome.combined.items():
            before = self._combinations.states[number]
            changed = {key: one for key, one in states.items() if one != before.get(key, QUIET)}
            if changed:
                outcome.device_states[self._combinations.device(number)] = changed
        stepping.seen.sort(key=lambda seen: seen[:-1])
        outcome.observations = [(seen.cause.moment, seen.observation) for seen in stepping.seen]


def _at_clock(state: RuleState, clock: int) -> RuleState:
    return state if state.clock >= clock else msgspec.structs.replace(state, clock=clock)


def _same_but_clock(old: RuleState, new: RuleState) -> bool:
    """Whether nothing is to be written: what a quiet state remembers of its last condition is of no use."""
    if old.position == new.position == "quiet":
        return True
    return old == msgspec.structs.replace(new, clock=old.clock)
