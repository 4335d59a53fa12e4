"""All rules over a whole batch at once: series that stay inside their present state cost almost nothing. Pure.

Per series (a *slot*, dense from 0) four numbers are kept in arrays: the rule clock and the bounds of
``rules.bounds``. A batch is reduced to the least and greatest value and instant of each group (the readings of
one series in one packet); only the series that touch a bound, or whose readings are out of order, are stepped
reading by reading. ``evaluate`` changes nothing; ``apply`` takes its outcome over once the batch is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.wire.messages import Observation
from gateway.rules import NEVER, QUIET, Origin, RuleState, ThresholdRule, bounds, combine, step

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: The state of a series under each of its rules, by rule id.
States = dict[str, RuleState]
#: The clock of a series of which nothing is known yet; it is asked of the store before rules are stepped.
UNKNOWN_CLOCK = -1
_UNWATCHED_CLOCK = -2


@dataclass(frozen=True, slots=True)
class Groups:
    """A batch's readings: group ``g`` is rows ``offset[g]`` … ``offset[g + 1] - 1``, of series ``slot[g]``.

    Groups stand in the order in which their packets are committed. ``at`` is capture time held to at most the
    time of receipt, ms since the Unix epoch.
    """

    slot: Ints
    offset: Ints
    at: Ints
    value: Floats
    origin: Callable[[int], Origin]


@dataclass(slots=True)
class Outcome:
    """What a batch does to the rules; nothing of it counts before ``Watch.apply``."""

    clocks: tuple[Ints, Ints]
    states: dict[int, States] = field(default_factory=dict)
    #: (group, observation): the group names the packet it came from.
    observations: list[tuple[int, Observation]] = field(default_factory=list)
    #: Per row, whether it came too late for its rules; None when none did.
    late: NDArray[np.bool_] | None = None


class Watch:
    """The rules over the series of one partition."""

    def __init__(self, rules: Sequence[ThresholdRule]) -> None:
        """No series yet."""
        self.rules = tuple(rules)
        self._rules_of: list[tuple[ThresholdRule, ...]] = []
        self._states: dict[int, States] = {}
        self._low = np.empty(0)
        self._high = np.empty(0)
        self._until = np.empty(0, np.int64)
        self._clock = np.empty(0, np.int64)

    def add(self, site: str, sensor: str, metric: str, states: Mapping[str, RuleState] | None = None) -> int:
        """Take a series under the rules that watch it; its slot."""
        slot = len(self._rules_of)
        watching = tuple(rule for rule in self.rules if rule.watches(site, sensor, metric))
        self._rules_of.append(watching)
        if slot >= len(self._clock):
            self._grow(max(1024, 2 * slot))
        if watching:
            self._clock[slot] = UNKNOWN_CLOCK
            self._set(slot, {rule.rule_id: (states or {}).get(rule.rule_id, QUIET) for rule in watching})
        return slot

    def without_clock(self, slots: Ints) -> Ints:
        """Those of some slots whose clock has to be asked for, each once."""
        return np.unique(slots[self._clock[slots] == UNKNOWN_CLOCK])

    def start_clock(self, slot: int, at: int) -> None:
        """Say up to which capture time a series was stepped before this process saw it (0: it is new)."""
        known = max(state.clock for state in self._states[slot].values())
        self._clock[slot] = max(at, known)

    def evaluate(self, groups: Groups) -> Outcome:
        """Step a batch; the watch itself does not change.

        The clocks of all watched series in it must be known.
        """
        slots, starts = groups.slot, groups.offset[:-1]
        earliest = np.minimum.reduceat(groups.at, starts)
        latest = np.maximum.reduceat(groups.at, starts)
        disordered = self._disordered(groups, earliest, latest)
        touched = (
            (np.maximum.reduceat(groups.value, starts) >= self._high[slots])
            | (np.minimum.reduceat(groups.value, starts) <= self._low[slots])
            | (latest >= self._until[slots])
            | disordered
        )
        touched &= self._clock[slots] != _UNWATCHED_CLOCK
        outcome = Outcome((slots, latest))
        if touched.any():
            self._step_slowly(groups, np.isin(slots, slots[touched]), outcome)
        return outcome

    def apply(self, outcome: Outcome) -> None:
        """Take over what a committed batch did."""
        slots, latest = outcome.clocks
        watched = self._clock[slots] != _UNWATCHED_CLOCK
        np.maximum.at(self._clock, slots[watched], latest[watched])
        for slot, states in outcome.states.items():
            self._set(slot, states)

    def states(self, slot: int) -> Mapping[str, RuleState]:
        """The states of a series."""
        return self._states.get(slot, {})

    def _disordered(self, groups: Groups, earliest: Ints, latest: Ints) -> NDArray[np.bool_]:
        """Which groups hold readings before one already stepped, of an earlier batch, group or row."""
        slots, starts = groups.slot, groups.offset[:-1]
        found = earliest < self._clock[slots]
        falls = np.flatnonzero(groups.at[1:] < groups.at[:-1]) + 1
        if len(falls):
            inside = falls[~np.isin(falls, starts)]
            found[np.searchsorted(starts, inside, side="right") - 1] = True
        order = np.argsort(slots, kind="stable")
        same = slots[order[1:]] == slots[order[:-1]]
        backwards = same & (earliest[order[1:]] < latest[order[:-1]])
        found[order[1:][backwards]] = True
        return found

    def _step_slowly(self, groups: Groups, chosen: NDArray[np.bool_], outcome: Outcome) -> None:
        late = np.zeros(len(groups.at), bool)
        clocks: dict[int, int] = {}
        before: dict[int, States] = {}
        for group in np.flatnonzero(chosen).tolist():
            slot = int(groups.slot[group])
            first, end = int(groups.offset[group]), int(groups.offset[group + 1])
            at, values = groups.at[first:end].tolist(), groups.value[first:end].tolist()
            clock = clocks.get(slot, int(self._clock[slot]))
            if slot not in outcome.states:
                # The stored clock stands still while nothing changes; the array's is the exact one.
                before[slot] = self._states[slot]
                outcome.states[slot] = {
                    rule_id: _at_clock(state, clock) for rule_id, state in before[slot].items()
                }
            states = dict(outcome.states[slot])
            for rule in self._rules_of[slot]:
                states[rule.rule_id], told = step(
                    rule, states[rule.rule_id], groups.origin(group), at, values
                )
                outcome.observations += [(group, observation) for observation in told]
            outcome.states[slot] = states
            for row, moment in enumerate(at, first):
                late[row] = moment < clock
                clock = max(clock, moment)
            clocks[slot] = clock
        for slot, old in before.items():
            if all(_same_but_clock(old[rule_id], new) for rule_id, new in outcome.states[slot].items()):
                del outcome.states[slot]
        if late.any():
            outcome.late = late

    def _set(self, slot: int, states: States) -> None:
        self._states[slot] = states
        self._low[slot], self._high[slot], self._until[slot] = combine(
            bounds(rule, states[rule.rule_id]) for rule in self._rules_of[slot]
        )

    def _grow(self, size: int) -> None:
        more = size - len(self._clock)
        self._low = np.concatenate((self._low, np.full(more, -np.inf)))
        self._high = np.concatenate((self._high, np.full(more, np.inf)))
        self._until = np.concatenate((self._until, np.full(more, NEVER, np.int64)))
        self._clock = np.concatenate((self._clock, np.full(more, _UNWATCHED_CLOCK, np.int64)))


def _at_clock(state: RuleState, clock: int) -> RuleState:
    return state if state.clock >= clock else msgspec.structs.replace(state, clock=clock)


def _same_but_clock(old: RuleState, new: RuleState) -> bool:
    return old == msgspec.structs.replace(new, clock=old.clock)
