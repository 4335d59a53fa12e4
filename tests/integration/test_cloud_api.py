"""The HTTP interface of a running centre: its contract, its errors, its stream."""

from __future__ import annotations

import functools
import json
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from cloud.app import Cloud
from cloud.auth.access import ACCESS
from cloud.auth.service import AuthService
from cloud.config import CloudSettings, Environment
from cloud.db import Database
from cloud.stream.service import StreamHub
from cloud.tickets.domain import Channel
from common.runtime.clock import SystemClock
from common.runtime.stop import Stop
from tests.fixtures.centre import Centre, sign_in

pytestmark = pytest.mark.services
PICTURE = b"\xff\xd8\xff\xe0 a picture"
SHA = "ab" + "0" * 62


@dataclass
class Running:
    """A centre that serves, and clients of several roles."""

    url: str
    centre: Centre
    evidence: Path

    def client(self, role: str | None = "supervisor", unit: str = "centre") -> httpx.Client:
        headers, cookies = {}, {}
        if role is not None:
            token, csrf = sign_in(self.centre.database, self.centre.clock, role, unit)
            headers, cookies = {"X-CSRF-Token": csrf}, {"drumtower_session": token}
        return httpx.Client(base_url=self.url, headers=headers, cookies=cookies, timeout=60)


@pytest.fixture
def running(database_url: str, tmp_path: Path) -> Iterator[Running]:
    cloud = Cloud(CloudSettings(), Environment(database_url, tmp_path), SystemClock(), "api", port=0)
    stop = Stop()
    with Database(database_url, size=4) as database:
        centre = Centre(database, SystemClock())  # type: ignore[arg-type] # real time: sessions are checked by it
        centre.build()
        cloud.start()
        thread = threading.Thread(target=cloud.run, args=(stop,))
        thread.start()
        try:
            yield Running(cloud.url, centre, tmp_path)
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()


def assert_problem(response: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["code"]
    assert problem["detail"]
    assert problem["type"] == f"urn:drumtower:problem:{problem['code']}"
    assert code is None or problem["code"] == code
    return problem


def operations_of(running: Running) -> list[tuple[str, str, dict[str, Any]]]:
    document = httpx.get(f"{running.url}/api/openapi.json", timeout=60).json()
    found = [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith("/api")
    ]
    assert len(found) >= 7
    return found


def filled(path: str) -> str:
    return re.sub(r"{\w+}", str(uuid.UUID(int=5)), path.replace("{sha256}", SHA))


def is_open(method: str, path: str) -> bool:
    return ACCESS[method.upper(), path].is_open


def test_every_operation_answers_a_stranger_with_a_problem(running: Running) -> None:
    with running.client(None) as stranger:
        for method, path, _ in operations_of(running):
            if not is_open(method, path):
                answer = stranger.request(method, filled(path), json={"action": "note"})
                assert_problem(answer, 401, "auth.not_signed_in")


def test_every_operation_documents_its_errors_as_problems(running: Running) -> None:
    document = httpx.get(f"{running.url}/api/openapi.json", timeout=60).json()
    assert set(document["components"]["schemas"]["Problem"]["properties"]) >= {
        "type",
        "title",
        "status",
        "detail",
        "code",
    }
    for method, path, operation in operations_of(running):
        errors = {status: told for status, told in operation["responses"].items() if int(status) >= 400}
        assert {"422", "500", "503"} <= set(errors), path
        assert is_open(method, path) or {"401", "403"} <= set(errors), path
        assert all(list(told["content"]) == ["application/problem+json"] for told in errors.values()), path


def test_every_path_refuses_a_wrong_method_and_a_wrong_parameter_with_a_problem(running: Running) -> None:
    with running.client("admin") as somebody:
        for method, path, operation in operations_of(running):
            wrong = assert_problem(somebody.delete(filled(path)), 405, "request.wrong_method")
            assert "DELETE" in wrong["detail"]
            if "{" in path:
                broken = re.sub(r"{\w+}", "not!an*id", path)
                assert_problem(
                    somebody.request(method, broken, json={"action": "note"}), 422, "request.invalid"
                )
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    response = somebody.get(filled(path), params={parameter["name"]: "\x00§"})
                    assert_problem(response, 422)


def test_what_is_not_there_is_a_problem(running: Running) -> None:
    with running.client() as somebody:
        assert_problem(somebody.get("/api/nothing"), 404, "request.unknown_path")
        assert_problem(somebody.get(f"/api/tickets/{uuid.uuid4()}"), 404, "ticket.unknown")
        assert_problem(
            somebody.post(f"/api/tickets/{uuid.uuid4()}/actions", json={"action": "acknowledge"}),
            404,
            "ticket.unknown",
        )
        assert_problem(somebody.get("/api/tickets", params={"cursor": "abc"}), 422, "page.wrong_cursor")
        assert_problem(somebody.get("/api/tickets", params={"colour": "red"}), 422, "request.invalid")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"action": "explode"}',
        b'{"action": "note", "note": "a\\u0000b"}',
        b'{"action": "note", "colour": "red"}',
        b'{"action": "acknowledge", "expected_version": -1}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_body_that_makes_no_sense_is_a_problem(running: Running, body: bytes) -> None:
    with running.client() as somebody:
        response = somebody.post(
            f"/api/tickets/{uuid.uuid4()}/actions", content=body, headers={"content-type": "application/json"}
        )
        assert_problem(response, 422, "request.invalid")


