"""The audit finds conditions of rules that are torn, and no fault in what gateways tell, however they take turns."""

from __future__ import annotations

import re

import pytest

from gateway.lease import Lease
from local.demo.audit import audit
from tests.fixtures.gateway_rules import MINUTE, SMOKE, STORM, apply, packet, smoke, store_of, storm, told
from tests.integration.gateway_rig import now_ms, rows

pytestmark = pytest.mark.services


@pytest.fixture
def smoked(database_url: str, lease: Lease) -> str:
    """A store in which smoke rose, was told on and fell, and rose again under another gateway, where it stands."""
    apply(database_url, SMOKE)
    start = now_ms() - MINUTE
    for second, values in ((0, (0.2, 0.3, 0.05)), (30, (0.05, 0.2))):
        with store_of(database_url, lease) as store:
            for number, value in enumerate(values):
                store.commit([smoke(second + number + 1, value, start + 1000 * (second + 10 * number))])
    assert [row[:2] for row in told(database_url)] == [("start", 0), ("update", 1), ("end", 2), ("start", 0)]
    return database_url


def test_conditions_that_begin_go_on_and_end_have_no_faults(smoked: str) -> None:
    found = audit(smoked, {})
    assert (found.rule_conditions, found.faults) == (2, [])


#: Whose row it is: of the condition that is over, or of the one that stands.
OVER = "observation_id = (SELECT observation_id FROM observation WHERE phase = 'end')"
STANDS = "observation_id <> (SELECT observation_id FROM observation WHERE phase = 'end')"


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (
            f"DELETE FROM observation WHERE phase = 'start' AND {OVER}",
            ["OVER: it has 0 starts", "OVER: revision 0 was told 0 times"],
        ),
        (
            "UPDATE observation SET phase = 'start' WHERE phase = 'update'",
            ["OVER: it has 2 starts"],
        ),
        (
            f"UPDATE observation SET revision = 1 - revision WHERE phase <> 'end' AND {OVER}",
            ["OVER: its start is not the first that was told of it"],
        ),
        (
            "UPDATE observation SET phase = 'end' WHERE phase = 'update'",
            ["OVER: it has 2 ends"],
        ),
        (
            f"UPDATE observation SET revision = 3 - revision WHERE phase <> 'start' AND {OVER}",
            ["OVER: its end is not the last that was told of it"],
        ),
        (
            "DELETE FROM observation WHERE phase = 'update'",
            ["OVER: revision 1 was told 0 times"],
        ),
        (
            "UPDATE observation SET revision = 1 WHERE phase = 'end'",
            ["OVER: revision 1 was told 2 times"],
        ),
        (
            "DELETE FROM observation WHERE phase = 'end'",
            [
                "OVER: no end was told, and its rule does not hold it for going on",
                "STANDS: it began while OVER went on",
            ],
        ),
        (
            "UPDATE observation SET committed_at = committed_at + interval '1 hour' WHERE phase = 'end'",
            ["STANDS: it began while OVER went on"],
        ),
        (
            "DELETE FROM rule_state",
            ["STANDS: no end was told, and its rule does not hold it for going on"],
        ),
        (
            """UPDATE rule_state SET state = state || '{"revision": 3}'""",
            ["STANDS: it was told up to revision 0, and its rule is at 3"],
        ),
        (
            f"UPDATE observation SET phase = 'end' WHERE {STANDS}",
            ["STANDS: it has 0 starts", "STANDS: its end was told, and its rule holds it for going on"],
        ),
        (
            f"DELETE FROM observation WHERE {STANDS}",
            ["STANDS: its rule holds it for going on, and nothing was told of it"],
        ),
    ],
    ids=[
        "a start lost",
        "a second start",
        "a start too late",
        "a second end",
        "an end too early",
        "an update lost",
        "a revision twice",
        "an end lost",
        "two at once",
        "a state lost",
        "a state of another time",
        "a state that outlived its end",
        "a start lost of what stands",
    ],
)
def test_each_way_in_which_a_condition_is_torn_is_named(smoked: str, change: str, faults: list[str]) -> None:
    ids = dict(rows(smoked, f"SELECT DISTINCT observation_id::text, {OVER} FROM observation"))
    names = {"OVER" if over else "STANDS": known for known, over in ids.items()}
    rows(smoked, change)
    found = [
        fault.replace("condition ", "").replace(" of rule:smoke on kiln/box-0 smoke-1", "")
        for fault in audit(smoked, {}).faults
    ]
    assert found == [re.sub("OVER|STANDS", lambda name: names[name[0]], fault) for fault in faults]


