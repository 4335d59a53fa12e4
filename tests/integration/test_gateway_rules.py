"""Rules in the batch's transaction against the real database: their memory, their versions, and who is called."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from common.runtime.config import InvalidConfigError
from common.runtime.errors import InvalidError, TransientError
from common.runtime.stop import Stop
from common.wire.codec import encode_packet, encode_status
from common.wire.messages import Readings, Series, Status
from common.wire.topics import Address
from gateway.batch import BatchResult
from gateway.decode import Decoded, Decoder, RawMessage
from gateway.fleet.repo import connect
from gateway.lease import CHECK_LEASE, Lease, LeaseKeeper
from gateway.metrics_catalogue import catalogue
from gateway.rulebook import repo, versions
from gateway.rulebook.stepping import KEEP_EVERY_S
from gateway.store import Store
from tests.integration.gateway_rig import eventually, now_ms, register, rows

pytestmark = pytest.mark.services

BOX, OTHER = Address("kiln", "box-0"), Address("kiln", "box-1")
MINUTE = 60_000
SMOKE = """
rules:
  - id: smoke
    metric: smoke_density
    category: smoke.alarm
    raise_at: 0.15
    clear_at: 0.08
    update_s: 10
    severity: [{at: 0.15, severity: 3}]
"""
STORM = """
rules:
  - id: rain-hour
    kind: window_sum
    of: intensity
    metric: rain_intensity
    category: rain.intense
    window_s: 3600
    raise_at: 20
    clear_at: 10
    severity: [{at: 20, severity: 2}]
  - id: rising
    kind: rate
    metric: water_level
    category: manhole.water_high
    span_s: 600
    per: hour
    raise_at: 0.6
    clear_at: 0.1
    severity: [{at: 0.6, severity: 3}]
    tells: false
  - id: flash-flood
    kind: all_of
    members: [rain-hour, rising]
    category: flood.water_level
    severity: 4
  - id: stuck
    kind: stuck
    metric: temperature
    category: device.sensor_stuck
    after_s: 600
    severity: 1
  - id: silent
    kind: silence
    metric: water_level
    category: device.sensor_silent
    after_s: 300
    severity: 1
"""


@pytest.fixture
def lease(database_url: str) -> Iterator[Lease]:
    """The default partition's lease."""
    register(database_url, "kiln", "box-0", "box-1")
    held = LeaseKeeper(database_url, "default", "test").try_acquire()
    assert held is not None
    yield held
    held.release()


@contextmanager
def store_of(url: str, lease: Lease) -> Iterator[Store]:
    """A store that steps the rules in force."""
    metrics = catalogue()
    made = Store(
        url, "default", lease.fencing, rule_book=versions.RuleBook(metrics), metrics=metrics, stop=Stop()
    )
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def store(database_url: str, lease: Lease) -> Iterator[Store]:
    """A store that steps the rules in force."""
    with store_of(database_url, lease) as made:
        yield made


def packet(seq: int, *series: tuple[str, str, list[int], list[float]], box: Address = BOX) -> Decoded:
    """A readings packet: (sensor, metric, instants, values)."""
    payload = encode_packet(box, 9, seq, now_ms(), Readings([Series(*one) for one in series]))
    return Decoder().decode(RawMessage(box.up("readings"), payload, False, now_ms(), len(payload)))


def smoke(seq: int, value: float, at: int | None = None, box: Address = BOX) -> Decoded:
    """One reading of smoke."""
    return packet(seq, ("smoke-1", "smoke_density", [at or now_ms()], [value]), box=box)


def apply(url: str, content: str, author: str = "wei", **more: Any) -> versions.Applied:
    """Make rules the newest version."""
    with connect(url, "test") as connection:
        return versions.apply(connection, content, catalogue(), author=author, note="", **more)


def told(url: str, category: str = "%") -> list[tuple[Any, ...]]:
    """What was observed: phase, revision, sensor, value and mark, in order."""
    return rows(
        url,
        "SELECT phase, revision, sensor, round(value::numeric, 3)::float8, mark FROM observation"
        " WHERE category LIKE %s ORDER BY at, revision",
        category,
    )


