"""The ticket page shows what people proved and agreed, and takes photos, conferences and kept promises."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import httpx
import pytest

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.tickets.domain import Action
from tests.fixtures.centre import person
from tests.fixtures.photos import photo
from tests.integration.test_cloud_api import Running, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services


def page_of(client: httpx.Client, ticket_id: uuid.UUID, language: str) -> str:
    client.cookies.set("drumtower_language", language)
    return client.get(f"/tickets/{ticket_id}").text


def claimed(running: Running) -> uuid.UUID:  # noqa: F811 - the fixture
    centre = running.centre
    ticket_id = centre.open_one()
    centre.tickets.act(ticket_id, Action.ACKNOWLEDGE, person())
    centre.tickets.act(ticket_id, Action.RESOLVE, person())
    return ticket_id


def test_a_photo_is_sent_by_the_page_and_shown_there(running: Running) -> None:  # noqa: F811
    ticket_id = claimed(running)
    at = (running.centre.now.astimezone(DISTRICT_ZONE) + timedelta(seconds=1)).replace(tzinfo=None)
    with running.client("handler", "water") as client:
        page = page_of(client, ticket_id, "en")
        assert "Add a photo" in page
        ticket = client.get(f"/api/tickets/{ticket_id}").json()
        sent = client.post(
            f"/tickets/{ticket_id}/photos",
            data={
                "csrf_token": client.headers["X-CSRF-Token"],
                "lon": str(ticket["lon"]),
                "lat": str(ticket["lat"]),
                "taken_at": at.isoformat(timespec="seconds"),
            },
            files={"photo": ("p.jpg", photo(1), "image/jpeg")},
        )
        assert sent.status_code == 303, sent.text
        page = page_of(client, ticket_id, "en")
        (kept,) = client.get(f"/api/tickets/{ticket_id}/photos").json()["items"]
        assert kept["sha256"] in page
        assert client.get(kept["url"]).status_code == 200


def test_a_photo_of_several_megabytes_is_taken_and_one_of_twenty_is_not(running: Running) -> None:  # noqa: F811
    ticket_id = claimed(running)
    with running.client("handler", "water") as client:
        ticket = client.get(f"/api/tickets/{ticket_id}").json()
        taken = {"lon": ticket["lon"], "lat": ticket["lat"], "taken_at": running.centre.now.isoformat()}
        url = f"/api/tickets/{ticket_id}/photos"
        large = photo(2) + b"\0" * 4_000_000
        assert client.post(url, data=taken, files={"photo": large}).status_code == 201
        refused = client.post(url, data=taken, files={"photo": photo(3) + b"\0" * 20_000_000})
        assert (refused.status_code, refused.json()["code"]) == (413, "request.too_large")
        wrong = client.post(url, data=taken | {"coordinate_system": "BD-09"}, files={"photo": photo(4)})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "report.unknown_coordinates")


def test_a_conference_is_written_down_and_its_promise_kept_on_the_page(running: Running) -> None:  # noqa: F811
    ticket_id = running.centre.open_one()
    due = (running.centre.now.astimezone(DISTRICT_ZONE) + timedelta(hours=2)).replace(tzinfo=None)
    with running.client("dispatcher", "street-a") as client:
        page = page_of(client, ticket_id, "en")
        assert "Write down a conference" in page
        assert "due" in page  # the called unit's time to come
        token = {"csrf_token": client.headers["X-CSRF-Token"]}
        form = token | {
            "decision": "replace the pump",
            "present": ["fire", "water"],
            "what": "a new pump",
            "unit_code": "water",
            "due_at": due.isoformat(timespec="minutes"),
        }
        sent = client.post(f"/tickets/{ticket_id}/conferences", data=form)
        assert sent.status_code == 303, sent.text
        page = page_of(client, ticket_id, "zh-CN")
        assert "replace the pump" in page
        (task_id,) = re.findall(r'name="task_id" value="([0-9a-f-]+)"', page)
        assert (
            client.post(f"/tickets/{ticket_id}/tasks", data=token | {"task_id": task_id}).status_code == 303
        )
        told = client.get(f"/api/tickets/{ticket_id}/whistle").json()
        assert told["conferences"][0]["tasks"][0]["done_at"] is not None


def test_the_interface_takes_arrivals_conferences_and_advice(running: Running) -> None:  # noqa: F811
    ticket_id = running.centre.open_one()
    url = f"/api/tickets/{ticket_id}"
    now = running.centre.now
    with running.client("supervisor") as client:
        ticket = client.get(url).json()
        there = {"lon": ticket["lon"], "lat": ticket["lat"]}
        far = client.post(f"{url}/calls/fire/arrival", json={"lon": 0, "lat": 0})
        assert (far.status_code, far.json()["code"]) == (422, "whistle.elsewhere")
        assert client.post(f"{url}/calls/fire/arrival", json=there).json()["calls"][0]["distance_m"] == 0
        unknown = client.post(f"{url}/calls/street-b/arrival", json=there)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "whistle.not_called")
        owed = {"unit_code": "water", "what": "pump", "due_at": (now + timedelta(hours=1)).isoformat()}
        told = {"held_at": now.isoformat(), "present": ["fire"], "decision": "pump", "tasks": [owed]}
        held = client.post(f"{url}/conferences", json=told)
        assert held.status_code == 201
        task_id = held.json()["conferences"][0]["tasks"][0]["task_id"]
        assert client.post(f"{url}/tasks/{task_id}/done", json={}).status_code == 200
        assert client.post(f"{url}/tasks/{task_id}/done", json={}).json()["code"] == "whistle.task_done"
        asked = client.post(f"{url}/advice", json={"adviser": "Wu", "unit_code": "fire", "question": "how?"})
        advice_id = asked.json()["advice"][0]["advice_id"]
        assert client.post(f"{url}/advice/{advice_id}/answer", json={"answer": "so"}).status_code == 200