def test_a_state_that_was_not_kept_shows_when_another_gateway_goes_on(smoked: str, lease: Lease) -> None:
    """As it would be if states had a transaction of their own, and the gateway were killed before it."""
    rows(smoked, "DELETE FROM rule_state")
    with store_of(smoked, lease) as store:
        store.commit([smoke(90, 0.3, now_ms() - 1000), smoke(91, 0.05, now_ms())])
    assert [fault.partition(": ")[2].partition(" while ")[0] for fault in audit(smoked, {}).faults] == [
        "no end was told, and its rule does not hold it for going on",
        "it began",
    ]


def test_what_rules_of_every_kind_tell_hangs_together(database_url: str, lease: Lease) -> None:
    """Also where a gateway takes over between any two packets, and a rule only is a part of a combination."""
    apply(database_url, STORM)
    start = now_ms() - 60 * MINUTE
    for one in storm(start, range(30)):
        with store_of(database_url, lease) as store:
            store.commit([one])
    with store_of(database_url, lease) as store:
        later = [start + 40 * MINUTE]
        store.commit([packet(50, ("smoke-1", "temperature", later, [30.0]))])
        found = audit(database_url, {})
        assert rows(database_url, "SELECT rule_id FROM rule_device_state") == [("flash-flood",)]
        assert (found.rule_conditions, found.faults) == (4, [])
        later = [start + 41 * MINUTE]
        store.commit(
            [
                packet(
                    51, ("manhole-1", "water_level", later, [0.2]), ("rain-1", "rain_intensity", later, [0.0])
                )
            ]
        )
    found = audit(database_url, {})
    assert (found.rule_conditions, found.faults) == (4, [])
    assert rows(database_url, "SELECT count(*) FROM rule_device_state") == [(0,)]


def test_two_combinations_of_a_device_at_once_are_named_whoever_began_them(
    database_url: str, lease: Lease
) -> None:
    apply(database_url, STORM)
    with store_of(database_url, lease) as store:
        store.commit(storm(now_ms() - 60 * MINUTE, range(30)))
    rows(
        database_url,
        "INSERT INTO observation (at, device_id, observation_id, phase, revision, category, source, sensor, severity,"
        " started_at, count, unit, evidence, detail, received_at, committed_at)"
        " SELECT at, device_id, '00000000-0000-4000-8000-000000000008', n.phase, n.revision, category, source, 'another', severity,"
        " started_at, count, unit, evidence, detail, received_at, committed_at + interval '1 hour'"
        " FROM observation, (VALUES ('start', 0), ('end', 1)) AS n (phase, revision)"
        " WHERE source = 'rule:flash-flood' AND observation.phase = 'start'",
    )
    (fault,) = audit(database_url, {}).faults
    assert re.search("000000000008 of rule:flash-flood on kiln/box-0: it began while .* went on", fault)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([(0, 0.2), (1, 0.05), (2, 0.2), (3, 0.05), (4, 0.2)], id="several in one packet"),
        pytest.param([(50, 0.2), (55, 0.05), (10, 0.2), (20, 0.05), (58, 0.2)], id="late readings"),
    ],
)
def test_conditions_that_follow_each_other_closely_are_no_fault(
    database_url: str, lease: Lease, values: list[tuple[int, float]]
) -> None:
    apply(database_url, SMOKE)
    start = now_ms() - MINUTE
    series = ("smoke-1", "smoke_density", [start + 1000 * at for at, _ in values], [one for _, one in values])
    with store_of(database_url, lease) as store:
        store.commit([packet(1, series)])
    found = audit(database_url, {})
    assert found.rule_conditions >= 2
    assert found.faults == []