def phases(url: str, category: str = "%") -> list[str]:
    """The phases of what was observed, in order."""
    return [row[0] for row in told(url, category)]


def storm(start: int, minutes: range, box: Address = BOX) -> list[Decoded]:
    """A packet a minute: rain of 60 mm/h, water that rises 1.2 m an hour, a temperature that stands still."""
    packets = []
    for minute in minutes:
        at = [start + minute * MINUTE]
        packets.append(
            packet(
                minute + 1,
                ("rain-1", "rain_intensity", at, [60.0]),
                ("manhole-1", "water_level", at, [0.5 + 0.02 * minute]),
                ("smoke-1", "temperature", at, [21.5]),
                box=box,
            )
        )
    return packets


def test_a_storm_is_told_the_same_by_one_store_and_by_many_that_die(database_url: str, lease: Lease) -> None:
    """The sum, the rate and the standstill outlive a store: what it kept, and the readings after that, are there."""
    apply(database_url, STORM)
    start = now_ms() - 60 * MINUTE
    seen = []
    for box, lives in ((BOX, 1), (OTHER, 15)):
        packets = storm(start, range(30), box)
        each = len(packets) // lives
        for life in range(lives):
            with store_of(database_url, lease) as living:
                for one in packets[life * each : (life + 1) * each]:
                    living.commit([one])
        seen.append(
            rows(
                database_url,
                "SELECT category, phase, revision, sensor, at, started_at, value, detail FROM observation"
                " JOIN device USING (device_id) WHERE name = %s ORDER BY 1, 3, 2",
                box.device,
            )
        )
    assert seen[0] == seen[1]
    by_category = {row[0]: row for row in seen[0] if row[1] == "start"}
    assert set(by_category) == {"rain.intense", "flood.water_level", "device.sensor_stuck"}, (
        "the rising water alone tells nothing"
    )
    assert by_category["rain.intense"][6] == pytest.approx(20.0), "60 mm/h for twenty minutes"
    assert by_category["flood.water_level"][3] == "rain-1", "whose reading completed it"
    assert (by_category["device.sensor_stuck"][4] - by_category["device.sensor_stuck"][5]).seconds == 600


def test_what_a_measure_remembers_is_written_down_now_and_then(database_url: str, lease: Lease) -> None:
    apply(database_url, STORM)
    with store_of(database_url, lease) as store:
        start = now_ms() - 60 * MINUTE
        packets = storm(start, range(30))
        store.commit(packets[:3])
        assert store._memory is not None
        store._memory.rules.kept_at[:] = time.monotonic() - KEEP_EVERY_S - 1
        store.commit(packets[3:6])
        kept = rows(database_url, "SELECT rule_id, shape FROM rule_record ORDER BY 1")
        assert [name for name, _ in kept] == ["rain-hour", "rising", "stuck"]
    with store_of(database_url, lease) as store:
        rows(database_url, "DELETE FROM reading WHERE captured_at <= to_timestamp(%s)", start / 1000 + 250)
        store.commit(packets[6:])
    assert phases(database_url, "rain.intense")[0] == "start", (
        "the record knows what the readings no longer do"
    )
    value = next(row[3] for row in told(database_url, "rain.intense"))
    assert value == pytest.approx(20.0)


def test_a_silent_sensor_is_found_by_what_its_box_says_and_by_its_statuses(
    database_url: str, store: Store
) -> None:
    apply(database_url, STORM)
    start = now_ms() - 60 * MINUTE
    level = ("manhole-1", "water_level", [start], [0.5])
    store.commit([packet(1, level, ("smoke-1", "temperature", [start], [20.0]))])
    store.commit([packet(2, ("smoke-1", "temperature", [start + 4 * MINUTE], [21.0]))])
    assert phases(database_url, "device.sensor_silent") == []
    said = encode_status(BOX, now_ms(), Status("online", start + 6 * MINUTE))
    store.commit([Decoder().decode(RawMessage(BOX.up("status"), said, False, now_ms(), len(said)))])
    assert told(database_url, "device.sensor_silent") == [("start", 0, "manhole-1", 360.0, "")]
    store.commit([packet(3, ("manhole-1", "water_level", [start + 7 * MINUTE], [0.5]))])
    assert phases(database_url, "device.sensor_silent") == ["start", "end"]


