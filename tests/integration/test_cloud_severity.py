"""Severity rises by rules of the district, says why, and never falls by itself; on the real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.db import Database
from cloud.severity.domain import SeverityRule, VulnerablePlace
from cloud.severity.service import raise_lasting
from tests.fixtures.centre import BORDER_LON, LAT, Centre
from tests.fixtures.matters import say
from tests.fixtures.reporting import file, served

pytestmark = pytest.mark.services
SCHOOL = VulnerablePlace("school", "实验小学", "Primary School", BORDER_LON, LAT + 0.0005, 120, ("flood.*",))
RULES = (
    SeverityRule(1, "deep-at-school", "flood.*", 4, level=0.4, near=("school",)),
    SeverityRule(2, "hour-long", "flood.*", 4, lasts_s=3600),
    SeverityRule(3, "two-see", "flood.*", 3, devices=2),
    SeverityRule(4, "three-tell", "*", 3, reports=3),
)


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=12) as database:
        built = Centre(database)
        built.build()
        say(built, rules=RULES, places=[SCHOOL])
        yield built


def test_deep_water_at_a_school_is_critical_from_the_opening_and_its_policy_with_it(centre: Centre) -> None:
    with centre.database.transaction() as tx:
        tx.run("INSERT INTO policy VALUES (9, 'urgent', 'flood.*', 4, 30, 60, 300)")
        tx.run("UPDATE policy SET position = position + 10 WHERE name <> 'urgent'")
    ticket = centre.tickets.get_ticket(centre.open_one(severity=2, value=0.5))
    assert (ticket.severity, ticket.policy["name"]) == (4, "urgent")
    (reason,) = ticket.severity_reasons
    assert (reason.before, reason.after, reason.because, reason.rule) == (2, 4, "rule", "deep-at-school")
    assert reason.facts is not None
    assert (reason.facts.level, reason.facts.unit) == (0.5, "m")
    assert reason.facts.near is not None
    assert (reason.facts.near.name_en, reason.facts.near.metres) == ("Primary School", 56)


def test_a_second_device_raises_an_open_ticket_and_its_policy_stays(centre: Centre) -> None:
    ticket_id = centre.open_one(severity=2)
    policy = centre.tickets.get_ticket(ticket_id).policy
    centre.put(centre.device("other"), severity=2)
    centre.worker.drain()
    ticket = centre.tickets.get_ticket(ticket_id)
    assert ticket.severity == 3
    assert ticket.policy == policy
    assert ticket.events[-1].detail["rule"] == "two-see"
    assert ticket.events[-1].detail["facts"] == {"devices": 2}


def test_it_does_not_fall_when_the_water_does(centre: Centre) -> None:
    device = centre.device("gauge")
    told = centre.put(device, severity=2, value=0.5)
    centre.worker.drain()
    centre.put(device, "end", observation_id=told, revision=1, severity=1, value=0.0, ended_s=60)
    centre.worker.drain()
    assert centre.value("SELECT severity FROM ticket") == 4


def test_a_level_that_was_reached_counts_although_its_phase_comes_late(centre: Centre) -> None:
    device = centre.device("gauge")
    told = centre.put(device, severity=2, value=0.1)
    centre.put(device, "update", observation_id=told, revision=2, severity=2, value=0.1, at_s=20)
    centre.worker.drain()
    assert centre.value("SELECT severity FROM ticket") == 2
    centre.put(device, "update", observation_id=told, revision=1, severity=2, value=0.6, at_s=10)
    centre.worker.drain()
    assert centre.value("SELECT severity FROM ticket") == 4
    assert centre.value("SELECT value FROM incident_observation") == 0.1


def test_what_goes_on_for_long_is_raised_once_although_nothing_new_is_heard(centre: Centre) -> None:
    ticket_id = centre.open_one(severity=2)
    centre.clock.advance(3599)
    assert raise_lasting(centre.database, centre.now) == 0
    centre.clock.advance(2)
    assert raise_lasting(centre.database, centre.now) == 1
    assert raise_lasting(centre.database, centre.now) == 0
    ticket = centre.tickets.get_ticket(ticket_id)
    assert ticket.severity == 4
    assert ticket.events[-1].detail["facts"] == {"lasts_s": 3601}


def test_what_is_over_does_not_grow_older(centre: Centre) -> None:
    device = centre.device("gauge")
    told = centre.put(device, severity=2)
    centre.put(device, "end", observation_id=told, revision=1, severity=2, ended_s=60)
    centre.worker.drain()
    centre.clock.advance(7200)
    assert raise_lasting(centre.database, centre.now) == 0
    assert centre.value("SELECT severity FROM ticket") == 2


def test_a_closed_ticket_is_left_alone(centre: Centre) -> None:
    centre.open_one(severity=2)
    with centre.database.transaction() as tx:
        tx.run("UPDATE ticket SET state = 'void', closed_at = opened_at")
    centre.clock.advance(7200)
    assert raise_lasting(centre.database, centre.now) == 0


def test_what_a_drill_shows_raises_nothing(centre: Centre) -> None:
    ticket_id = centre.open_one(severity=2)
    centre.put(centre.device("other"), severity=2, mark="drill")
    centre.worker.drain()
    assert centre.tickets.get_ticket(ticket_id).severity == 2


def test_many_reports_raise_and_the_interface_says_why(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as it, it.client() as desk:
        say(it.centre, rules=RULES, places=[SCHOOL])
        for _ in range(3):
            filed = file(desk, category="road.damaged", lon=BORDER_LON, lat=LAT)
        ticket = desk.get(f"/api/tickets/{filed['ticket_id']}").json()
        assert ticket["severity"] == 3
        (reason,) = ticket["severity_reasons"]
        assert (reason["rule"], reason["facts"]["reports"]) == ("three-tell", 3)

        page = desk.get(f"/tickets/{filed['ticket_id']}", cookies={"drumtower_language": "en"}).text
        assert "Why this severity" in page
        assert "told of 3 times" in page

        book = desk.get("/api/severity").json()
        assert [rule["name"] for rule in book["rules"]] == [rule.name for rule in RULES]
        assert book["places"][0]["name_zh"] == "实验小学"
        asked: dict[str, str | float] = {
            "category": "flood.water_level",
            "lon": BORDER_LON,
            "lat": LAT,
            "level": 0.5,
        }
        told = desk.get("/api/severity/explain", params=asked).json()
        assert (told["severity"], told["rule"]) == (4, "deep-at-school")
        assert [(one["rule"]["name"], one["fits"]) for one in told["tried"]][:2] == [
            ("deep-at-school", True),
            ("hour-long", False),
        ]
