"""What holds for the whole interface: keys against doubled posts, ETags, filters, pages, exports."""

# ruff: noqa: F811 - tests ask for the fixture that is imported above them
from __future__ import annotations

import csv
import io
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from cloud.auth.tokens import TokenService
from cloud.idempotency import repo
from cloud.idempotency.middleware import is_kept
from cloud.openapi import operations
from tests.integration.test_cloud_api import Running, assert_problem, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services
KEY = "Idempotency-Key"


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with running.client("admin") as somebody:
        yield somebody


def key() -> dict[str, str]:
    return {KEY: str(uuid.uuid4())}


def plan_storms(running: Running) -> None:
    with running.centre.database.transaction() as tx:
        tx.run("INSERT INTO storm_plan (categories, raise_to) VALUES ('{flood.water_level}', 3)")


def lines_of(running: Running) -> int:
    count = running.centre.value("SELECT count(*) FROM ticket_event")
    assert isinstance(count, int)
    return count


def test_every_post_of_the_document_takes_a_key(client: httpx.Client) -> None:
    document = client.get("/api/openapi.json").json()
    assert document == client.get("/api/openapi.json").json()
    for path, method, operation in operations(document):
        names = [parameter["name"] for parameter in operation.get("parameters", [])]
        assert names.count(KEY) == int(method == "post"), (method, path)
        assert not is_kept(method.upper(), path) or "409" in operation["responses"]


def test_a_post_sent_twice_is_done_once_and_answered_the_same(running: Running, client: httpx.Client) -> None:
    ticket_id = running.centre.open_one()
    path, body, once = f"/api/tickets/{ticket_id}/actions", {"action": "note", "note": "seen"}, key()
    first = client.post(path, json=body, headers=once)
    assert first.status_code == 200
    count = lines_of(running)
    again = client.post(path, json=body, headers=once)
    assert (again.status_code, again.json(), again.headers["etag"]) == (
        200,
        first.json(),
        first.headers["etag"],
    )
    assert again.headers["Idempotency-Replayed"] == "true"
    assert lines_of(running) == count
    other = client.post(path, json=body | {"note": "another"}, headers=once)
    assert_problem(other, 422, "request.key_reused")
    assert client.post(path, json=body, headers=key()).status_code == 200
    assert lines_of(running) == count + 1


def test_a_key_belongs_to_who_sent_it(running: Running, client: httpx.Client) -> None:
    ticket_id = running.centre.open_one()
    path, body, once = f"/api/tickets/{ticket_id}/actions", {"action": "note", "note": "seen"}, key()
    assert client.post(path, json=body, headers=once).status_code == 200
    with running.client("supervisor") as another:
        theirs = another.post(path, json=body, headers=once)
        assert "Idempotency-Replayed" not in theirs.headers
    text, _ = TokenService(running.centre.database, running.centre.clock).add(
        "app", ["tickets:act"], role="handler", unit_code="water", days=1
    )
    with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {text}"}) as program:
        names = [program.post(path, json=body, headers=once).json()["events"][-1] for _ in range(2)]
        assert names[0] == names[1]
        assert names[0]["actor_name"] == "token:app"


def test_what_was_refused_leaves_its_key_free(running: Running, client: httpx.Client) -> None:
    ticket_id, once = running.centre.open_one(), key()
    path = f"/api/tickets/{ticket_id}/actions"
    assert_problem(client.post(path, json={"action": "note"}, headers=once), 422, "ticket.note_missing")
    assert client.post(path, json={"action": "note", "note": "now"}, headers=once).status_code == 200
    with running.client(None) as stranger:
        refused = stranger.post(path, json={"action": "note"}, headers=key())
        assert_problem(refused, 401)
    assert running.centre.value("SELECT count(*) FROM idempotent_request") == 1


@pytest.mark.parametrize("wrong", ["short", "x" * 201, "with a blank"])
def test_a_key_that_is_none_is_refused(client: httpx.Client, wrong: str) -> None:
    answer = client.post("/api/storms", json={"unit_code": "centre", "reason": "x"}, headers={KEY: wrong})
    assert_problem(answer, 422, "request.bad_key")


def test_of_many_at_the_same_time_one_is_done(running: Running, client: httpx.Client) -> None:
    plan_storms(running)
    once, statuses = key(), list[int]()
    body = {"unit_code": "street-a", "reason": "rain"}

    def send() -> None:
        statuses.append(client.post("/api/storms", json=body, headers=once).status_code)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(statuses) == 8
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert running.centre.value("SELECT count(*) FROM storm") == 1
    assert client.post("/api/storms", json=body, headers=once).status_code == 201


