"""Rules over other rules' conditions on one device. Pure.

What holds is looked at when a member begins or ends, in the order of their capture times within a packet and of the
packets otherwise. A member counts from when it is told (after its hold time) to when its end is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from common.wire.messages import Observation, Phase
from gateway.rules.columns import Ints, grown
from gateway.rules.devices import Event
from gateway.rules.kinds import CombinationRule
from gateway.rules.machine import NEVER, QUIET, Origin, RuleState, name_next
from gateway.rules.stepping import Cause, Member, Moment, States, Stepping, Transition

_STAGE: Final = 2


class Combinations:
    """Combinations on devices, which are numbered densely from 0. ``states`` are those of devices, by number."""

    def __init__(self, rules: Sequence[CombinationRule]) -> None:
        self._rules = tuple(rules)
        self._of: dict[int, tuple[CombinationRule, ...]] = {}
        self._slots: dict[int, list[int]] = {}
        self._ids: dict[int, int] = {}
        self.states: dict[int, States] = {}
        # When a device has to be looked at though none of its members changes; 0: at once (nobody has yet).
        self._until = np.zeros(0, np.int64)

    def add(self, number: int, slot: int, member: Member, states: States | None) -> None:
        """Take a device's series in."""
        if number not in self._of:
            self._ids[number] = member.device
            self._until = grown(self._until, number + 1, NEVER)
            mine = tuple(rule for rule in self._rules if not rule.sites or member.site in rule.sites)
            self._of[number] = mine
            known = {rule.rule_id for rule in mine}
            self.states[number] = {key: one for key, one in (states or {}).items() if key in known}
            if mine:
                self._until[number] = 0
        self._slots.setdefault(number, []).append(slot)

    def watches(self, number: int) -> bool:
        """Whether a device has any."""
        return bool(self._of.get(number))

    def device(self, number: int) -> int:
        """The registry's id of a device."""
        return self._ids[number]

    def due(self, numbers: Ints, reached: Ints, stepping: Stepping, device: Ints) -> list[int]:
        """Which devices have to be stepped; ``device`` gives a slot's."""
        found = set(numbers[reached[numbers] >= self._until[numbers]].tolist())
        found |= {int(device[change.slot]) for change in stepping.transitions}
        return sorted(number for number in found if self.watches(number))

    def step(self, number: int, happened: Sequence[Event], stepping: Stepping) -> States:
        """Step a device through a batch; its states after it."""
        mine = set(self._slots[number])
        raised: dict[str, set[int]] = {}
        for slot in mine:
            for rule_id, state in stepping.before.get(slot, {}).items():
                if state.holds:
                    raised.setdefault(rule_id, set()).add(slot)
        changes: dict[Moment, list[Transition]] = {}
        for change in stepping.transitions:
            if change.slot in mine:
                changes.setdefault(change.moment, []).append(change)
        states = dict(self.states[number])
        for event in happened:
            told: list[tuple[str, Observation]] = []
            origin = _origin(stepping, event, self._slots[number][0])
            cause = Cause(event.moment, _STAGE, event.groups[0] if event.groups else 0)
            for change in _in_order(changes.get(event.moment, ()), stepping):
                slots = raised.setdefault(change.rule_id, set())
                (slots.add if change.holds else slots.discard)(change.slot)
                by = _By(origin, stepping.members[change.slot].sensor, change.at)
                self._look(self._of[number], states, raised, by, told)
            by = _By(origin, origin.sensor, event.at)
            self._look(self._of[number], states, raised, by, told)
            for rule_id, observation in told:
                stepping.see(cause, rule_id, observation)
        return states

    def apply(self, number: int, states: States) -> None:
        """Take over a device's states."""
        self.states[number] = {key: state for key, state in states.items() if state.holds}
        self._until[number] = min(
            (
                state.updated_at + rule.update_ms
                for rule in self._of[number]
                if rule.update_ms and (state := self.states[number].get(rule.rule_id)) is not None
            ),
            default=NEVER,
        )

    @staticmethod
    def _look(
        rules: Sequence[CombinationRule],
        states: States,
        raised: Mapping[str, set[int]],
        by: _By,
        told: list[tuple[str, Observation]],
    ) -> None:
        """Begin, go on with or end each combination by which rules hold on the device now."""
        on = {rule_id for rule_id, slots in raised.items() if slots}
        for rule in rules:
            state = states.get(rule.rule_id, QUIET)
            after, observation = _step(rule, state, by, holds=rule.holds(on))
            if observation is not None:
                states[rule.rule_id] = after
                told.append((rule.rule_id, observation))


class _By(NamedTuple):
    """Whose reading made somebody look at a device's combinations, and its instant."""

    origin: Origin
    sensor: str
    at: int


def _origin(stepping: Stepping, event: Event, slot: int) -> Origin:
    if event.groups:
        return stepping.groups.origin(event.groups[0])
    member = stepping.members[slot]
    return Origin(member.address, member.sensor, 0, event.at)


def _in_order(changes: Sequence[Transition], stepping: Stepping) -> list[Transition]:
    """The changes of one packet by capture time; those of one series under one rule stay in their order."""
    members, order = stepping.members, stepping.order
    return sorted(changes, key=lambda one: (one.at, order[one.rule_id], members[one.slot].series))


def _step(
    rule: CombinationRule, state: RuleState, by: _By, *, holds: bool
) -> tuple[RuleState, Observation | None]:
    at = max(by.at, state.clock)
    if holds and not state.holds:
        name, nth = name_next(state, by.origin, f"rule:{rule.rule_id}")
        state = RuleState(
            position="raised",
            clock=at,
            observation_id=name,
            started_at=at,
            severity=rule.severity,
            updated_at=at,
            epoch=by.origin.epoch,
            seq=by.origin.seq,
            nth=nth,
            sensor=by.sensor,
        )
        return state, _tell(rule, state, "start", at)
    if state.holds and not holds:
        # Nothing is written of a quiet one, so it may remember no time either, however batches are cut.
        state = msgspec.structs.replace(state, position="quiet", clock=0, revision=state.revision + 1)
        return state, _tell(rule, state, "end", at)
    if state.holds and 0 < rule.update_ms <= at - state.updated_at:
        state = msgspec.structs.replace(state, clock=at, revision=state.revision + 1, updated_at=at)
        return state, _tell(rule, state, "update", at)
    return state, None


def _tell(rule: CombinationRule, state: RuleState, phase: Phase, at: int) -> Observation:
    return Observation(
        observation_id=state.observation_id,
        phase=phase,
        revision=state.revision,
        category=rule.category,
        source=f"rule:{rule.rule_id}",
        sensor=state.sensor,
        started_at=state.started_at,
        at=at,
        severity=state.severity,
        ended_at=at if phase == "end" else None,
        detail={"kind": "all_of" if rule.every else "any_of", "members": " ".join(rule.members)},
    )
