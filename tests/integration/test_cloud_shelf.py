"""An alarm of a ticket is put on the shelf by the page and taken off; the gateway's command knows of it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.fleet.repo import connect
from gateway.quiet import repo as quiet
from tests.integration.test_cloud_api import Running, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services


def put(client: httpx.Client, ticket_id: uuid.UUID, alarm: str, **changed: str) -> httpx.Response:
    form = {"csrf_token": client.headers["X-CSRF-Token"], "alarm": alarm, "hours": "4", "reason": "it drips"}
    return client.post(f"/tickets/{ticket_id}/shelf", data=form | changed)


def take_off(client: httpx.Client, ticket_id: uuid.UUID, quiet_id: int) -> httpx.Response:
    form = {"csrf_token": client.headers["X-CSRF-Token"], "quiet_id": str(quiet_id)}
    return client.post(f"/tickets/{ticket_id}/shelf/off", data=form)


def alarm_of(running: Running, ticket_id: uuid.UUID) -> str:  # noqa: F811 - the fixture
    (row,) = running.centre.rows(
        "SELECT device_id, category, sensor FROM incident_observation JOIN ticket_incident USING (incident_id)"
        " WHERE ticket_id = %(id)s",
        id=ticket_id,
    )
    return f"{row['device_id']} {row['category']} {row['sensor']}"


def audit(running: Running) -> list[dict[str, Any]]:  # noqa: F811 - the fixture
    return running.centre.rows(
        "SELECT action, detail FROM audit WHERE action LIKE 'shelved.%%' ORDER BY audit_id"
    )


def test_an_alarm_is_shelved_for_some_hours_and_taken_off_before(running: Running, database_url: str) -> None:  # noqa: F811
    ticket_id = running.centre.open_one()
    alarm = alarm_of(running, ticket_id)
    with running.client("dispatcher", "water") as client:
        client.cookies.set("drumtower_language", "en")
        assert "Put an alarm on the shelf" in client.get(f"/tickets/{ticket_id}").text
        sent = put(client, ticket_id, alarm, reason="<it drips>")
        assert sent.status_code == 303, sent.text
        page = client.get(f"/tickets/{ticket_id}").text
        assert "&lt;it drips&gt;" in page
        assert "Put an alarm on the shelf" not in page, "there is no other"
        with connect(database_url, "test") as connection:
            (kept,) = quiet.newest(connection, "shelved", over=False, limit=5)
        assert kept.until_at - kept.from_at == timedelta(hours=4)
        assert (kept.category, kept.sensor, kept.reason) == ("flood.water_level", "sensor-1", "<it drips>")
        assert put(client, ticket_id, alarm).status_code == 409
        assert take_off(client, ticket_id, kept.quiet_id).status_code == 303
        assert take_off(client, ticket_id, kept.quiet_id).status_code == 409
        with connect(database_url, "test") as connection:
            assert quiet.newest(connection, "shelved", over=False, limit=5) == []
        assert "Put an alarm on the shelf" in client.get(f"/tickets/{ticket_id}").text
    begun, ended = audit(running)
    assert (begun["action"], begun["detail"]["why"]) == ("shelved.begin", "<it drips>")
    assert (ended["action"], ended["detail"]["id"]) == ("shelved.end", begun["detail"]["id"])


@pytest.mark.parametrize(
    ("role", "unit", "changed", "status"),
    [
        ("handler", "water", {}, 403),
        ("dispatcher", "fire", {}, 403),
        ("supervisor", "street-a", {"reason": " "}, 422),
        ("supervisor", "street-a", {"hours": "48"}, 422),
        ("supervisor", "street-a", {"alarm": "1 smoke.alarm another"}, 409),
    ],
)
def test_who_may_not_and_what_makes_no_sense_puts_nothing_on_the_shelf(
    running: Running,  # noqa: F811
    role: str,
    unit: str,
    changed: dict[str, str],
    status: int,
) -> None:
    ticket_id = running.centre.open_one(lon=119.305)
    with running.client(role, unit) as client:
        form = {"alarm": alarm_of(running, ticket_id)} | changed
        assert put(client, ticket_id, **form).status_code == status
    assert running.centre.value("SELECT count(*) FROM quiet_time") == 0
    assert audit(running) == []


def test_what_the_gateways_command_shelved_is_shown_and_nobody_takes_off_what_is_not_of_the_ticket(
    running: Running,  # noqa: F811
) -> None:
    ticket_id = running.centre.open_one()
    with running.centre.database.transaction() as tx:
        tx.run(
            "INSERT INTO quiet_time (kind, site, device, category, from_at, until_at, reason, who)"
            " SELECT 'shelved', site, name, 'flood.water_level', now(), now() + interval '1 hour', 'by hand', 'ops'"
            " FROM device UNION ALL"
            " SELECT 'shelved', 'gulou', 'elsewhere', 'flood.water_level', now(), now() + interval '1 hour', 'far', 'ops'"
        )
    other = running.centre.value("SELECT quiet_id FROM quiet_time WHERE device = 'elsewhere'")
    with running.client("supervisor") as client:
        page = client.get(f"/tickets/{ticket_id}").text
        assert "by hand" in page
        assert "far" not in page.split("by hand")[1][:200]
        assert take_off(client, ticket_id, other).status_code == 409
    with running.client("viewer") as reader:
        assert "shelf/off" not in reader.get(f"/tickets/{ticket_id}").text
