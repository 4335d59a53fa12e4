"""Whole batches at once against one reading after the other, for any stream, split and death in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.rules.columns import Groups, Ping
from gateway.rules.kinds import (
    CombinationRule,
    Rate,
    Rule,
    SilenceRule,
    Stuck,
    ThresholdRule,
    WindowSum,
    reach_ms,
)
from gateway.rules.machine import Origin
from gateway.rules.stepping import Member, Outcome, States
from gateway.rules.watch import Watch
from tests.fixtures.rules_reference import Packet, Reference, Told

SERIES = [
    Member(device, f"kiln/box-{device}", 10 * device + number, f"s{number}", metric)
    for device in (1, 2)
    for number, metric in enumerate(("level", "level", "rain"))
]
MEASURES: list[Any] = [
    None,
    Rate(12_000, 1000),
    Rate(600, 60_000),
    WindowSum("intensity", 60_000, per_ms=1000, gap_ms=5000),
    WindowSum("amounts", 6000),
    WindowSum("counter", 12_000, gap_ms=20_000),
    Stuck(12_000, 4000),
    Stuck(120, 3000),
]


@st.composite
def rule_sets(draw: st.DrawFn) -> list[Rule]:
    """Two to six rules on series, and perhaps some on those."""
    rules: list[Rule] = []
    for number in range(draw(st.integers(2, 6))):
        rule_id = f"r{number}"
        metric = draw(st.sampled_from(["level", "rain"]))
        tells = draw(st.integers(0, 4)) > 0
        if draw(st.integers(0, 5)) == 0:
            after = draw(st.sampled_from([2000, 9000]))
            silence = SilenceRule(rule_id, metric, "device.sensor_silent", after, 2, 3000, tells=tells)
            rules.append(silence)
            continue
        measure = draw(st.sampled_from(MEASURES))
        clear, gap = draw(st.sampled_from([-1.0, 0.0, 0.5, 3.0])), draw(st.sampled_from([0.25, 1.0, 2.0]))
        above = not isinstance(measure, Stuck) and draw(st.integers(0, 3)) > 0
        raise_at = clear + gap if above else clear - gap
        if isinstance(measure, Stuck):
            raise_at = draw(st.sampled_from([0.0, 0.5]))
            clear = float(np.nextafter(raise_at, np.inf))
        further = raise_at + 1 if above else raise_at - 1
        threshold = ThresholdRule(
            rule_id,
            metric,
            "flood.water_level",
            raise_at,
            clear,
            ((raise_at, 2), (further, 4)),
            "m",
            above,
            hold_ms=draw(st.sampled_from([0, 0, 1500])),
            clear_hold_ms=draw(st.sampled_from([0, 0, 2500])),
            update_ms=draw(st.sampled_from([0, 3000])),
            sensors=draw(st.sampled_from([frozenset[str](), frozenset({"s0"})])),
            measure=measure,
            tells=tells,
        )
        rules.append(threshold)
    members = tuple(rule.rule_id for rule in rules)
    for number in range(draw(st.integers(0, 2))):
        chosen = draw(st.lists(st.sampled_from(members), min_size=1, max_size=3, unique=True))
        every = draw(st.booleans())
        update = draw(st.sampled_from([0, 4000]))
        rules.append(CombinationRule(f"c{number}", "smoke.alarm", tuple(chosen), every, 3, update))
    return rules


_VALUES = st.one_of(
    st.sampled_from([0.0, 0.0, 1.0, 1.0, 2.0, 5.0, -2.0]), st.floats(-3, 6).map(lambda value: round(value, 2))
)


_CALM = st.sampled_from([1.0, 1.0, 1.0, 1.25])


@st.composite
def streams(draw: st.DrawFn, *, ordered: bool = False) -> list[Packet]:
    """Packets of two devices, mostly in order of capture; and pings. Some sensors hardly move, some report often."""
    clock = {1: 100_000, 2: 50_000}
    values = draw(st.sampled_from([_VALUES, _VALUES, _CALM, st.just(0.0)]))
    most = draw(st.sampled_from([1, 2, 6]))
    tempo = draw(st.sampled_from([1, 1, 10, 100]))
    packets = []
    for seq in range(1, draw(st.integers(1, 25)) + 1):
        device = draw(st.sampled_from([1, 1, 1, 2]))
        lapse = draw(st.sampled_from([0, 200, 500, 1000, 1000, 3000, 12_000, 70_000]))
        clock[device] += max(lapse // tempo, 1) if ordered else lapse // tempo
        if not ordered and draw(st.integers(0, 7)) == 0:
            packets.append(Packet(device, 0, 0, ping_at=clock[device]))
            continue
        back = 0 if ordered else draw(st.sampled_from([0, 0, 0, 0, 2500, 20_000]))
        series, reached = [], clock[device]
        mine = [member for member in SERIES if member.device == device]
        for member in draw(st.lists(st.sampled_from(mine), min_size=1, max_size=4, unique=ordered)):
            at, numbers = [], []
            moment = clock[device] - back
            for _ in range(draw(st.integers(1, most))):
                steps = [100, 400, 1000, 1000, 5000] if ordered else [0, 100, 400, 1000, 1000, 5000, -700]
                step = draw(st.sampled_from(steps))
                moment += max(step // tempo, 1) if ordered else step // tempo
                at.append(moment)
                numbers.append(draw(values))
            series.append((member, at, numbers))
            reached = max(reached, *at)
        clock[device] = reached if ordered else clock[device] + (reached - clock[device]) // 2
        packets.append(Packet(device, 7, seq, series))
    return packets


def groups_of(batch: Sequence[Packet], watch: Watch) -> Groups:
    """A batch as the columns that rules are stepped with."""
    slots = {member: slot for slot, member in enumerate(watch.members)}
    origins, slot, length, at, values, number = [], [], [0], [], [], []
    pings, packets = [], 0
    for packet in batch:
        if not packet.series:
            pings.append(Ping(packets, packet.device, packet.ping_at))
            continue
        for member, moments, numbers in packet.series:
            origins.append(Origin(member.address, member.sensor, packet.epoch, packet.seq))
            slot.append(slots[member])
            length.append(len(moments))
            at += moments
            values += numbers
            number.append(packets)
        packets += 1
    return Groups(
        np.array(slot, np.int64),
        np.cumsum(length),
        np.array(at, np.int64),
        np.array(values, np.float64),
        np.array(number, np.int64),
        origins.__getitem__,
        pings,
    )


class Gateway:
    """A watch with a store that outlives it."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.told: list[Told] = []
        self.states: dict[int, States] = {}
        self.device_states: dict[int, States] = {}
        self.readings: dict[int, list[tuple[int, float]]] = {}
        self.records: dict[tuple[int, str], tuple[str, bytes]] = {}
        self.start()

    def start(self) -> None:
        """Begin anew with what the store holds."""
        self.watch = Watch(self.rules, self.device_states)
        for member in SERIES:
            self.watch.add(member, self.states.get(member.series))

    def commit(self, batch: Sequence[Packet], *, keep: bool) -> None:
        """Step a batch and write down what it did; ``keep`` keeps its records too."""
        groups = groups_of(batch, self.watch)
        self._learn(groups)
        outcome = self.watch.evaluate(groups)
        again = self.watch.evaluate(groups)
        assert [seen for _, seen in again.observations] == [seen for _, seen in outcome.observations], (
            "rolled back and tried again"
        )
        self._save(groups, outcome)
        if keep:
            for series, rule_id, form, content in self.watch.kept(outcome):
                self.records[series, rule_id] = form, content
        self.watch.apply(outcome)

    def _learn(self, groups: Groups) -> None:
        past: list[tuple[int, list[tuple[int, float]]]] = []
        for slot in self.watch.unknown(groups.slot, [ping.device for ping in groups.pings]):
            series = self.watch.members[slot].series
            readings = sorted(self.readings.get(series, []), key=lambda one: one[0])
            self.watch.start_clock(slot, readings[-1][0] if readings else 0)
            if not self.watch.reach(slot):
                continue
            kept = {rule: form for (owner, rule), form in self.records.items() if owner == series}
            since = self.watch.restore(slot, kept)
            past.append((slot, [one for one in readings if one[0] > since]))
        past = [(slot, readings) for slot, readings in past if readings]
        if past:
            self.watch.recall(
                Groups(
                    np.array([slot for slot, _ in past], np.int64),
                    np.cumsum([0, *(len(readings) for _, readings in past)]),
                    np.array([at for _, readings in past for at, _ in readings], np.int64),
                    np.array([value for _, readings in past for _, value in readings], np.float64),
                    np.zeros(len(past), np.int64),
                    lambda _: Origin("", "", 0, 0),
                )
            )

    def _save(self, groups: Groups, outcome: Outcome) -> None:
        for series, states in outcome.states.items():
            self.states[series] = _saved(self.states.get(series, {}), states)
        for device, states in outcome.device_states.items():
            self.device_states[device] = _saved(self.device_states.get(device, {}), states)
        for _, seen in outcome.observations:
            self.told.append(
                (
                    seen.observation_id,
                    seen.phase,
                    seen.revision,
                    seen.source,
                    seen.sensor,
                    seen.started_at,
                    seen.at,
                    seen.ended_at,
                    seen.severity,
                    seen.value,
                )
            )
        late = np.zeros(len(groups.at), bool) if outcome.late is None else outcome.late
        for group, slot in enumerate(groups.slot.tolist()):
            mine = self.readings.setdefault(self.watch.members[slot].series, [])
            for row in range(int(groups.offset[group]), int(groups.offset[group + 1])):
                if not late[row]:
                    mine.append((int(groups.at[row]), float(groups.value[row])))


