"""A dry run: what rules would have told of the readings in the store. Writes nothing.

History is stepped device by device, minute by minute: all that a device measured in a minute counts as one packet. So
the ids differ from those of the real run, and silence and combinations are found as exactly as that. Readings that had
come too late for the rules then are left out, as they were. It begins as far before the span as rules look back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from common.wire.messages import Observation
from gateway.rulebook import repo
from gateway.rulebook.stepping import RULE_AHEAD_MS
from gateway.rules.columns import Groups, Ping
from gateway.rules.kinds import CombinationRule, Rule, SilenceRule, ThresholdRule, reach_ms
from gateway.rules.machine import Origin
from gateway.rules.stepping import Member
from gateway.rules.watch import Watch

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
#: Series that are read together, and how many of their readings at once.
_TOGETHER: Final = 200
_FEW: Final = 100_000
_MANY: Final = 1_000_000


@dataclass(slots=True)
class Count:
    """Conditions that a rule raised on a device in the span, and how long they went on in it, in ms."""

    conditions: int = 0
    lasted_ms: int = 0


@dataclass(slots=True)
class Tally:
    """What one set of rules told: by rule and device (``site/device``)."""

    since_ms: int
    until_ms: int
    counts: dict[str, dict[str, Count]] = field(default_factory=lambda: defaultdict(dict))
    _open: dict[str, tuple[str, str, int]] = field(default_factory=dict)

    def take(self, address: str, seen: Observation) -> None:
        """Count what was told of a device."""
        if seen.phase == "start":
            rule_id = seen.source.removeprefix("rule:")
            self._open[seen.observation_id] = (rule_id, address, seen.started_at)
            if seen.at >= self.since_ms:
                self._count(rule_id, address).conditions += 1
        elif seen.phase == "end" and seen.observation_id in self._open:
            self._last(self._open.pop(seen.observation_id), seen.ended_at or seen.at)

    def finish(self) -> None:
        """What goes on still lasts to the end of the span."""
        for one in self._open.values():
            self._last(one, self.until_ms)
        self._open.clear()

    def total(self, rule_id: str) -> Count:
        """Over all devices."""
        mine = self.counts.get(rule_id, {}).values()
        return Count(sum(one.conditions for one in mine), sum(one.lasted_ms for one in mine))

    def _count(self, rule_id: str, address: str) -> Count:
        return self.counts[rule_id].setdefault(address, Count())

    def _last(self, one: tuple[str, str, int], ended_at: int) -> None:
        rule_id, address, started_at = one
        lasted = min(ended_at, self.until_ms) - max(started_at, self.since_ms)
        if lasted > 0:
            self._count(rule_id, address).lasted_ms += lasted


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a dry run."""

    readings: int
    devices: int
    tallies: tuple[Tally, ...]


