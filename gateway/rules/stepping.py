"""What a batch does to the rules, gathered before anything of it counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from common.wire.messages import Observation
from gateway.rules.columns import Bools, Groups, Ints, Records
from gateway.rules.kinds import SeriesRule
from gateway.rules.machine import QUIET, RuleState

_NO_PING: Final = 1 << 30
#: The states of a series or device that are more than quiet, by rule.
States = dict[str, RuleState]


class Member(NamedTuple):
    """A series as the rules know it: ``device`` is the registry's id, ``address`` ``site/device``."""

    device: int
    address: str
    series: int
    sensor: str
    metric: str

    @property
    def site(self) -> str:
        """The device's site."""
        return self.address.partition("/")[0]


class Moment(NamedTuple):
    """What of a batch brought something: packet ``packet``, or ping ``ping`` (its place among them) before it."""

    packet: int
    ping: int

    @classmethod
    def of_packet(cls, packet: int) -> Moment:
        """With a packet: after every ping that came before it."""
        return cls(packet, _NO_PING)

    @property
    def is_ping(self) -> bool:
        """Whether no packet brought it."""
        return self.ping != _NO_PING


@dataclass(frozen=True, slots=True)
class Transition:
    """A rule's condition began or ended on a series; ``at`` is the capture time that decided it."""

    moment: Moment
    at: int
    slot: int
    rule_id: str
    holds: bool


class Cause(NamedTuple):
    """What of a batch made a rule step: of several steps the order in which they are told."""

    moment: Moment
    stage: int
    group: int


class Seen(NamedTuple):
    """An observation; they are told in the order of all that stands before it here."""

    cause: Cause
    rule: int
    n: int
    observation: Observation


@dataclass(slots=True)
class Stepping:
    """A batch while it is being stepped: what it holds, where everything stood before it, what it does.

    ``before`` are the states and ``clocks`` the rule clocks by slot, ``order`` the rules' places.
    """

    groups: Groups
    members: Sequence[Member]
    clocks: Ints
    before: Mapping[int, States]
    order: Mapping[str, int]
    states: dict[int, States] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)

    def state(self, slot: int, rule_id: str) -> RuleState:
        """Where a series stands by now."""
        changed = self.states.get(slot)
        if changed is not None and rule_id in changed:
            return changed[rule_id]
        known = self.before.get(slot)
        return QUIET if known is None else known.get(rule_id, QUIET)

    def take(
        self, cause: Cause, slot: int, rule: SeriesRule, after: tuple[RuleState, Sequence[Observation]]
    ) -> None:
        """Note where a series stands after a step, and what it tells."""
        state, told = after
        self.states.setdefault(slot, {})[rule.rule_id] = state
        for observation in told:
            if observation.phase in {"start", "end"}:
                holds = observation.phase == "start"
                self.transitions.append(Transition(cause.moment, observation.at, slot, rule.rule_id, holds))
            if rule.tells:
                self.see(cause, rule.rule_id, observation)

    def see(self, cause: Cause, rule_id: str, observation: Observation) -> None:
        """Note what is to be told."""
        self.seen.append(Seen(cause, self.order[rule_id], len(self.seen), observation))


@dataclass(slots=True)
class Outcome:
    """What a batch does to the rules; nothing of it counts before ``Watch.apply``.

    ``states`` are what changed, by series id and rule, ``device_states`` by device id and rule: to be saved.
    ``observations`` are to be told, in order, each with what brought it. ``late`` says per row whether it came too late
    for its rules; None when none did. The rest is the watch's own.
    """

    states: dict[int, States] = field(default_factory=dict)
    device_states: dict[int, States] = field(default_factory=dict)
    observations: list[tuple[Moment, Observation]] = field(default_factory=list)
    late: Bools | None = None
    changed: dict[int, States] = field(default_factory=dict)
    clocks: tuple[Ints, Ints] | None = None
    records: list[tuple[int, Ints, Records]] = field(default_factory=list)
    heard: Ints | None = None
    combined: dict[int, States] = field(default_factory=dict)
