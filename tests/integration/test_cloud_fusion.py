"""A gauge that rises and the water in a camera's picture are one incident and one ticket, on the real database."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud.db import Database
from cloud.incidents.domain import Family
from cloud.summary.service import summarise
from tests.fixtures.centre import BORDER_LON, LAT, Centre
from tests.fixtures.matters import say
from tests.fixtures.reporting import file, served

pytestmark = pytest.mark.services
CAMERA, GAUGE = "camera.standing_water", "flood.water_level"
WATER = Family("water", (CAMERA, GAUGE), 80.0, 900.0, 3600.0)
BESIDE = BORDER_LON + 0.0006  # 60 m


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=12) as database:
        built = Centre(database)
        built.build()
        say(built, families=[WATER])
        yield built


def both(centre: Centre, order: tuple[str, ...] = (GAUGE, CAMERA)) -> None:
    """A gauge and, 60 m from it, a camera tell of water one after the other."""
    places = {GAUGE: BORDER_LON, CAMERA: BESIDE}
    for category in order:
        centre.put(centre.device(category.split(".")[0], lon=places[category]), category=category)
        centre.worker.drain()


@pytest.mark.parametrize("order", [(GAUGE, CAMERA), (CAMERA, GAUGE)])
def test_a_rising_gauge_and_water_in_a_picture_are_one_incident(
    centre: Centre, order: tuple[str, ...]
) -> None:
    both(centre, order)
    (incident,) = centre.rows("SELECT category, observations, ended_at FROM incident")
    assert tuple(incident.values()) == (CAMERA, 2, None)
    (ticket,) = centre.rows("SELECT ticket_id, category, channel, unit_code FROM ticket")
    assert (ticket["category"], ticket["channel"]) == (CAMERA, "camera")
    told = [event.kind for event in centre.tickets.get_ticket(ticket["ticket_id"]).events]
    assert ("category_changed" in told) is (order[0] == GAUGE)
    assert summarise(centre.database, centre.rules).sound


def test_who_owns_it_and_by_when_does_not_depend_on_who_told_first(centre: Centre) -> None:
    for number, order in enumerate([(GAUGE, CAMERA), (CAMERA, GAUGE)]):
        for category in order:
            lat = LAT + number * 0.002
            centre.put(centre.device(f"{category[:5]}-{number}", lat=lat), category=category)
            centre.worker.drain()
    told = "SELECT unit_code, policy ->> 'name' AS policy, category, channel FROM ticket"
    found = [tuple(row.values()) for row in centre.rows(told)]
    assert len(found) == 2
    assert found[0] == found[1]


def test_what_is_farther_apart_than_the_family_reaches_is_two(centre: Centre) -> None:
    centre.put(centre.device("gauge"), category=GAUGE)
    centre.put(centre.device("camera", lon=BORDER_LON + 0.002), category=CAMERA)
    centre.worker.drain()
    assert centre.value("SELECT count(*) FROM ticket") == 2


def test_what_comes_later_than_the_family_allows_is_another_incident_of_the_matter(centre: Centre) -> None:
    centre.put(centre.device("gauge"), "end", revision=1, category=GAUGE, ended_s=30)
    centre.worker.drain()
    centre.clock.advance(1000)
    centre.put(centre.device("camera"), category=CAMERA)
    centre.worker.drain()
    assert centre.value("SELECT count(*) FROM incident") == 2
    assert centre.value("SELECT count(*) FROM ticket") == 1  # still open, so the matter's one ticket


def test_without_a_family_they_stay_two(centre: Centre) -> None:
    say(centre)
    both(centre)
    assert centre.value("SELECT count(*) FROM ticket") == 2


@pytest.mark.parametrize("order", ["devices first", "people first"])
def test_a_report_of_either_and_the_devices_share_one_ticket(
    database_url: str, tmp_path: Path, order: str
) -> None:
    with served(database_url, tmp_path) as it:
        say(it.centre, families=[WATER])
        with it.client() as desk:
            if order == "people first":
                file(desk, category=GAUGE)
            both(it.centre)
            if order == "devices first":
                file(desk, category=GAUGE)
        (ticket,) = it.centre.rows("SELECT category, channel FROM ticket")
        assert ticket["category"] == CAMERA
        assert ticket["channel"] == ("camera" if order == "devices first" else "hotline")
        assert it.centre.value("SELECT count(*) FROM incident") == 1


def test_two_workers_open_one_ticket_for_both_of_a_family(centre: Centre, database_url: str) -> None:
    rounds = 12
    with Database(database_url, size=4) as other_database:
        workers = (centre.new_worker(), centre.new_worker(other_database))
        for number in range(rounds):
            lat = 26.0805 + number * 0.01
            centre.put(centre.device(f"g-{number}", BORDER_LON - 0.0002, lat), category=GAUGE)
            centre.put(centre.device(f"c-{number}", BORDER_LON + 0.0002, lat), category=CAMERA)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("cloud.worker._BATCH", 1)
                threads = [threading.Thread(target=worker.drain) for worker in workers]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
    assert centre.value("SELECT count(*) FROM matter") == rounds
    assert centre.value("SELECT count(*) FROM ticket") == rounds
    assert summarise(centre.database, centre.rules).sound


def archive(dice: random.Random) -> list[dict[str, Any]]:
    """An hour of water that comes and goes at one place, as one gauge and two cameras tell it."""
    told = []
    for name, category in (("gauge", GAUGE), ("camera-1", CAMERA), ("camera-2", CAMERA)):
        at = dice.randrange(0, 300)
        while at < 3600:
            ends = at + dice.randrange(60, 120)
            observation_id = uuid.UUID(int=dice.getrandbits(128), version=4)
            common = {"name": name, "category": category, "observation_id": observation_id, "started_s": at}
            told.append(common | {"phase": "start", "at_s": at, "value": 0.1})
            told.append(
                common | {"phase": "update", "revision": 1, "at_s": (at + ends) // 2, "value": dice.random()}
            )
            told.append(common | {"phase": "end", "revision": 2, "ended_s": ends, "value": 0.0})
            at = ends + dice.choice([150, 700, 1100])
    return told


def held(centre: Centre, seed: int) -> tuple[list[Any], ...]:
    """Incidents, each by what is in it, and the tickets, of one order of arrival."""
    incidents = centre.rows(
        "SELECT incident.category, incident.started_at, incident.last_at, incident.ended_at, incident.severity,"
        " count(*) AS seen, max(greatest(seen.value, seen.peak)) AS level,"
        " array_agg(seen.observation_id::text ORDER BY seen.observation_id) AS names"
        " FROM incident JOIN incident_observation AS seen USING (incident_id) JOIN device"
        " ON device.device_id = seen.device_id WHERE device.name LIKE %(mine)s GROUP BY incident.incident_id"
        " ORDER BY incident.started_at",
        mine=f"%-{seed}",
    )
    tickets = centre.rows(
        "SELECT category, channel, severity, unit_code FROM ticket WHERE lat BETWEEN %(lat)s - 0.0001"
        " AND %(lat)s + 0.0001 ORDER BY number",
        lat=LAT + seed * 0.002,
    )
    return incidents, tickets


def told_in_order(told: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """As they come in: each up to a minute late; of seed 0 as they were sent."""
    dice = random.Random(seed)
    late = [
        phase.get("ended_s", phase.get("at_s", 0)) + (dice.randrange(60) if seed else 0) for phase in told
    ]
    return [told[number] for number in sorted(range(len(told)), key=late.__getitem__)]


def test_what_a_family_tells_in_any_order_within_the_bound_makes_the_same_incidents(centre: Centre) -> None:
    say(centre, families=[replace(WATER, rejoin_s=200)])
    told = archive(random.Random(3))
    centre.clock.advance(3600)  # what is told is an hour old at most, so that each of it is worth a ticket
    for seed in range(4):
        devices = {
            name: centre.device(f"{name}-{seed}", BORDER_LON + number * 0.0001, LAT + seed * 0.002)
            for number, name in enumerate(("gauge", "camera-1", "camera-2"))
        }
        for phase in told_in_order(told, seed):
            values = {key: value - 3600 if key.endswith("_s") else value for key, value in phase.items()}
            centre.put(devices[values.pop("name")], values.pop("phase"), **values)
            centre.worker.drain()
    expected = held(centre, 0)
    assert len(expected[0]) > 1
    assert any(row["seen"] > 1 for row in expected[0])
    assert {row["category"] for row in expected[1]} == {CAMERA}
    for seed in range(1, 4):
        assert held(centre, seed) == expected
    assert summarise(centre.database, centre.rules).sound