def test_a_rule_that_is_removed_ends_what_it_raised_with_the_reason(database_url: str, store: Store) -> None:
    apply(database_url, SMOKE)
    store.commit([smoke(1, 0.3), smoke(1, 0.3, box=OTHER)])
    applied = apply(database_url, "rules: []")
    assert (applied.version, applied.ended) == (2, 2)
    assert phases(database_url) == ["start", "start", "end", "end"]
    ends = rows(
        database_url, "SELECT revision, ended_at = at, detail->>'reason' FROM observation WHERE phase = 'end'"
    )
    assert ends == [(1, True, "the rule was removed (version 2)")] * 2
    assert rows(database_url, "SELECT count(*) FROM observation_inbox WHERE phase = 'end'") == [(2,)]
    assert rows(database_url, "SELECT * FROM rule_state") == []
    store.commit([smoke(2, 0.3)])
    assert phases(database_url) == ["start", "start", "end", "end"], "nobody steps it any more"


def test_a_rule_with_other_thresholds_goes_on_and_is_judged_by_them(database_url: str, store: Store) -> None:
    apply(database_url, SMOKE)
    store.commit([smoke(1, 0.3)])
    assert apply(database_url, SMOKE.replace("0.08", "0.12").replace("0.15", "0.2")).ended == 0
    store.commit([smoke(2, 0.14)])
    assert phases(database_url) == ["start"]
    store.commit([smoke(3, 0.11)])
    assert phases(database_url) == ["start", "end"], "0.11 is below the new threshold, not the old one"


def test_a_rule_of_another_category_or_of_other_sensors_ends_what_it_raised(
    database_url: str, store: Store
) -> None:
    apply(database_url, SMOKE)
    store.commit([smoke(1, 0.3), smoke(1, 0.3, box=OTHER)])
    assert apply(database_url, SMOKE.replace("smoke.alarm", "camera.smoke")).ended == 2
    store.commit([smoke(2, 0.3), smoke(2, 0.3, box=OTHER)])
    assert phases(database_url, "camera.smoke") == ["start", "start"]
    narrowed = SMOKE.replace("smoke.alarm", "camera.smoke") + "    sensors: [smoke-2]\n"
    assert apply(database_url, narrowed).ended == 2


def test_a_combination_whose_member_goes_is_over_too(database_url: str, store: Store) -> None:
    both = SMOKE + "  - {id: any, kind: any_of, members: [smoke], category: camera.smoke, severity: 2}\n"
    apply(database_url, both)
    store.commit([smoke(1, 0.3)])
    assert rows(database_url, "SELECT rule_id FROM rule_device_state") == [("any",)]
    other = both.replace("smoke.alarm", "camera.fire")
    assert apply(database_url, other).ended == 2
    reasons = rows(
        database_url, "SELECT category, detail->>'reason' FROM observation WHERE phase = 'end' ORDER BY 1"
    )
    assert reasons == [
        ("camera.smoke", "the rules it combines changed (version 2)"),
        ("smoke.alarm", "the rule was changed (version 2)"),
    ]
    store.commit([smoke(2, 0.3)])
    assert phases(database_url, "camera.smoke") == ["start", "end", "start"]