def test_a_body_too_large_is_refused_before_anybody_asks_who_sends_it(running: Running) -> None:
    path = f"/api/tickets/{uuid.uuid4()}/actions"
    with running.client(None) as stranger:
        assert_problem(stranger.post(path, content=b"x" * 1_100_000), 413, "request.too_large")

        def endless() -> Iterator[bytes]:
            for _ in range(40):
                yield b"x" * 65_536

        try:
            response = stranger.post(path, content=endless())
        except httpx.TransportError:
            return  # it hung up on us while we were still talking
        assert_problem(response, 413, "request.too_large")


def test_steps_over_http_with_versions(running: Running) -> None:
    ticket_id = running.centre.open_one()
    with running.client() as somebody:
        read = somebody.get(f"/api/tickets/{ticket_id}")
        assert read.headers["etag"] == '"3"'
        actions = f"/api/tickets/{ticket_id}/actions"
        done = somebody.post(actions, json={"action": "acknowledge"}, headers={"if-match": '"3"'})
        assert (done.status_code, done.headers["etag"], done.json()["state"]) == (200, '"4"', "acknowledged")
        assert_problem(
            somebody.post(actions, json={"action": "arrive"}, headers={"if-match": '"3"'}),
            412,
            "ticket.stale_version",
        )
        assert_problem(
            somebody.post(actions, json={"action": "arrive", "expected_version": 3}),
            412,
            "ticket.stale_version",
        )
        assert_problem(somebody.post(actions, json={"action": "acknowledge"}), 409, "ticket.wrong_transition")
        assert_problem(
            somebody.post(actions, json={"action": "arrive"}, headers={"if-match": "soon"}),
            422,
            "request.wrong_etag",
        )
        assert_problem(somebody.post(actions, json={"action": "void"}), 422, "ticket.note_missing")
        assert_problem(somebody.post(actions, json={"action": "close", "note": "x"}), 409)
        assert somebody.get(f"/api/tickets/{ticket_id}").json()["version"] == 4
    with running.client("handler", "street-b") as stranger:
        assert_problem(stranger.post(actions, json={"action": "arrive"}), 403, "ticket.forbidden")
    with running.client() as somebody:
        del somebody.headers["X-CSRF-Token"]
        assert_problem(somebody.post(actions, json={"action": "arrive"}), 403, "auth.forged_request")


def test_lists_and_the_summary(running: Running) -> None:
    running.centre.open_one()
    device = running.centre.device("lamp")
    running.centre.put(device, "act", category="camera.wrong_way")
    running.centre.worker.drain()
    with running.client("viewer") as somebody:
        page = somebody.get("/api/tickets", params={"state": ["open", "dispatched"], "open": True}).json()
        assert [ticket["unit_code"] for ticket in page["items"]] == ["water"]
        incidents = somebody.get("/api/incidents", params={"open": True}).json()["items"]
        assert [(incident["category"], incident["device"][:10]) for incident in incidents] == [
            ("flood.water_level", "gulou/lamp")
        ]
        assert incidents[0]["category_zh"] == "路面积水水位"
        told = somebody.get("/api/summary").json()
        assert told["tickets"]["dispatched_by_channel"] == dict.fromkeys(get_args(Channel), 0) | {"sensor": 1}
        assert told["incidents"]["acts"] == 1
        assert told["checks"] == {
            "matters_with_two_open_tickets": 0,
            "incidents_without_exactly_one_ticket": 0,
        }


