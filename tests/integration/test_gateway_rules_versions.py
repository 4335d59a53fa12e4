"""Versions of rules: each batch is stepped by one set, and what the next set does not go on with ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from common.runtime.clock import ManualClock
from common.runtime.config import InvalidConfigError
from common.runtime.errors import InvalidError, TransientError
from common.runtime.stop import Stop
from common.wire.topics import Address
from gateway.batch import BatchResult
from gateway.lease import CHECK_LEASE, Lease
from gateway.metrics_catalogue import catalogue
from gateway.rulebook import repo, versions
from gateway.store import Store
from tests.fixtures.gateway_rules import BOX, OTHER, SMOKE, apply, phases, smoke, store_of
from tests.fixtures.moved_database import set_ahead
from tests.integration.gateway_rig import eventually, now_ms, rows

pytestmark = pytest.mark.services


@pytest.fixture
def store(database_url: str, lease: Lease) -> Iterator[Store]:
    """A store that steps the rules in force."""
    with store_of(database_url, lease) as made:
        yield made


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


def ends_after_s(database_url: str) -> list[float]:
    """How far from now, by a clock that is right, each end is dated."""
    query = "SELECT extract(epoch FROM ended_at - now())::float8 FROM observation WHERE phase = 'end'"
    return [after_s for (after_s,) in rows(database_url, query)]


def test_the_end_of_a_rule_that_a_person_removed_is_of_the_databases_clock(
    database_url: str, store: Store
) -> None:
    apply(database_url, SMOKE)
    store.commit([smoke(1, 0.3)])
    apply(set_ahead(database_url, 3600), "rules: []")
    assert ends_after_s(database_url) == [pytest.approx(3600, abs=30)]


def test_the_end_of_a_rule_that_left_the_file_is_of_the_gateways_clock(
    database_url: str, store: Store
) -> None:
    versions.follow_file(database_url, SMOKE, catalogue())
    store.commit([smoke(1, 0.3)])
    clock = ManualClock(now_ms() + 1_800_000)
    versions.follow_file(database_url, "rules: []", catalogue(), clock)
    assert ends_after_s(database_url) == [pytest.approx(1800, abs=30)]


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
        eventually(lambda: len(results) > 20)
        stop.set()
        for thread in threads:
            thread.join(20)
        apply(database_url, "rules: []")
    open_ones = rows(
        database_url,
        "SELECT observation_id FROM observation GROUP BY 1 HAVING count(*) FILTER (WHERE phase = 'start') <> 1"
        " OR count(*) FILTER (WHERE phase = 'end') <> 1",
    )
    assert open_ones == []