def test_no_batch_is_stepped_by_rules_that_were_replaced_before_it_began(
    database_url: str, lease: Lease, store: Store
) -> None:
    """Whoever applies rules waits for the batch under way; the next one waits for the rules."""
    apply(database_url, SMOKE)
    store.commit([smoke(1, 0.0)])
    with psycopg.connect(database_url) as batch:
        batch.execute(CHECK_LEASE, ["default", lease.fencing])
        applied: list[versions.Applied] = []
        applier = threading.Thread(target=lambda: applied.append(apply(database_url, "rules: []")))
        applier.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        eventually(lambda: rows(database_url, waiting) == [(1,)])
        committer = threading.Thread(target=store.commit, args=([smoke(2, 0.9)],))
        committer.start()
        eventually(lambda: rows(database_url, waiting) == [(2,)])
        assert not applied
        batch.rollback()
    for thread in (applier, committer):
        thread.join(20)
    assert applied[0].version == 2
    assert phases(database_url) == [], "the batch that waited knows the new rules"


def test_a_batch_that_never_ends_is_waited_for_only_so_long(
    database_url: str, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repo, "_LOCK_SECONDS", 0.2)
    with psycopg.connect(database_url) as batch:
        batch.execute(CHECK_LEASE, ["default", lease.fencing])
        with pytest.raises(TransientError, match="batch has been under way"):
            apply(database_url, SMOKE)
    assert rows(database_url, "SELECT count(*) FROM rule_set") == [(0,)]


def test_faulty_rules_change_nothing(database_url: str) -> None:
    with pytest.raises(InvalidConfigError, match="phlogiston"):
        apply(database_url, SMOKE.replace("smoke_density", "phlogiston"))
    assert rows(database_url, "SELECT count(*) FROM rule_set") == [(0,)]


def test_whoever_looked_at_an_older_version_is_told(database_url: str) -> None:
    apply(database_url, SMOKE)
    apply(database_url, "rules: []", only_after=1)
    with pytest.raises(InvalidError, match="expected version 1 to be the newest, found 2"):
        apply(database_url, SMOKE, only_after=1)


def test_versions_are_never_edited(database_url: str) -> None:
    apply(database_url, SMOKE)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        rows(database_url, "UPDATE rule_set SET content = ''")
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        rows(database_url, "DELETE FROM rule_set")


def test_the_file_is_followed_until_somebody_applies_other_rules(database_url: str, store: Store) -> None:
    metrics = catalogue()
    versions.follow_file(database_url, SMOKE, metrics)
    store.commit([smoke(1, 0.3)])
    versions.follow_file(database_url, SMOKE + "# a comment more\n", metrics)
    versions.follow_file(database_url, "rules: []", metrics)
    assert phases(database_url) == ["start", "end"], "a rule that was deleted from the file is over as well"
    apply(database_url, SMOKE)
    versions.follow_file(database_url, "rules: []", metrics)
    found = rows(database_url, "SELECT version, author FROM rule_set ORDER BY 1")
    assert found == [(1, "gateway.yaml"), (2, "gateway.yaml"), (3, "wei")]


def test_states_that_an_older_release_left_behind_are_ended_by_the_first_version(
    database_url: str, lease: Lease
) -> None:
    (old,) = versions.parse(SMOKE, Path("x"), catalogue())
    before = Store(database_url, "default", lease.fencing, rules=(old,), metrics=catalogue(), stop=Stop())
    before.commit([smoke(1, 0.3)])
    before.close()
    versions.follow_file(database_url, "rules: []", catalogue())
    assert phases(database_url) == ["start", "end"]


def test_a_gateway_goes_on_with_the_newest_rules_that_it_understands(database_url: str, store: Store) -> None:
    apply(database_url, SMOKE)
    with psycopg.connect(database_url, autocommit=True) as connection:
        repo.add(connection, 2, "a newer release", "", "rules: [{id: x, kind: oracle}]")
    store.commit([smoke(1, 0.3)])
    assert phases(database_url) == ["start"]


def quiet(url: str, kind: str, since_s: float, until_s: float, device: str | None = "box-0") -> None:
    """A maintenance or drill, in seconds from now."""
    rows(
        url,
        "INSERT INTO quiet_time (kind, site, device, from_at, until_at, reason, who) VALUES (%s, 'kiln', %s,"
        " now() + make_interval(secs => %s), now() + make_interval(secs => %s), 'test', 'wei')",
        kind,
        device,
        since_s,
        until_s,
    )


