"""Sensors that say nothing while their box goes on. Pure.

A box's time is the newest capture time of anything it said, statuses too. A series is silent when its newest reading
is older than that by the rule's time, and was heard before. So a box that is away makes no sensor silent, and what it
replays after an outage makes none either. Once that is over the next reading ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from common.wire.ids import observation_id
from common.wire.messages import Observation, Phase
from gateway.rules.columns import Ints, grown
from gateway.rules.devices import Event
from gateway.rules.kinds import SilenceRule
from gateway.rules.machine import NEVER, QUIET, RuleState
from gateway.rules.stepping import Cause, Member, States, Stepping

_STAGE: Final = 1
_Lane = tuple[int, SilenceRule]


class Silences:
    """Silence rules over the series of devices; devices are numbered densely from 0."""

    def __init__(self, rules: Sequence[SilenceRule]) -> None:
        self._rules = tuple(rules)
        self._lanes: dict[int, list[_Lane]] = {}
        # Before this time of the device none of its series can begin to be silent; 0 while one is: it may end.
        self._deadline = np.zeros(0, np.int64)

    def add(self, number: int, slot: int, member: Member) -> bool:
        """Take a device's series under the rules that watch it; whether any does."""
        self._deadline = grown(self._deadline, number + 1, NEVER)
        watching = [rule for rule in self._rules if rule.watches(member.site, member.sensor, member.metric)]
        if not watching:
            return False
        self._lanes.setdefault(number, []).extend((slot, rule) for rule in watching)
        self._deadline[number] = 0
        return True

    def slots(self, number: int) -> list[int]:
        """The series of a device that are watched."""
        return [slot for slot, _ in self._lanes.get(number, ())]

    def refresh(self, number: int) -> None:
        """Look again at a device that something changed for."""
        if number in self._lanes:
            self._deadline[number] = 0

    def due(
        self, numbers: Ints, fresh: Ints, reached: Ints, clocks: Ints, states: Mapping[int, States]
    ) -> list[int]:
        """Which devices have to be stepped, by the newest capture time they reach in the batch.

        ``fresh`` are those with a series that is heard for the first time: its clock says nothing yet.
        """
        found = [number for number in fresh.tolist() if number in self._lanes]
        self._deadline[found] = 0
        for number in numbers[reached[numbers] >= self._deadline[numbers]].tolist():
            if number in found:
                continue
            deadline = self._next(number, clocks, states)
            self._deadline[number] = deadline
            if reached[number] >= deadline:
                found.append(number)
        return found

    def step(self, number: int, happened: Sequence[Event], newest: int, stepping: Stepping) -> None:
        """Step a device through a batch; ``newest`` is its time before it."""
        groups = stepping.groups
        heard = {slot: int(stepping.clocks[slot]) for slot, _ in self._lanes[number]}
        for event in happened:
            first: dict[int, int] = {}
            for group in event.groups:
                slot = int(groups.slot[group])
                if slot in heard:
                    at = groups.at[int(groups.offset[group]) : int(groups.offset[group + 1])]
                    later = at[at > heard[slot]]
                    if len(later):
                        first.setdefault(slot, int(later[0]))
                        heard[slot] = max(heard[slot], int(later.max()))
            newest = max(newest, event.at)
            cause = Cause(event.moment, _STAGE, event.groups[0] if event.groups else 0)
            for slot, rule in self._lanes[number]:
                state = stepping.state(slot, rule.rule_id)
                what = _Heard(heard[slot], first.get(slot), newest)
                after = _step(rule, state, stepping.members[slot], what)
                if after[0] is not state:
                    stepping.take(cause, slot, rule, after)

    def _next(self, number: int, clocks: Ints, states: Mapping[int, States]) -> int:
        deadline = NEVER
        for slot, rule in self._lanes[number]:
            if states.get(slot, {}).get(rule.rule_id, QUIET).holds:
                return 0
            if clocks[slot] > 0:
                deadline = min(deadline, int(clocks[slot]) + rule.after_ms)
        return deadline


class _Heard(NamedTuple):
    """What one packet or ping brought of a series: ``again`` is its first news in it, ``newest`` the device's time."""

    at: int
    again: int | None
    newest: int


def _step(
    rule: SilenceRule, state: RuleState, member: Member, heard: _Heard
) -> tuple[RuleState, list[Observation]]:
    told = []
    now = heard.newest
    if state.holds and heard.again is not None:
        state = msgspec.structs.replace(state, position="quiet", clock=heard.at, revision=state.revision + 1)
        told.append(_tell(rule, state, member, "end", heard.again))
    if not state.holds and 0 < heard.at <= now - rule.after_ms:
        # By both times: of rules that end it and of later ones that find it silent still, each begins another.
        name = observation_id(member.address, f"rule:{rule.rule_id}:{member.sensor}", now, heard.at)
        state = RuleState(
            position="raised",
            clock=heard.at,  # the series', as of every rule on it; not its device's
            observation_id=str(name),
            started_at=heard.at,
            severity=rule.severity,
            updated_at=now,
        )
        told.append(_tell(rule, state, member, "start", now))
    elif state.holds and heard.again is None and 0 < rule.update_ms <= now - state.updated_at:
        state = msgspec.structs.replace(state, revision=state.revision + 1, updated_at=now)
        told.append(_tell(rule, state, member, "update", now))
    return state, told


def _tell(rule: SilenceRule, state: RuleState, member: Member, phase: Phase, at: int) -> Observation:
    return Observation(
        observation_id=state.observation_id,
        phase=phase,
        revision=state.revision,
        category=rule.category,
        source=f"rule:{rule.rule_id}",
        sensor=member.sensor,
        started_at=state.started_at,
        at=at,
        severity=state.severity,
        ended_at=at if phase == "end" else None,
        value=(at - state.started_at) / 1000,
        unit="s",
        detail={"metric": rule.metric, "kind": "silence", "after_s": rule.after_ms / 1000},
    )
