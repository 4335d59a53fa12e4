"""Which conditions are over because the rules are others now. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from gateway.rules.kinds import CombinationRule, Rule, goes_on
from gateway.rules.machine import RuleState


class Stands(Protocol):
    """Where a series (or, without a sensor, a device) stands under a rule."""

    @property
    def rule_id(self) -> str: ...
    @property
    def device_id(self) -> int: ...
    @property
    def site(self) -> str: ...
    @property
    def sensor(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def state(self) -> RuleState: ...


class Ending(NamedTuple):
    """A place (among those given) where something is over, and why."""

    place: int
    why: str


def endings(old: Mapping[str, Rule], new: Mapping[str, Rule], standing: Iterable[Stands]) -> list[Ending]:
    """What is over when the new rules take the place of the old ones.

    A condition goes on under a rule of the same id that watches the same for the same, if with other thresholds or
    times; it is judged by those from the next reading on. A combination goes on while enough of its members do.
    """
    found: dict[int, str] = {}
    raised: dict[int, set[str]] = defaultdict(set)
    combined: list[tuple[int, Stands, CombinationRule]] = []
    for place, one in enumerate(standing):
        rule = new.get(one.rule_id)
        if why := _why(one, old.get(one.rule_id), rule):
            found[place] = why
        elif isinstance(rule, CombinationRule):
            combined.append((place, one, rule))
        elif one.state.holds:
            raised[one.device_id].add(one.rule_id)
    for place, one, rule in combined:
        if not rule.holds(raised[one.device_id]):
            found[place] = "the rules it combines changed"
    return [Ending(place, why) for place, why in sorted(found.items())]


def _why(one: Stands, old: Rule | None, new: Rule | None) -> str:
    if new is None:
        return "the rule was removed"
    if old is None or not goes_on(old, new):
        return "the rule was changed"
    if isinstance(new, CombinationRule):
        watched = not new.sites or one.site in new.sites
    else:
        watched = new.watches(one.site, one.sensor, one.metric)
    return "" if watched else "the rule no longer watches it"