def _saved(known: States, changed: States) -> States:
    states = {**known, **changed}
    return {key: state for key, state in states.items() if state.position != "quiet"}


def expected(rules: Sequence[Rule], packets: Sequence[Packet]) -> list[Told]:
    """What the plain rules tell of a stream."""
    reference = Reference(rules)
    for member in SERIES:
        reference.add(member)
    for packet in packets:
        reference.feed(packet)
    return sorted(reference.told, key=repr)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rule_sets(), streams(), st.lists(st.integers(1, 6), min_size=1))
def test_a_stream_tells_the_same_however_it_is_split(
    rules: list[Rule], packets: list[Packet], sizes: list[int]
) -> None:
    gateway = Gateway(rules)
    first = turn = 0
    while first < len(packets):
        size = sizes[turn % len(sizes)]
        gateway.commit(packets[first : first + size], keep=False)
        first, turn = first + size, turn + 1
    assert sorted(gateway.told, key=repr) == expected(rules, packets)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rule_sets(), streams(ordered=True), st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans()))
)
def test_a_gateway_that_dies_between_batches_goes_on_where_it_stood(
    rules: list[Rule], packets: list[Packet], batches: list[tuple[int, bool, bool]]
) -> None:
    gateway = Gateway(rules)
    first = turn = 0
    while first < len(packets):
        size, dies, keep = batches[turn % len(batches)] if batches else (2, True, turn % 2 == 0)
        gateway.commit(packets[first : first + size], keep=keep)
        first, turn = first + size, turn + 1
        if dies:
            gateway.start()
    assert sorted(gateway.told, key=repr) == expected(rules, packets)


