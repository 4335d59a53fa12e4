"""Rules in the batch's transaction against the real database: what they remember outlives whoever steps them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from common.wire.codec import encode_status
from common.wire.messages import Status
from gateway.decode import Decoder, RawMessage
from gateway.lease import Lease
from gateway.rulebook.stepping import KEEP_EVERY_S
from gateway.store import Store
from tests.fixtures.gateway_rules import (
    BOX,
    MINUTE,
    OTHER,
    STORM,
    apply,
    packet,
    phases,
    store_of,
    storm,
    told,
)
from tests.integration.gateway_rig import now_ms, rows

pytestmark = pytest.mark.services


@pytest.fixture
def store(database_url: str, lease: Lease) -> Iterator[Store]:
    """A store that steps the rules in force."""
    with store_of(database_url, lease) as made:
        yield made


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