def test_what_is_seen_in_maintenance_is_marked_and_what_outlasts_it_is_not(
    database_url: str, store: Store
) -> None:
    apply(database_url, SMOKE)
    now = now_ms()
    quiet(database_url, "maintenance", -300, -100)
    store.commit([smoke(1, 0.3, now - 200_000), smoke(2, 0.3, now - 150_000), smoke(3, 0.3, now - 50_000)])
    assert [(row[0], row[4]) for row in told(database_url)] == [
        ("start", "maintenance"),
        ("update", "maintenance"),
        ("update", ""),
    ]
    handed = rows(database_url, "SELECT phase, mark FROM observation_inbox ORDER BY inbox_id")
    assert [mark for _, mark in handed] == ["maintenance", "maintenance", ""]


def test_what_began_in_maintenance_and_was_over_at_the_next_look_calls_no_one(
    database_url: str, store: Store
) -> None:
    apply(database_url, SMOKE)
    now = now_ms()
    quiet(database_url, "maintenance", -300, -100)
    store.commit([smoke(1, 0.3, now - 105_000), smoke(2, 0.0, now - 99_000)])
    assert [(row[0], row[4]) for row in told(database_url)] == [
        ("start", "maintenance"),
        ("end", "maintenance"),
    ]


def test_an_alarm_on_the_shelf_is_marked_and_any_other_of_its_box_is_not(
    database_url: str, store: Store
) -> None:
    apply(database_url, SMOKE)
    now = now_ms()
    rows(
        database_url,
        "INSERT INTO quiet_time (kind, site, device, category, sensor, from_at, until_at, reason, who)"
        " SELECT 'shelved', 'kiln', 'box-0', category, sensor, now() - interval '300 s', now() - interval '100 s',"
        " 'test', 'wei' FROM (VALUES ('manhole.open', NULL), ('smoke.alarm', 'another')) AS it (category, sensor)"
        " RETURNING 1",
    )
    store.commit([smoke(1, 0.3, now - 200_000)])
    assert [row[4] for row in told(database_url)] == [""]
    rows(database_url, "UPDATE quiet_time SET sensor = NULL WHERE category = 'smoke.alarm' RETURNING 1")
    store.commit([smoke(2, 0.3, now - 150_000), smoke(3, 0.3, now - 50_000)])
    assert [(row[0], row[4]) for row in told(database_url)] == [
        ("start", ""),
        ("update", "shelved"),
        ("update", ""),
    ]


def test_a_drill_of_a_site_marks_all_of_its_devices(database_url: str, store: Store) -> None:
    apply(database_url, SMOKE)
    quiet(database_url, "drill", -300, 300, None)
    store.commit([smoke(1, 0.3), smoke(1, 0.3, box=OTHER)])
    assert [row[4] for row in told(database_url)] == ["drill", "drill"]


def test_batches_of_two_committers_and_new_rules_end_each_condition_once(
    database_url: str, lease: Lease
) -> None:
    apply(database_url, SMOKE)
    with store_of(database_url, lease) as one, store_of(database_url, lease) as other:
        stop = threading.Event()
        results: list[BatchResult] = []

        def work(store: Store, box: Address) -> None:
            seq = 0
            while not stop.is_set():
                seq += 1
                results.append(store.commit([smoke(seq, 0.3 if seq % 3 else 0.0, box=box)]))

        threads = [threading.Thread(target=work, args=pair) for pair in ((one, BOX), (other, OTHER))]
        for thread in threads:
            thread.start()
        for number in range(6):
            time.sleep(0.1)
            apply(database_url, SMOKE if number % 2 else "rules: []")
        time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join(20)
        apply(database_url, "rules: []")
    assert len(results) > 20
    open_ones = rows(
        database_url,
        "SELECT observation_id FROM observation GROUP BY 1 HAVING count(*) FILTER (WHERE phase = 'start') <> 1"
        " OR count(*) FILTER (WHERE phase = 'end') <> 1",
    )
    assert open_ones == []
