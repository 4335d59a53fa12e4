"""Thresholds with hysteresis and hold times, one series at a time and a whole batch at once."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.wire.messages import Observation
from gateway.rules import NEVER, QUIET, Origin, RuleState, ThresholdRule, bounds, combine, step
from gateway.rules.columns import Groups
from gateway.rules.stepping import Member
from gateway.rules.watch import Watch

ORIGIN = Origin("gulou/lamp-01", "flood-1", 255, 7)


def rule(**changes: object) -> ThresholdRule:
    """Water over the road: 0.15 m raises, 0.10 m clears."""
    usual = ThresholdRule(
        "road-water",
        "water_depth",
        "flood.water_level",
        0.15,
        0.10,
        ((0.15, 3), (0.27, 4)),
        "m",
        update_ms=60_000,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def run(
    one: ThresholdRule, readings: list[tuple[float, float]], state: RuleState = QUIET
) -> tuple[RuleState, list[Observation]]:
    """Step through (second, value) readings of one packet."""
    return step(
        one, state, ORIGIN, [round(at * 1000) for at, _ in readings], [value for _, value in readings]
    )


def phases(told: list[Observation]) -> list[str]:
    """What was told, in order."""
    return [observation.phase for observation in told]


def test_reaching_the_threshold_starts_and_falling_to_the_lower_one_ends() -> None:
    state, told = run(rule(), [(1, 0.0), (2, 0.15), (3, 0.12), (4, 0.10)])
    assert phases(told) == ["start", "end"]
    start, end = told
    assert (start.started_at, start.at, start.value, start.severity) == (2000, 2000, 0.15, 3)
    assert (end.ended_at, end.at, end.revision) == (4000, 4000, 1)
    assert start.observation_id == end.observation_id
    assert (start.source, start.sensor, start.category, start.unit) == (
        "rule:road-water",
        "flood-1",
        "flood.water_level",
        "m",
    )
    assert state.position == "quiet"


def test_between_the_two_thresholds_nothing_flickers() -> None:
    _, told = run(rule(update_ms=0), [(i, 0.15 if i % 2 else 0.11) for i in range(1, 100)])
    assert phases(told) == ["start"]


def test_a_spike_shorter_than_the_hold_time_raises_nothing() -> None:
    one = rule(hold_ms=5000)
    _, told = run(one, [(1, 0.3), (3, 0.3), (4, 0.0), (5, 0.3), (9, 0.3)])
    assert told == []
    _, told = run(one, [(1, 0.3), (3, 0.3), (6, 0.3)])
    assert phases(told) == ["start"]
    assert (told[0].started_at, told[0].at) == (1000, 6000), "it began when it was first over"


def test_a_lull_shorter_than_the_clear_hold_time_ends_nothing() -> None:
    one = rule(clear_hold_ms=5000, update_ms=0)
    _, told = run(one, [(1, 0.3), (2, 0.0), (5, 0.0), (6, 0.2), (7, 0.0), (12, 0.0)])
    assert phases(told) == ["start", "end"]
    assert (told[1].ended_at, told[1].at) == (7000, 12_000), "it ended when it was first back"


def test_severity_rises_with_the_level_and_says_so_at_once_but_never_falls() -> None:
    state, told = run(rule(), [(1, 0.2), (2, 0.3), (3, 0.2)])
    assert phases(told) == ["start", "update"]
    assert [observation.severity for observation in told] == [3, 4]
    assert state.severity == 4
    assert told[1].detail["peak"] == 0.3


def test_updates_come_at_their_interval_with_full_state() -> None:
    _, told = run(rule(), [(at, 0.2 + at / 10_000) for at in range(1, 200)])
    assert phases(told) == ["start", "update", "update", "update"]
    assert [observation.at for observation in told] == [1000, 61_000, 121_000, 181_000]
    assert [observation.revision for observation in told] == [0, 1, 2, 3]
    assert {observation.started_at for observation in told} == {1000}


def test_late_readings_raise_and_clear_nothing() -> None:
    state, _ = run(rule(), [(100, 0.0)])
    state, told = run(rule(), [(50, 0.9), (99, 0.9)], state)
    assert told == []
    state, told = run(rule(), [(101, 0.9)], state)
    assert phases(told) == ["start"]
    _, told = run(rule(), [(60, 0.0)], state)
    assert told == []


def test_the_same_packet_gives_the_same_ids_whoever_steps_it() -> None:
    _, first = run(rule(), [(1, 0.2)])
    _, again = run(rule(), [(1, 0.2)])
    assert first == again


def test_two_conditions_in_one_packet_are_two_observations() -> None:
    _, told = run(rule(), [(1, 0.2), (2, 0.0), (3, 0.2), (4, 0.0), (5, 0.2)])
    assert phases(told) == ["start", "end", "start", "end", "start"]
    assert len({observation.observation_id for observation in told}) == 3


def test_a_rule_may_watch_for_too_little() -> None:
    low = rule(raise_at=10.0, clear_at=20.0, levels=((10.0, 1), (5.0, 2)), above=False)
    _, told = run(low, [(1, 50.0), (2, 10.0), (3, 15.0), (4, 4.0), (5, 21.0)])
    assert phases(told) == ["start", "update", "end"]
    assert [observation.severity for observation in told] == [1, 2, 2]


def test_a_rule_watches_only_the_sites_and_sensors_it_names() -> None:
    one = rule(sites=frozenset({"gulou"}), sensors=frozenset({"flood-1"}))
    assert one.watches("gulou", "flood-1", "water_depth")
    assert not one.watches("gulou", "flood-2", "water_depth")
    assert not one.watches("kiln", "flood-1", "water_depth")
    assert not one.watches("gulou", "flood-1", "water_level")


_rules = st.builds(
    lambda clear, gap, hold, clear_hold, update, above: rule(
        raise_at=clear + gap if above else clear - gap,
        clear_at=clear,
        levels=((clear + gap, 2), (clear + 2 * gap, 4))
        if above
        else ((clear - gap, 2), (clear - 2 * gap, 4)),
        hold_ms=hold,
        clear_hold_ms=clear_hold,
        update_ms=update,
        above=above,
    ),
    st.floats(-5, 5),
    st.floats(0.1, 3),
    st.sampled_from([0, 1000, 5000]),
    st.sampled_from([0, 1000, 5000]),
    st.sampled_from([0, 3000]),
    st.booleans(),
)
_packets = st.lists(
    st.lists(st.tuples(st.integers(-2000, 4000), st.floats(-10, 10)), min_size=1, max_size=5),
    min_size=1,
    max_size=12,
)


@given(_rules, _packets)
def test_phases_alternate_and_revisions_count_up(
    one: ThresholdRule, packets: list[list[tuple[int, float]]]
) -> None:
    state, clock, told = QUIET, 10_000, list[Observation]()
    for seq, packet in enumerate(packets, 1):
        at = []
        for delta, _ in packet:
            clock += delta
            at.append(max(clock, 0))
        state, new = step(one, state, Origin("a/b", "s", 1, seq), at, [value for _, value in packet])
        told += new
    running: str | None = None
    revision = -1
    for observation in told:
        if observation.phase == "start":
            assert running is None
            running, revision = observation.observation_id, 0
            assert observation.revision == 0
        else:
            assert observation.observation_id == running
            revision += 1
            assert observation.revision == revision
        assert observation.started_at <= observation.at
        if observation.phase == "end":
            running = None
    assert (running is not None) == (state.position in {"raised", "falling"})


@given(_rules, _packets)
def test_inside_its_bounds_a_state_does_not_change(
    one: ThresholdRule, packets: list[list[tuple[int, float]]]
) -> None:
    state, clock = QUIET, 10_000
    for seq, packet in enumerate(packets, 1):
        low, high, until = bounds(one, state)
        clock += 1 + abs(packet[0][0])
        value = packet[0][1]
        after, told = step(one, state, Origin("a/b", "s", 1, seq), [clock], [value])
        if low < value < high and clock < until:
            assert told == []
            assert msgspec.structs.replace(after, clock=0) == msgspec.structs.replace(state, clock=0)
        state = after


def member(sensor: str, metric: str = "water_depth") -> Member:
    """A series of the only device."""
    return Member(1, "site/box", 100, sensor, metric)


def groups_of(batch: list[tuple[int, int, list[int], list[float]]]) -> Groups:
    """A batch as the columns that rules are stepped with."""
    return Groups(
        slot=np.array([slot for slot, *_ in batch], np.int64),
        offset=np.cumsum([0, *(len(at) for _, _, at, _ in batch)]),
        at=np.array([moment for _, _, at, _ in batch for moment in at], np.int64),
        value=np.array([value for *_, values in batch for value in values], np.float64),
        packet=np.arange(len(batch)),
        origin=lambda group: Origin("a/b", f"s{batch[group][0]}", 1, batch[group][1]),
    )


def test_what_is_not_applied_did_not_happen() -> None:
    watch = Watch([rule()])
    slot = watch.add(member("s0"))
    watch.start_clock(slot, 0)
    batch = groups_of([(slot, 1, [1000], [0.5])])
    first = watch.evaluate(batch)
    assert watch.evaluate(batch).observations == first.observations, "rolled back and tried again"
    watch.apply(first)
    assert watch.evaluate(groups_of([(slot, 2, [2000], [0.4])])).observations == []


def test_late_rows_are_marked_one_by_one() -> None:
    watch = Watch([rule()])
    slot = watch.add(member("s0"))
    other = watch.add(member("s0", "temperature"))
    watch.start_clock(slot, 5000)
    outcome = watch.evaluate(groups_of([(slot, 1, [4000, 6000, 5500], [0.0] * 3), (other, 1, [1], [0.0])]))
    assert outcome.late is not None
    assert outcome.late.tolist() == [True, False, True, False]


def test_a_series_under_no_rule_is_never_stepped() -> None:
    watch = Watch([rule()])
    slot = watch.add(member("s0", "temperature"))
    assert watch.unknown(np.array([slot])) == []
    outcome = watch.evaluate(groups_of([(slot, 1, [5, 4, 3], [1e9, -1e9, 0.0])]))
    assert (outcome.states, outcome.observations, outcome.late) == ({}, [], None)


def test_a_state_from_the_store_goes_on_where_it_stood() -> None:
    raised, told = run(rule(), [(1, 0.2)])
    again = Watch([rule()])
    slot = again.add(member("flood-1"), {"road-water": raised})
    assert again.unknown(np.array([slot, slot])) == [slot]
    again.start_clock(slot, 500)
    outcome = again.evaluate(groups_of([(slot, 8, [900, 2000], [0.0, 0.05])]))
    assert [observation.phase for _, observation in outcome.observations] == ["end"]
    assert outcome.observations[0][1].observation_id == told[0].observation_id
    assert outcome.observations[0][1].ended_at == 2000, "the reading of 900 ms came too late to end it"


def test_bounds_of_several_rules_are_the_narrowest() -> None:
    assert combine([(-1.0, 5.0, 100), (-math.inf, 3.0, NEVER)]) == (-1.0, 3.0, 100)
    assert combine([]) == (-math.inf, math.inf, NEVER)


@pytest.mark.parametrize("count", [1, 1500, 5000])
def test_room_grows_with_the_series(count: int) -> None:
    watch = Watch([rule()])
    slots = [watch.add(member(f"s{number}")) for number in range(count)]
    assert slots == list(range(count))
    assert len(watch.unknown(np.array(slots))) == count