@pytest.mark.parametrize("seed", range(6))
def test_an_hour_of_sensors_that_rest_rise_and_stand_still_is_told_the_same(seed: int) -> None:
    """Long enough that most batches touch nothing, which is where only the groups' ranges are looked at."""
    random = Random(seed)
    epsilon, each = 0.02, 1 if seed % 2 else 5
    rules: list[Rule] = [
        ThresholdRule("rate", "level", "a.b", 0.5, 0.1, ((0.5, 2),), update_ms=0, measure=Rate(120_000, 60_000)),
        ThresholdRule("fall", "level", "a.b", -0.5, -0.1, ((-0.5, 2),), above=False, measure=Rate(60_000, 60_000)),
        ThresholdRule("sum", "rain", "a.b", 2.0, 1.0, ((2.0, 2),), measure=WindowSum("intensity", 600_000, 60_000)),
        *(
            ThresholdRule(
                f"stuck-{after}",
                "level",
                "a.b",
                within,
                float(np.nextafter(within, np.inf)),
                ((within, 1),),
                above=False,
                measure=Stuck(after, 60_000),
            )
            for after, within in ((120_000, epsilon), (600_000, epsilon), (150_000, 0.0))
        ),
        SilenceRule("silent", "level", "a.b", 90_000, 1),
        CombinationRule("both", "a.b", ("rate", "sum"), True, 3),
    ]  # fmt: skip
    clock, packets = 1_700_000_000_000, list[Packet]()
    mine = SERIES[:3]
    mood, level = dict.fromkeys(mine, "rest"), dict.fromkeys(mine, 1.0)
    for seq in range(1, 361):
        series = []
        for member in mine:
            if random.random() < 0.03:
                mood[member] = random.choice(["rest", "still", "still", "rise", "fall", "away"])
            if mood[member] == "away":
                continue
            level[member] += {"rise": 0.09, "fall": -0.09}.get(mood[member], 0.0)
            noise = epsilon * random.choice([0.5, 1.0, 3.0]) if mood[member] == "rest" else 0.0
            at = [clock + 2000 * number for number in range(each)]
            series.append((member, at, [level[member] + noise * random.random() for _ in at]))
        clock += 10_000
        if series:
            packets.append(Packet(1, 7, seq, series))
    gateway = Gateway(rules)
    first = 0
    while first < len(packets):
        size = random.choice([1, 2, 5, 20])
        gateway.commit(packets[first : first + size], keep=random.random() < 0.3)
        if random.random() < 0.1:
            gateway.start()
        first += size
    assert sorted(gateway.told, key=repr) == expected(rules, packets)
    assert {told[3] for told in gateway.told} >= {
        "rule:rate",
        "rule:stuck-120000",
        "rule:silent",
    }


@given(st.sampled_from([one for one in MEASURES if one is not None]))
def test_a_measure_says_how_far_back_it_looks(measure: Any) -> None:
    assert reach_ms(measure) > 0
    rule = ThresholdRule("r", "level", "flood.water_level", 1, 0, ((1, 2),), measure=measure)
    watch = Watch([rule, replace(rule, rule_id="s", sensors=frozenset({"nobody"}))])
    slot = watch.add(SERIES[0])
    assert watch.reach(slot) == reach_ms(measure)
