"""An opening settles within the lateness bound: openly, and never over what a person did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloud.db import Database
from cloud.tickets.domain import Action
from tests.fixtures.centre import Centre, person

pytestmark = pytest.mark.services

#: The border between the grids a and b of the small district.
GRID_BORDER_LON = 119.31


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=4) as database:
        made = Centre(database)
        made.build()
        with database.transaction() as transaction:
            transaction.run(
                "INSERT INTO routing_rule SELECT min(position) - 1, 'flood.*', 4, 'department:fire', '{water}'"
                " FROM routing_rule"
            )
            transaction.run(
                "INSERT INTO policy SELECT min(position) - 1, 'grave', '*', 4, 30, 60, 300 FROM policy"
            )
        made.clock.advance(3600)
        yield made


def ticket(centre: Centre) -> dict[str, Any]:
    (row,) = centre.rows(
        "SELECT ticket_id, state, severity, unit_code, grid_code, policy ->> 'name' AS policy, lon,"
        " (SELECT array_agg(unit_code ORDER BY unit_code) FROM assignment"
        "  WHERE assignment.ticket_id = ticket.ticket_id AND kind = 'called' AND ended_at IS NULL) AS called"
        " FROM ticket"
    )
    return row


def history(centre: Centre) -> list[str]:
    return [row["kind"] for row in centre.rows("SELECT kind FROM ticket_event ORDER BY n")]


def test_a_ticket_whose_beginning_turns_out_graver_is_handed_over_with_the_reason(centre: Centre) -> None:
    gauge = centre.device("gauge-1")
    told = centre.put(gauge, severity=2, started_s=-20)
    centre.worker.drain()
    assert (ticket(centre)["unit_code"], ticket(centre)["called"]) == ("water", ["fire"])
    centre.put(gauge, "update", observation_id=told, revision=1, severity=4, started_s=-20, at_s=-5)
    centre.worker.drain()
    found = ticket(centre)
    assert (found["unit_code"], found["called"], found["policy"]) == ("fire", ["water"], "grave")
    assert (found["state"], found["severity"]) == ("dispatched", 4)
    assert history(centre)[-4:] == ["severity_raised", "transferred", "call_withdrawn", "called"]
    (line,) = centre.rows("SELECT detail FROM ticket_event WHERE kind = 'transferred'")
    assert (line["detail"]["from"], line["detail"]["unit_code"]) == ("water", "fire")
    assert "heard of late" in line["detail"]["because"]
    told_of = centre.rows("SELECT kind, unit_code FROM notification ORDER BY id")
    assert [(one["kind"], one["unit_code"]) for one in told_of] == [
        ("called", "fire"),
        ("call_withdrawn", "fire"),
        ("called", "water"),
    ]
    clocks = centre.rows("SELECT name, round, state, due_at - started_at AS within FROM clock ORDER BY name")
    assert [(one["name"], one["round"], one["state"], one["within"].seconds) for one in clocks] == [
        ("ack", 1, "running", 30),
        ("arrive", 1, "running", 60),
        ("resolve", 1, "running", 300),
    ]


def test_what_gets_graver_after_its_first_minute_or_is_heard_too_late_stays_with_its_owner(
    centre: Centre,
) -> None:
    gauge = centre.device("gauge-1")
    told = centre.put(gauge, severity=2)
    centre.worker.drain()
    centre.clock.advance(600)
    centre.put(gauge, "update", observation_id=told, revision=2, severity=4, started_s=-600)
    centre.put(centre.device("gauge-2"), severity=4, started_s=-590, at_s=-590)  # that box was offline
    centre.worker.drain()
    found = ticket(centre)
    assert (found["unit_code"], found["policy"], found["severity"]) == ("water", "storm", 4)
    assert "transferred" not in history(centre)


def test_what_somebody_took_in_hand_is_not_handed_over(centre: Centre) -> None:
    gauge = centre.device("gauge-1")
    told = centre.put(gauge, severity=2)
    centre.worker.drain()
    handler = person("supervisor")
    centre.tickets.act(ticket(centre)["ticket_id"], Action.NOTE, handler, note="on my way")
    centre.put(gauge, "update", observation_id=told, revision=1, severity=4)
    centre.worker.drain()
    found = ticket(centre)
    assert (found["unit_code"], found["called"], found["severity"]) == ("water", ["fire"], 4)


def test_a_ticket_lies_at_its_first_observer_although_another_was_heard_first(centre: Centre) -> None:
    late = centre.device("eye-a", GRID_BORDER_LON - 0.0001)
    soon = centre.device("eye-b", GRID_BORDER_LON + 0.0001)
    centre.put(soon, category="camera.standing_water", started_s=-10)
    centre.worker.drain()
    assert (ticket(centre)["unit_code"], ticket(centre)["grid_code"]) == ("grid-b", "grid-b")
    centre.put(late, category="camera.standing_water", started_s=-30)
    centre.worker.drain()
    found = ticket(centre)
    assert (found["unit_code"], found["grid_code"]) == ("grid-a", "grid-a")
    assert found["lon"] == pytest.approx(GRID_BORDER_LON - 0.0001)
    assert centre.value("SELECT count(*) FROM incident") == 1
    assert centre.value("SELECT lon FROM incident") == pytest.approx(GRID_BORDER_LON - 0.0001)
    owners = centre.rows("SELECT unit_code, ended_at IS NULL AS now FROM assignment ORDER BY assignment_id")
    assert [(one["unit_code"], one["now"]) for one in owners] == [("grid-b", False), ("grid-a", True)]


def test_a_place_without_an_owner_is_given_one_when_its_first_observer_is_heard(centre: Centre) -> None:
    outside, inside = centre.device("a-out", 119.28995), centre.device("b-in", 119.29005)
    centre.put(outside, category="camera.standing_water", started_s=-10)
    centre.worker.drain()
    assert (ticket(centre)["state"], ticket(centre)["grid_code"]) == ("open", None)
    centre.put(inside, category="camera.standing_water", started_s=-30)
    centre.worker.drain()
    assert (ticket(centre)["state"], ticket(centre)["unit_code"]) == ("dispatched", "grid-a")
    clocks = centre.rows("SELECT name, state FROM clock ORDER BY name")
    assert {one["name"]: one["state"] for one in clocks} == {
        "ack": "running",
        "arrive": "running",
        "assign": "cancelled",
        "resolve": "running",
    }


def test_a_device_that_comes_or_moves_is_known_to_the_next_batch(centre: Centre) -> None:
    one = centre.device("gauge-1")
    centre.put(one)
    centre.worker.drain()
    other = centre.device("gauge-2", 119.4)
    centre.put(other)
    centre.worker.drain()
    assert centre.value("SELECT count(*) FROM matter") == 2
    with centre.database.transaction() as transaction:
        before = transaction.one("SELECT version FROM registry_change")["version"]
        transaction.run("UPDATE device SET silent_after_s = 60")
    assert centre.value("SELECT version FROM registry_change") == before
    centre.device("gauge-2", 119.3001)
    assert centre.value("SELECT version FROM registry_change") != before
    centre.put(other, started_s=1)
    centre.worker.drain()
    assert centre.value("SELECT count(*) FROM matter") == 2
    assert centre.value("SELECT max(observations) FROM incident") == 2
