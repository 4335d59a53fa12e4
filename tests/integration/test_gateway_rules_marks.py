"""What is seen in maintenance, in a drill or of an alarm on the shelf is marked, and what outlasts it is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.lease import Lease
from gateway.store import Store
from tests.fixtures.gateway_rules import OTHER, SMOKE, apply, smoke, store_of, told
from tests.integration.gateway_rig import now_ms, rows

pytestmark = pytest.mark.services


@pytest.fixture
def store(database_url: str, lease: Lease) -> Iterator[Store]:
    """A store that steps the rules in force."""
    with store_of(database_url, lease) as made:
        yield made


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