def test_a_clock_that_was_set_back_between_two_gateways_is_no_fault(database_url: str, lease: Lease) -> None:
    """By capture times the second condition begins before the first is over."""
    apply(database_url, SMOKE)
    ahead = now_ms() + 60 * MINUTE
    for number, at in enumerate((ahead, now_ms())):
        with store_of(database_url, lease) as store:
            store.commit([smoke(2 * number + 1, 0.2, at), smoke(2 * number + 2, 0.05, at + 1)])
    times = rows(database_url, "SELECT at FROM observation ORDER BY committed_at, revision")
    assert times != sorted(times)
    found = audit(database_url, {})
    assert (found.rule_conditions, found.faults) == (2, [])


def test_a_condition_that_new_rules_put_an_end_to_is_no_fault(smoked: str, lease: Lease) -> None:
    apply(smoked, STORM)
    found = audit(smoked, {})
    assert (found.rule_conditions, found.faults) == (2, [])
    apply(smoked, SMOKE)
    with store_of(smoked, lease) as store:
        store.commit([smoke(90, 0.3)])
    found = audit(smoked, {})
    assert (found.rule_conditions, found.faults) == (3, [])


def test_a_silence_that_outlasts_its_rule_and_is_found_by_another_is_another(
    database_url: str, lease: Lease
) -> None:
    start = now_ms() - 60 * MINUTE
    for number, rules in enumerate((STORM, SMOKE, STORM)):
        apply(database_url, rules)
        with store_of(database_url, lease) as store:
            if number == 0:
                store.commit([packet(1, ("manhole-1", "water_level", [start], [0.2]))])
            later = [start + (10 + number) * MINUTE]
            store.commit([packet(2 + number, ("smoke-1", "smoke_density", later, [0.01]))])
    silent = "SELECT phase FROM observation WHERE category = 'device.sensor_silent' ORDER BY committed_at, revision"
    assert rows(database_url, silent) == [("start",), ("end",), ("start",)]
    found = audit(database_url, {})
    assert (found.rule_conditions, found.faults) == (2, [])


def test_a_condition_that_is_about_to_end_still_goes_on(database_url: str, lease: Lease) -> None:
    apply(database_url, SMOKE.replace("update_s", "clear_hold_s: 30\n    update_s"))
    with store_of(database_url, lease) as store:
        store.commit([smoke(1, 0.2, now_ms() - 2000), smoke(2, 0.05, now_ms() - 1000)])
    assert rows(database_url, "SELECT state ->> 'position' FROM rule_state") == [("falling",)]
    found = audit(database_url, {})
    assert (found.rule_conditions, found.faults) == (1, [])


def test_a_rule_that_only_is_a_part_of_a_combination_by_now_need_not_tell(smoked: str, lease: Lease) -> None:
    both = "  - {id: fire, kind: all_of, members: [smoke, hot], category: smoke.alarm, severity: 4}\n"
    hot = (
        SMOKE.partition("rules:\n")[2].replace("smoke\n", "hot\n", 1).replace("smoke_density", "temperature")
    )
    apply(smoked, SMOKE + "    tells: false\n" + hot + "    tells: false\n" + both)
    with store_of(smoked, lease) as store:
        store.commit([smoke(90, 0.3)])
    assert rows(smoked, "SELECT state ->> 'position' FROM rule_state") == [("raised",)]
    found = audit(smoked, {})
    assert (found.rule_conditions, found.faults) == (2, [])