def test_pictures_are_for_people_who_signed_in_and_may_come_later(running: Running) -> None:
    with running.client("viewer") as somebody, running.client(None) as stranger:
        late = assert_problem(somebody.get(f"/api/evidence/{SHA}"), 404, "evidence.not_arrived")
        assert "on its way" in late["hint"]
        (running.evidence / "ab").mkdir()
        (running.evidence / "ab" / f"{SHA}.jpg").write_bytes(PICTURE)
        arrived = somebody.get(f"/api/evidence/{SHA}")
        assert (arrived.content, arrived.headers["content-type"]) == (PICTURE, "image/jpeg")
        assert arrived.headers["x-content-type-options"] == "nosniff"
        assert_problem(stranger.get(f"/api/evidence/{SHA}"), 401)
        assert_problem(somebody.get("/api/evidence/..%2f..%2fetc%2fpasswd"), 404)


def test_the_stream_over_http_replays_what_a_browser_missed(running: Running) -> None:
    running.centre.open_one()
    with running.client("viewer") as somebody:
        head = somebody.get("/api/summary").json()["stream_head"]
        assert head == 2
        first = events_of(somebody, {"params": {"after": 0}}, 2)
        assert [event["event"] for event in first] == ["incident.opened", "ticket.opened"]
        assert json.loads(first[1]["data"])["number"].startswith("DT-")
        again = events_of(somebody, {"headers": {"Last-Event-ID": first[0]["id"]}}, 1)
        assert again == first[1:]
        assert_problem(somebody.get("/api/stream", headers={"Last-Event-ID": "yesterday"}), 422)
        assert_problem(somebody.get("/api/stream", headers={"Last-Event-ID": str(2**63)}), 422)


def test_reading_is_open_to_every_account_and_acting_only_where_role_and_place_allow(
    running: Running,
) -> None:
    ticket_id = running.centre.open_one()
    for role, unit, status in (
        ("viewer", "grid-b", 403),
        ("supervisor", "grid-b", 403),
        ("handler", "water", 200),
    ):
        with running.client(role, unit) as somebody:
            assert somebody.get(f"/api/tickets/{ticket_id}").status_code == 200
            assert len(somebody.get("/api/tickets").json()["items"]) == 1
            answer = somebody.post(f"/api/tickets/{ticket_id}/actions", json={"action": "acknowledge"})
            assert answer.status_code == status


@pytest.fixture
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.app.StreamHub", functools.partial(StreamHub, heartbeat_s=0.2))


@pytest.mark.usefixtures("quick_heartbeat")
def test_a_stream_ends_when_its_session_does(running: Running) -> None:
    auth = AuthService(running.centre.database, SystemClock())
    with running.client("viewer") as somebody, somebody.stream("GET", "/api/stream") as response:
        lines = response.iter_lines()
        beats = (line for line in lines if line.startswith(":"))
        next(beats)
        next(beats)
        (row,) = auth.accounts()
        auth.disable(row.account.name)
        for _ in lines:
            pass  # heartbeats that were under way; then it ends
        assert_problem(somebody.get("/api/stream"), 401)


def events_of(client: httpx.Client, request: dict[str, Any], wanted: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    current: dict[str, str] = {}
    with client.stream("GET", "/api/stream", **request) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            name, colon, value = line.partition(": ")
            if colon and name:
                current[name] = value
            elif not line and "id" in current:
                found.append({key: current[key] for key in ("id", "event", "data")})
                current = {}
                if len(found) == wanted:
                    break
    return found


def test_health_needs_no_account_and_the_page_serves_no_metrics(running: Running) -> None:
    with running.client(None) as anybody:
        assert anybody.get("/healthz").json() == {"status": "ok"}
        assert "drumtower_" not in anybody.get("/metrics").text
    with running.client("admin") as admin:
        assert "drumtower_stream_clients" not in admin.get("/metrics").text
