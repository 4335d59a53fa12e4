"""The audit says "nothing lost" only where nothing was lost: each thing that can go wrong is made to, and is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from cloud.db import Database as CentreDatabase
from common.runtime.clock import SystemClock, to_datetime
from common.wire.messages import Events, Observation, Readings, Series
from common.wire.topics import Address
from edge.database import FILE_NAME, Database
from edge.outbox import SqliteOutbox
from local.demo.audit import Audit, audit, lives_of
from tests.fixtures.centre import BORDER_LON, Centre
from tests.integration.gateway_rig import rows

pytestmark = pytest.mark.services

LAMP = Address("gulou", "lamp-01")
SEEN = Observation(
    observation_id="00000000-0000-4000-8000-000000000007",
    phase="start",
    revision=0,
    category="camera.zone_crowded",
    source="scene:cam-1:plaza",
    sensor="cam-1",
    started_at=1_767_225_600_000,
    at=1_767_225_600_000,
    severity=2,
)


class World:
    """A box with three packets, and a store that took them in by hand."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        database = Database(directory)
        with closing(database):
            outbox = SqliteOutbox(database, LAMP, SystemClock())
            outbox.append(
                Readings([Series("rain-1", "rain_intensity", [1_767_225_600_000] * 3, [1.0, 2.0, 3.0])])
            )
            outbox.append(Readings([Series("smoke-1", "smoke_density", [1_767_225_600_000], [0.1])]))
            outbox.append(Events([SEEN]))
            self.epoch = outbox.epoch

    def take_in(self) -> None:
        """What the gateway does with those packets."""
        self.run("INSERT INTO device (site, name, lon, lat) VALUES ('gulou', 'lamp-01', 119.3, 26.1)")
        self.run(
            "INSERT INTO device_stream (device_id, epoch, received, received_at)"
            " SELECT device_id, %s, '{[1,4)}', now() FROM device",
            self.epoch,
        )
        for sensor, metric, count in (("rain-1", "rain_intensity", 3), ("smoke-1", "smoke_density", 1)):
            self.run(
                "INSERT INTO series (device_id, sensor, metric) SELECT device_id, %s, %s FROM device",
                sensor,
                metric,
            )
            for _ in range(count):
                self.add_reading(sensor)
        self.add_observation()

    def add_reading(self, sensor: str) -> None:
        self.run(
            "INSERT INTO reading (captured_at, received_at, value, series_id, flags)"
            " SELECT now(), now() + interval '1 second', 1, series_id, 0 FROM series WHERE sensor = %s",
            sensor,
        )

    def add_observation(self) -> None:
        self.run(
            "INSERT INTO observation (at, device_id, observation_id, phase, revision, category, source, sensor,"
            " severity, started_at, count, unit, evidence, detail, received_at, epoch, seq)"
            " SELECT %s, device_id, %s, 'start', 0, %s, %s, 'cam-1', 2, %s, 1, '', '[]', '{}', now(), %s, 3 FROM device",
            to_datetime(SEEN.at),
            SEEN.observation_id,
            SEEN.category,
            SEEN.source,
            to_datetime(SEEN.at),
            self.epoch,
        )

    def run(self, query: str, *arguments: object) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(query.encode(), arguments)

    def audit(self) -> Audit:
        return audit(self.url, {LAMP: self.directory})


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> World:
    made = World(tmp_path / "box", database_url)
    made.take_in()
    return made


def test_a_store_that_took_in_each_packet_once_has_no_faults(world: World) -> None:
    found = world.audit()
    assert found.faults == []
    assert (found.packets_numbered, found.packets_committed) == (3, 3)
    assert (found.readings_sent, found.readings_stored) == (4, 4)
    assert (found.observations_sent, found.observations_stored) == (1, 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "UPDATE device_stream SET received = '{[1,2), [3,4)}'",
            r"packets \{\[2,3\)\} of 3 are not in the store",
        ),
        ("DELETE FROM device_stream", r"packets \[1,3\] of 3 are not in the store"),
        ("UPDATE device_stream SET received = '{[1,9)}'", "has 5 packets that the box never numbered"),
        (
            "UPDATE device_stream SET abandoned = '{[2,3)}'",
            "1 packets were given up by the box, 0 were rejected",
        ),
        ("UPDATE device_stream SET rejected = 1", "0 packets were given up by the box, 1 were rejected"),
        (
            "INSERT INTO reject (received_at, device_id, topic, reason, message, size, payload)"
            " SELECT now() + interval '1 second', device_id, 't', 'unknown_metric', 'm', 1, '' FROM device",
            "1 messages were rejected",
        ),
        (
            "DELETE FROM reading WHERE series_id = (SELECT series_id FROM series WHERE sensor = 'smoke-1')",
            "readings of smoke-1 smoke_density: sent 1, stored 0",
        ),
        ("DELETE FROM observation", "camera.*|observation .* start 0: sent 1, stored 0"),
        (
            "INSERT INTO observation SELECT * FROM observation",
            "observation .* start 0: sent 1, stored 2",
        ),
        (
            "INSERT INTO inbox_failed SELECT 1, now(), 3, 'e', device_id, gen_random_uuid(), 'start', 'c', '{}' FROM device",
            "1 observations could not be applied",
        ),
    ],
)
def test_each_loss_and_each_double_is_named(world: World, change: str, told: str) -> None:
    world.run(change)
    found = world.audit()
    assert any(re.search(told, fault) for fault in found.faults), found.faults


