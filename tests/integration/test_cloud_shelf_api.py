"""The shelf over HTTP: what the page's forms do, for programs; who read an old state is told so."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.integration.test_cloud_api import Running, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services


def shelf(client: httpx.Client, ticket_id: uuid.UUID) -> tuple[dict[str, Any], str]:
    """A ticket's shelf and its tag."""
    answer = client.get(f"/api/tickets/{ticket_id}/shelf")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found, answer.headers["etag"]


def put(
    client: httpx.Client, ticket_id: uuid.UUID, alarm: str, tag: str | None = None, **changed: Any
) -> httpx.Response:
    body = {"alarm": alarm, "hours": 4, "reason": "it drips"} | changed
    headers = {} if tag is None else {"If-Match": tag}
    return client.post(f"/api/tickets/{ticket_id}/shelf", json=body, headers=headers)


def take_off(
    client: httpx.Client, ticket_id: uuid.UUID, shelved_id: int, tag: str | None = None
) -> httpx.Response:
    headers = {} if tag is None else {"If-Match": tag}
    return client.post(f"/api/tickets/{ticket_id}/shelf/{shelved_id}/off", headers=headers)


def actions(running: Running) -> list[str]:  # noqa: F811 - the fixture
    rows = running.centre.rows("SELECT action FROM audit WHERE action LIKE 'shelved.%%' ORDER BY audit_id")
    return [row["action"] for row in rows]


def test_an_alarm_is_put_on_the_shelf_and_taken_off_and_both_stand_in_the_audit(running: Running) -> None:  # noqa: F811
    ticket_id = running.centre.open_one()
    with running.client("dispatcher", "water") as client:
        before, tag = shelf(client, ticket_id)
        ((alarm,), shelved) = before["alarms"], before["shelved"]
        assert (alarm["category"], alarm["sensor"], shelved) == ("flood.water_level", "sensor-1", [])
        answer = put(client, ticket_id, alarm["alarm"], tag, reason=" it drips ")
        assert answer.status_code == 200, answer.text
        after, fresh = shelf(client, ticket_id)
        assert (answer.json(), answer.headers["etag"]) == (after, fresh)
        assert fresh != tag
        ((lies,), free) = after["shelved"], after["alarms"]
        assert (lies["reason"], lies["sensor"], free) == ("it drips", "sensor-1", [])
        assert put(client, ticket_id, alarm["alarm"], fresh).json()["code"] == "shelf.not_there"
        off = take_off(client, ticket_id, lies["shelved_id"], fresh)
        assert (off.status_code, off.json()) == (200, before)
        again = take_off(client, ticket_id, lies["shelved_id"])
        assert (again.status_code, again.json()["code"]) == (409, "shelf.is_off")
    assert actions(running) == ["shelved.begin", "shelved.end"]


def test_who_read_another_shelf_than_there_is_changes_nothing(running: Running) -> None:  # noqa: F811
    ticket_id = running.centre.open_one()
    with running.client("dispatcher", "water") as client:
        found, tag = shelf(client, ticket_id)
        alarm = found["alarms"][0]["alarm"]
        stale = put(client, ticket_id, alarm, '"another"')
        assert (stale.status_code, stale.json()["code"]) == (412, "request.stale")
        assert put(client, ticket_id, alarm, "no tag").json()["code"] == "request.wrong_etag"
        assert put(client, ticket_id, alarm, tag).status_code == 200
        shelved_id = shelf(client, ticket_id)[0]["shelved"][0]["shelved_id"]
        assert take_off(client, ticket_id, shelved_id, tag).status_code == 412
        assert take_off(client, ticket_id, shelved_id, "*").status_code == 200
    assert actions(running) == ["shelved.begin", "shelved.end"]


@pytest.mark.parametrize(
    ("role", "unit", "changed", "status"),
    [
        ("handler", "water", {}, 403),
        ("dispatcher", "fire", {}, 403),
        ("dispatcher", "water", {"reason": " "}, 422),
        ("dispatcher", "water", {"hours": 48}, 422),
        ("dispatcher", "water", {"alarm": "1 smoke.alarm another"}, 409),
        ("dispatcher", "water", {"forever": True}, 422),
    ],
)
def test_who_may_not_and_what_makes_no_sense_puts_nothing_there(
    running: Running,  # noqa: F811
    role: str,
    unit: str,
    changed: dict[str, Any],
    status: int,
) -> None:
    ticket_id = running.centre.open_one()
    with running.client(role, unit) as client:
        alarm = shelf(client, ticket_id)[0]["alarms"][0]["alarm"]
        assert put(client, ticket_id, **{"alarm": alarm} | changed).status_code == status
    assert running.centre.value("SELECT count(*) FROM quiet_time") == 0
    assert actions(running) == []


def test_a_ticket_that_is_none_has_no_shelf(running: Running) -> None:  # noqa: F811
    with running.client("admin") as client:
        for answer in (
            client.get(f"/api/tickets/{uuid.UUID(int=9)}/shelf"),
            put(client, uuid.UUID(int=9), "1 a b"),
            take_off(client, uuid.UUID(int=9), 1),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "ticket.unknown")
