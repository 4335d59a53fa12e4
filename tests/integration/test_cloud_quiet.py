"""What is seen in maintenance or in a drill makes incidents and calls no one; what outlasts it does."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import pytest

from cloud.inbox import repo as inbox
from cloud.incidents.schemas import IncidentFilters
from cloud.incidents.service import IncidentService
from cloud.summary.service import summarise
from tests.fixtures.centre import Centre

pytestmark = pytest.mark.services


def tickets(centre: Centre) -> list[dict[str, Any]]:
    return centre.rows("SELECT * FROM ticket ORDER BY number")


def called(centre: Centre) -> int:
    """Everything that reaches a person: tickets, clocks, shares."""
    return int(
        centre.value(
            "SELECT (SELECT count(*) FROM ticket) + (SELECT count(*) FROM clock)"
            " + (SELECT count(*) FROM assignment)"
        )
    )


@pytest.mark.parametrize("mark", ["maintenance", "drill"])
def test_what_is_marked_is_an_incident_and_calls_no_one(centre: Centre, mark: str) -> None:
    device = centre.device("gauge-1")
    told = centre.put(device, mark=mark, severity=4)
    centre.put(device, "update", observation_id=told, revision=1, at_s=5, mark=mark)
    centre.put(device, "end", observation_id=told, revision=2, ended_s=9, mark=mark)
    centre.worker.drain()
    assert called(centre) == 0
    (incident,) = IncidentService(centre.database).list_incidents(IncidentFilters()).items
    assert (incident.mark, incident.ticket_worthy, incident.ticket_id) == (mark, False, None)
    assert summarise(centre.database, centre.rules).sound


def test_what_outlasts_a_maintenance_opens_a_ticket_in_whatever_order_its_phases_come(
    centre: Centre,
) -> None:
    phases = (("start", 0, "maintenance"), ("update", 1, "maintenance"), ("update", 2, ""), ("update", 3, ""))
    for number, order in enumerate(itertools.permutations(phases)):
        device, told = centre.device(f"gauge-{number}", lon=119.2 + number / 100), uuid.uuid4()
        for phase, revision, mark in order:
            centre.put(device, phase, observation_id=told, revision=revision, at_s=revision, mark=mark)
            if number % 2:
                centre.worker.drain()
        centre.worker.drain()
        incidents = centre.rows("SELECT * FROM incident WHERE device_id = %(device)s", device=device)
        assert [(one["mark"], one["ticket_worthy"]) for one in incidents] == [("", True)]
        assert len(tickets(centre)) == number + 1
    assert summarise(centre.database, centre.rules).sound


def test_what_began_before_a_maintenance_counts_all_along(centre: Centre) -> None:
    device = centre.device("gauge-1")
    told = centre.put(device)
    centre.put(device, "end", observation_id=told, revision=1, ended_s=5, mark="maintenance")
    centre.worker.drain()
    assert len(tickets(centre)) == 1


def test_a_drill_neither_joins_what_is_real_nor_is_joined_by_it(centre: Centre) -> None:
    gauge, neighbour = centre.device("gauge-1"), centre.device("gauge-2")
    centre.put(gauge, mark="drill", severity=4)
    centre.worker.drain()
    centre.put(neighbour, severity=2)
    centre.worker.drain()
    (ticket,) = tickets(centre)
    assert ticket["severity"] == 2
    centre.put(gauge, mark="drill", severity=4)
    centre.worker.drain()
    assert [one["severity"] for one in tickets(centre)] == [2], "a drill makes nothing real worse"
    found = centre.rows("SELECT mark, observations FROM incident ORDER BY mark")
    assert [(one["mark"], one["observations"]) for one in found] == [("", 1), ("drill", 2)]
    assert summarise(centre.database, centre.rules).sound


def test_acts_of_a_drill_are_counted_apart(centre: Centre) -> None:
    device = centre.device("lamp-1")
    for mark in ("", "drill", "drill"):
        centre.put(device, "act", category="camera.no_helmet", mark=mark)
    centre.worker.drain()
    found = centre.rows("SELECT mark, count FROM incident ORDER BY mark")
    assert [(one["mark"], one["count"]) for one in found] == [("", 1), ("drill", 2)]


def test_what_failed_and_is_put_back_calls_no_one_either(centre: Centre) -> None:
    device = centre.device("gauge-1")
    centre.put(device, mark="drill", evidence=[{"broken": True}])
    for seconds in (0, 10, 20):
        centre.clock.advance(seconds)
        centre.worker.drain()
    assert centre.value("SELECT count(*) FROM inbox_failed") == 1
    with centre.database.transaction() as transaction:
        transaction.run("UPDATE inbox_failed SET inbox_row = jsonb_set(inbox_row, '{evidence}', '[]')")
        assert inbox.put_back(transaction) == 1
    centre.worker.drain()
    assert called(centre) == 0
    assert centre.value("SELECT mark FROM incident") == "drill"