def test_a_loss_and_a_double_of_two_sensors_do_not_cancel_out(world: World) -> None:
    world.run("DELETE FROM reading WHERE series_id = (SELECT series_id FROM series WHERE sensor = 'smoke-1')")
    world.add_reading("rain-1")
    found = world.audit()
    assert found.readings_sent == found.readings_stored
    assert found.faults == [
        "gulou/lamp-01 readings of rain-1 rain_intensity: sent 3, stored 4",
        "gulou/lamp-01 readings of smoke-1 smoke_density: sent 1, stored 0",
    ]


def test_what_the_store_held_before_the_box_began_is_not_held_against_it(world: World) -> None:
    world.run(
        "INSERT INTO reading (captured_at, received_at, value, series_id, flags)"
        " SELECT now(), now() - interval '1 day', 1, series_id, 0 FROM series"
    )
    assert world.audit().faults == []


def test_a_box_that_only_said_hello_has_numbered_nothing(world: World, tmp_path: Path) -> None:
    database = Database(tmp_path / "quiet")
    with closing(database):
        epoch = SqliteOutbox(database, LAMP, SystemClock()).epoch
    world.run("DELETE FROM observation")
    world.run("DELETE FROM reading")
    world.run("DELETE FROM device_stream")
    world.run(
        "INSERT INTO device_stream (device_id, epoch, received, received_at)"
        " SELECT device_id, %s, '{}', now() FROM device",
        epoch,
    )

    found = audit(world.url, {LAMP: tmp_path / "quiet"})

    assert (found.packets_numbered, found.packets_lost, found.faults) == (0, 0, [])


def test_a_box_that_never_opened_its_file_has_numbered_nothing(world: World, tmp_path: Path) -> None:
    assert audit(world.url, {LAMP: tmp_path / "none"}).packets_numbered == 0


def test_a_box_that_is_just_opening_its_file_has_numbered_nothing(tmp_path: Path) -> None:
    assert lives_of(LAMP, tmp_path) == []
    (tmp_path / FILE_NAME).touch()
    assert lives_of(LAMP, tmp_path) == []


def test_what_the_gateway_itself_told_twice_is_named_as_well(world: World) -> None:
    """No box's file knows of it, so nothing else compares it."""
    world.run("UPDATE observation SET source = 'silence', epoch = NULL, seq = NULL")
    assert audit(world.url, {}).faults == []
    world.run("INSERT INTO observation SELECT * FROM observation")
    assert audit(world.url, {}).faults == [f"stored twice: {SEEN.observation_id} revision 0"]


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    """A ticket centre with two floods 2 km apart and smoke 10 m from the second, of each an open ticket."""
    with CentreDatabase(database_url, size=4) as database:
        built = Centre(database)
        built.build()
        built.open_one(lon=BORDER_LON)
        built.open_one(lon=BORDER_LON + 0.02)
        built.open_one(lon=BORDER_LON + 0.0201, category="smoke.alarm")
        yield built


def of_the_centre(centre: Centre, change: str = "") -> Audit:
    """The audit of a ticket centre that nobody sent packets to, after something was done to it behind its back."""
    if change:
        rows(centre.database.url, change)
    return audit(centre.database.url, {})


def test_a_centre_that_keeps_its_promises_has_no_faults(centre: Centre) -> None:
    found = of_the_centre(centre)
    assert (found.incidents_ticket_worthy, found.faults) == (3, [])


def test_an_incident_without_its_ticket_is_named(centre: Centre) -> None:
    incident = centre.value("SELECT incident_id FROM incident WHERE category = 'smoke.alarm'")
    found = of_the_centre(centre, f"DELETE FROM ticket_incident WHERE incident_id = '{incident}'")
    assert found.incidents_without_one_ticket == 1
    assert found.faults == [f"incident {incident} is ticket-worthy and not in exactly one ticket"]


def test_a_matter_with_two_open_tickets_is_named_should_the_index_ever_be_gone(centre: Centre) -> None:
    (one, other) = (
        row["matter_id"] for row in centre.rows("SELECT matter_id FROM ticket WHERE category LIKE 'flood%'")
    )
    rows(centre.database.url, "DROP INDEX ticket_one_open")
    found = of_the_centre(centre, f"UPDATE ticket SET matter_id = {one} WHERE matter_id = {other}")
    assert found.matters_with_two_open_tickets == 1
    assert found.faults == [f"matter {one} has more than one open ticket"]


def test_two_matters_that_are_one_are_counted_which_no_index_can_forbid(centre: Centre) -> None:
    """What two workers would make that look for a matter at once, each before the other's is there."""
    found = of_the_centre(
        centre, f"UPDATE matter SET lon = {BORDER_LON + 0.0001} WHERE lon = {BORDER_LON + 0.02}"
    )
    assert found.matters_too_near == 2
    assert found.faults == [
        "2 matters with open tickets stand so near to others of their kind that they are one with them"
    ]
    assert of_the_centre(centre, "UPDATE ticket SET state = 'void', closed_at = now()").faults == []