def test_a_request_whose_process_died_is_not_done_again_on_suspicion(
    running: Running, client: httpx.Client
) -> None:
    plan_storms(running)
    once, body = key(), {"unit_code": "street-a", "reason": "rain"}
    client.post("/api/storms", json=body, headers=once)
    with running.centre.database.transaction() as tx:
        tx.run("UPDATE idempotent_request SET status = NULL")
    assert_problem(client.post("/api/storms", json=body, headers=once), 409, "request.in_progress")
    with running.centre.database.transaction() as tx:
        repo.prune(tx, running.centre.now + timedelta(seconds=1))
    assert_problem(client.post("/api/storms", json=body, headers=once), 409, "storm.going_on")


def test_a_token_just_made_stands_nowhere_in_the_clear(running: Running, client: httpx.Client) -> None:
    once = key()
    wish = {"name": "x", "scopes": ["tickets:read"], "role": "viewer", "unit_code": "centre"}
    made = client.post("/api/tokens", json=wish, headers=once)
    assert made.status_code == 201
    assert_problem(client.post("/api/tokens", json=wish, headers=once), 409, "request.answered_once")
    assert made.json()["token"] not in str(running.centre.rows("SELECT i FROM idempotent_request i"))


def test_a_large_body_with_a_key_is_refused_like_one_without(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 100_000

    assert_problem(client.post("/api/storms", content=endless(), headers=key()), 413, "request.too_large")


def test_a_stale_etag_writes_nothing(running: Running, client: httpx.Client) -> None:
    ticket_id = running.centre.open_one()
    path = f"/api/tickets/{ticket_id}"
    etag = client.get(path).headers["etag"]
    note = {"action": "note", "note": "seen"}
    fresh = client.post(f"{path}/actions", json=note, headers={"If-Match": etag})
    assert fresh.status_code == 200
    count = lines_of(running)
    stale = client.post(f"{path}/actions", json=note, headers={"If-Match": etag})
    assert_problem(stale, 412, "ticket.stale_version")
    assert lines_of(running) == count
    assert client.get(path, headers={"If-None-Match": fresh.headers["etag"]}).status_code == 304
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 200
    anyhow = client.post(f"{path}/actions", json=note, headers={"If-Match": "*"})
    assert anyhow.status_code == 200
    assert_problem(
        client.post(f"{path}/actions", json=note, headers={"If-Match": "yesterday"}),
        422,
        "request.wrong_etag",
    )


def test_filters_narrow_the_list_the_pages_and_both_exports_alike(
    running: Running, client: httpx.Client
) -> None:
    for lon in (119.295, 119.305, 119.325):
        running.centre.open_one(lon=lon)
    everything = client.get("/api/tickets").json()["items"]
    assert len(everything) == 3
    newest, middle, oldest = everything
    narrow: list[tuple[dict[str, Any], list[str]]] = [
        ({}, [one["number"] for one in everything]),
        ({"bbox": "119.3,26,119.31,26.2"}, [middle["number"]]),
        ({"number": oldest["number"]}, [oldest["number"]]),
        ({"grid_code": "grid-b"}, [newest["number"]]),
        ({"opened_since": middle["opened_at"]}, [newest["number"], middle["number"]]),
        ({"opened_until": middle["opened_at"]}, [oldest["number"]]),
        ({"unit_code": "fire"}, []),
    ]
    for query, wanted in narrow:
        found, cursor = list[str](), None
        while True:
            page = client.get(
                "/api/tickets", params=query | {"limit": 1} | ({"cursor": cursor} if cursor else {})
            ).json()
            found += [one["number"] for one in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == wanted
        table = client.get("/api/exports/tickets.csv", params=query | {"limit": 1})
        rows = csv.DictReader(io.StringIO(table.content.decode("utf-8-sig")))
        assert [row["number"] for row in rows] == wanted
        features = client.get("/api/exports/tickets.geojson", params=query).json()["features"]
        assert [one["properties"]["number"] for one in features] == wanted
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert "tickets.csv" in table.headers["content-disposition"]
    for wrong in ("1,2,3", "119.31,26,119.3,27", "0,0,200,1", "a,b,c,d"):
        assert_problem(client.get("/api/tickets", params={"bbox": wrong}), 422, "request.invalid")
        assert_problem(client.get("/api/exports/tickets.csv", params={"bbox": wrong}), 422, "request.invalid")