def run(
    connection: repo.Connection,
    sets: Sequence[Sequence[Rule]],
    since_ms: int,
    until_ms: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Trial:
    """Step sets of rules over what is stored, side by side.

    Args:
        connection: over which nothing is written from now on.
        sets: of rules.
        since_ms: from when on conditions count, ms since the Unix epoch.
        until_ms: to when.
        progress: told what part is done, 0 to 1.
    """
    repo.only_read(connection)
    begin_ms = since_ms - max((_looks_back(rule) for rules in sets for rule in rules), default=0)
    bunches = list(_bunches(repo.all_series(connection), sets))
    tallies = tuple(Tally(since_ms, until_ms) for _ in sets)
    readings = 0
    for number, bunch in enumerate(bunches):
        past = _Past(connection, bunch, sets, tallies)
        at, slice_ms = begin_ms, _HOUR_MS
        while at < until_ms:
            end = min(at + slice_ms, until_ms)
            count = past.step(at, end)
            readings += count
            progress((number + (end - begin_ms) / max(until_ms - begin_ms, 1)) / len(bunches))
            at = end
            if count < _FEW:
                slice_ms = min(slice_ms * 2, _DAY_MS)
            elif count > _MANY:
                slice_ms = max(slice_ms // 2, _MINUTE_MS)
    for tally in tallies:
        tally.finish()
    devices = {member.device for bunch in bunches for member in bunch}
    return Trial(readings, len(devices), tallies)


class _Past:
    """The history of some devices, under several sets of rules at once."""

    def __init__(
        self,
        connection: repo.Connection,
        members: Sequence[Member],
        sets: Sequence[Sequence[Rule]],
        tallies: Sequence[Tally],
    ) -> None:
        self._connection = connection
        self._members = members
        self._tallies = tallies
        self._watches = [Watch(rules) for rules in sets]
        for watch in self._watches:
            for member in members:
                watch.add(member)
            for slot in watch.unknown(np.arange(len(members))):
                watch.start_clock(slot, 0)
        self._slot_of = np.full(max(member.series for member in members) + 1, -1, np.int64)
        self._slot_of[[member.series for member in members]] = np.arange(len(members))
        self._device_of = np.array([member.device for member in members], np.int64)
        self._pinged = sorted({member.device for member in members}) if _any_silence(sets) else []
        self._packets = 0

    def step(self, since_ms: int, until_ms: int) -> int:
        """Go through a span; how many readings it had."""
        series = [member.series for member in self._members]
        found = repo.readings_between(self._connection, series, since_ms, until_ms, RULE_AHEAD_MS)
        said = (
            repo.statuses_between(self._connection, self._pinged, since_ms, until_ms, RULE_AHEAD_MS)
            if self._pinged
            else []
        )
        if not len(found) and not said:
            return 0
        slot, at = self._slot_of[found["series"].astype(np.int64)], found["at"].astype(np.int64)
        minute, device = at // _MINUTE_MS, self._device_of[slot]
        order = np.lexsort((at, slot, device, minute))
        slot, at, minute, device = slot[order], at[order], minute[order], device[order]
        new_packet = np.ones(len(at), bool)
        new_packet[1:] = (minute[1:] != minute[:-1]) | (device[1:] != device[:-1])
        new_group = new_packet.copy()
        new_group[1:] |= slot[1:] != slot[:-1]
        starts = np.flatnonzero(new_group)
        packet = (np.cumsum(new_packet) - 1)[starts]
        ends = minute[new_packet]  # the minute of each packet, ascending
        pings = [
            Ping(int(np.searchsorted(ends, said_at // _MINUTE_MS, "right")), one, said_at)
            for one, said_at in said
        ]
        first = self._packets

        def origin(group: int) -> Origin:
            member = self._members[int(slot[starts[group]])]
            return Origin(member.address, member.sensor, 1, first + int(packet[group]) + 1)

        groups = Groups(
            slot[starts],
            np.append(starts, len(at)),
            at,
            found["value"].astype(np.float64)[order],
            packet,
            origin,
            pings,
        )
        self._packets += int(packet[-1]) + 1 if len(packet) else 0
        owners = device[new_packet]
        for watch, tally in zip(self._watches, self._tallies, strict=True):
            outcome = watch.evaluate(groups)
            watch.apply(outcome)
            for moment, seen in outcome.observations:
                number = pings[moment.ping].device if moment.is_ping else int(owners[moment.packet])
                tally.take(self._address(number), seen)
        return len(found)

    def _address(self, device: int) -> str:
        return next(member.address for member in self._members if member.device == device)


def changes(old: Mapping[str, Rule], new: Mapping[str, Rule]) -> tuple[list[str], list[str], list[str]]:
    """The ids of rules that are added, removed and changed."""
    return (
        [name for name in new if name not in old],
        [name for name in old if name not in new],
        [name for name in new if name in old and new[name] != old[name]],
    )


def _looks_back(rule: Rule) -> int:
    match rule:
        case ThresholdRule(measure=None):
            return rule.hold_ms
        case ThresholdRule(measure=measure):
            assert measure is not None
            return reach_ms(measure) + rule.hold_ms
        case SilenceRule():
            return rule.after_ms
        case CombinationRule():
            return 0


def _any_silence(sets: Sequence[Sequence[Rule]]) -> bool:
    return any(isinstance(rule, SilenceRule) for rules in sets for rule in rules)


def _bunches(members: Sequence[Member], sets: Sequence[Sequence[Rule]]) -> Iterator[list[Member]]:
    """Series to be read together, a device never in two; those that no rule cares for are left out.

    A silence rule cares for all series of a device: any of them is its sign of life.
    """
    single = [rule for rules in sets for rule in rules if not isinstance(rule, CombinationRule)]
    by_device: dict[int, list[Member]] = defaultdict(list)
    for member in members:
        by_device[member.device].append(member)
    bunch: list[Member] = []
    for mine in by_device.values():
        watching = [
            (rule, member)
            for rule in single
            for member in mine
            if rule.watches(member.site, member.sensor, member.metric)
        ]
        watched = {member for _, member in watching}
        if any(isinstance(rule, SilenceRule) for rule, _ in watching):
            watched = set(mine)
        bunch += [member for member in mine if member in watched]
        if len(bunch) >= _TOGETHER:
            yield bunch
            bunch = []
    if bunch:
        yield bunch
