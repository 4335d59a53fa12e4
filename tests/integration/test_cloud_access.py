"""Who may call what: every endpoint of the OpenAPI document, as every role, inside and outside its units."""

# ruff: noqa: F811 - tests ask for the fixture that is imported above them
from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cloud.auth.access import ACCESS, TICKET_ACTIONS
from cloud.auth.domain import ROLES, SCOPES, Role
from cloud.auth.roles import ALLOWED
from cloud.auth.token_cli import app as token_app
from cloud.auth.tokens import PREFIX, TokenService
from cloud.openapi import operations
from common.runtime.clock import ManualClock, to_ms
from tests.fixtures.centre import person
from tests.integration.test_cloud_api import SHA, Running, assert_problem, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services
REFUSED = {401, 403}
#: Somebody whose units hold what the requests are about, and somebody of the same role next door.
OWN, OTHER = "centre", "street-b"
ABOUT = "street-a"
ACTIONS = "/api/tickets/{ticket_id}/actions"


@dataclass
class Sample:
    """A request that changes as little as may be: what lets it pass answers with anything but 401 and 403."""

    path: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    form: dict[str, str] = field(default_factory=dict)


def samples(running: Running) -> dict[tuple[str, str], Callable[[], Sample]]:
    """Requests about ``ABOUT`` for every endpoint that is limited by place; the others need none."""
    centre = running.centre
    tokens = TokenService(centre.database, centre.clock)
    _, kept = tokens.add("about", ["tickets:read"], role="viewer", unit_code=ABOUT, days=1)
    storm_id = uuid.uuid4()
    with centre.database.transaction() as tx:
        tx.run(
            "INSERT INTO storm (storm_id, unit_code, by_rule, began_at, began_by, reason, ended_at, ended_by)"
            " VALUES (%(id)s, %(unit)s, false, %(at)s, 'test', 'over', %(at)s, 'test')",
            id=storm_id,
            unit=ABOUT,
            at=centre.now,
        )
    first, second = (centre.open_one("smoke.alarm", lon=lon) for lon in (119.295, 119.305))
    told = {"category": "smoke.alarm", "description": "it smells", "lon": 119.295, "lat": 26.0805}
    with running.client("admin") as admin:
        report_id = admin.post(
            "/api/reports", json={"channel": "hotline", **told}, headers={"Idempotency-Key": "a-report-1"}
        ).json()["report_id"]
    place = {"ticket_id": str(first)}
    taken = {"lon": "119.295", "lat": "26.0805", "taken_at": centre.now.isoformat()}
    since = centre.now
    later = (since + timedelta(days=1)).isoformat()
    rota = {"since": since.isoformat(), "until": (since + timedelta(days=1)).isoformat(), "shifts": []}
    name = (f"made-{number}" for number in range(1000))
    return {
        ("POST", "/api/storms"): lambda: Sample(body={"unit_code": ABOUT, "reason": "rain"}),
        ("POST", "/api/storms/{storm_id}/actions"): lambda: Sample(
            {"storm_id": str(storm_id)}, {"action": "end", "reason": "over"}
        ),
        ("PUT", "/api/duty"): lambda: Sample(body={"unit_code": ABOUT, **rota}),
        ("POST", "/api/tokens"): lambda: Sample(
            body={"name": next(name), "scopes": ["tickets:read"], "role": "viewer", "unit_code": ABOUT}
        ),
        ("POST", "/api/tickets/{ticket_id}/merge"): lambda: Sample(
            place, {"into": str(second), "note": "the same", "expected_version": 999}
        ),
        ("POST", "/api/tickets/{ticket_id}/split"): lambda: Sample(
            place, {"ticket_id": str(second), "note": "another"}
        ),
        ("POST", "/api/tickets/{ticket_id}/ratings"): lambda: Sample(
            place, {"unit_code": "street-a", "stars": 5}
        ),
        ("POST", "/api/tickets/{ticket_id}/photos"): lambda: Sample(place, form=taken),
        ("POST", "/api/tickets/{ticket_id}/shelf"): lambda: Sample(
            place, {"alarm": "none", "hours": 1, "reason": "why"}
        ),
        ("POST", "/api/tickets/{ticket_id}/shelf/{shelved_id}/off"): lambda: Sample(
            place | {"shelved_id": "1"}
        ),
        ("POST", "/api/tickets/{ticket_id}/calls/{unit_code}/arrival"): lambda: Sample(
            place | {"unit_code": "fire"}, {"lon": 0, "lat": 0}
        ),
        ("POST", "/api/tickets/{ticket_id}/conferences"): lambda: Sample(
            place, {"held_at": later, "present": [ABOUT], "decision": "pump"}
        ),
        ("POST", "/api/tickets/{ticket_id}/tasks/{task_id}/done"): lambda: Sample(place),
        ("POST", "/api/tickets/{ticket_id}/advice"): lambda: Sample(
            place, {"adviser": "Wu", "unit_code": "nowhere", "question": "how?"}
        ),
        ("POST", "/api/tickets/{ticket_id}/advice/{advice_id}/answer"): lambda: Sample(
            place, {"answer": "so"}
        ),
        ("GET", "/api/reports/{report_id}/person"): lambda: Sample({"report_id": report_id}),
        ("POST", "/api/tokens/{token_id}/revoke"): lambda: Sample({"token_id": str(kept.token_id)}),
    }


def document(running: Running) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{running.url}/api/openapi.json", timeout=60).json()
    return found


def endpoints(running: Running) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, method, _ in operations(document(running))]


def status_of(client: httpx.Client, method: str, path: str, sample: Sample) -> int:
    """Only the head of the answer is waited for: one of them never ends."""
    values = {"sha256": SHA} | sample.path
    url = re.sub(r"{(\w+)}", lambda name: values.get(name[1], str(uuid.UUID(int=5))), path)
    sent: dict[str, Any] = {} if method == "GET" else {"json": sample.body}
    if sample.form:
        sent = {"data": sample.form, "files": {"photo": b"no photo at all"}}
    with client.stream(method, url, **sent) as response:
        return response.status_code


@contextmanager
def everybody(running: Running) -> Iterator[dict[tuple[Role, str], httpx.Client]]:
    clients = {(role, unit): running.client(role, unit) for role in ROLES for unit in (OWN, OTHER)}
    yield clients
    for client in clients.values():
        client.close()


def test_every_endpoint_has_a_row_and_every_row_an_endpoint(running: Running) -> None:
    assert set(endpoints(running)) == set(ACCESS), "a new endpoint needs its row in cloud/auth/access.py"


def test_each_role_may_what_the_table_says_inside_its_units_and_nothing_else_outside(
    running: Running,
) -> None:
    about = samples(running)
    wrong = []
    with everybody(running) as clients:
        for method, path in endpoints(running):
            row = ACCESS[method, path]
            if path == ACTIONS:
                continue  # the test below goes through each of them
            limited = row.where != "everywhere"
            assert not limited or (method, path) in about, f"{method} {path} needs a sample request"
            make = about.get((method, path), Sample)
            for (role, unit), client in clients.items():
                by_role = not row.actions or any(role in ALLOWED[action] for action in row.actions)
                expected = by_role and (unit == OWN or not limited)
                answered = status_of(client, method, path, make())
                if (answered not in REFUSED) is not expected:
                    wrong.append((method, path, role, unit, answered))
    assert not wrong


def test_each_action_on_a_ticket_is_for_the_roles_and_units_of_the_table(
    running: Running,
) -> None:
    ticket_id = running.centre.open_one("smoke.alarm")  # of street-a, in grid-a
    wrong = []
    with everybody(running) as clients:
        for action in TICKET_ACTIONS:
            for (role, unit), client in clients.items():
                # A version that nobody read: whoever may gets 412, and nothing changes for the next.
                body = {"action": action, "note": "why", "expected_version": 999}
                answered = status_of(client, "POST", ACTIONS, Sample({"ticket_id": str(ticket_id)}, body))
                expected = role in ALLOWED[action] and unit == OWN
                if answered not in ({412} if expected else {403}):
                    wrong.append((action, role, unit, answered))
    assert not wrong


def test_a_token_reaches_what_its_scopes_name_and_nothing_else(running: Running) -> None:
    tokens = TokenService(running.centre.database, running.centre.clock)
    about = samples(running)
    about["POST", ACTIONS] = lambda: Sample(body={"action": "note", "note": "x"})
    for scope in SCOPES:
        only, _ = tokens.add(
            f"only-{scope.replace(':', '-')}", [scope], role="admin", unit_code="centre", days=1
        )
        with bearer(running, only) as client:
            for method, path in endpoints(running):
                row = ACCESS[method, path]
                answered = status_of(client, method, path, about.get((method, path), Sample)())
                expected = row.is_open or row.scope == scope
                assert (answered not in REFUSED) is expected, (scope, method, path, answered)


def test_a_role_that_only_looks_changes_nothing() -> None:
    for (method, path), row in ACCESS.items():
        if method != "GET" and not row.is_open:
            assert row.actions, f"{method} {path} is for every role"
            assert all("viewer" not in ALLOWED[action] for action in row.actions)


def test_the_document_says_of_every_endpoint_what_a_token_needs(running: Running) -> None:
    for path, method, operation in operations(document(running)):
        row = ACCESS[method.upper(), path]
        if row.is_open:
            assert "security" not in operation
        else:
            assert {"401", "403"} <= set(operation["responses"]), path
            assert operation["x-scope"] == (row.scope or "")


def bearer(running: Running, token: str) -> httpx.Client:
    return httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def test_a_token_is_made_over_http_used_and_revoked(running: Running) -> None:
    wish = {"name": "hotline", "scopes": ["tickets:read"], "role": "dispatcher", "unit_code": "street-a"}
    with running.client("admin") as admin:
        made = admin.post("/api/tokens", json=wish)
        assert made.status_code == 201
        token, token_id = made.json()["token"], made.json()["token_id"]
        again = assert_problem(admin.post("/api/tokens", json=wish), 422, "token.exists")
        assert "hotline" in again["detail"]
        with bearer(running, token) as program:
            assert program.get("/api/tickets").status_code == 200
            assert_problem(program.get("/api/summary"), 403, "auth.scope")
            assert_problem(program.post("/api/tokens", json=wish), 403, "auth.scope")
            (listed,) = admin.get("/api/tokens").json()["items"]
            assert listed["last_used_at"] is not None
            assert token not in str(listed)
            revoked = admin.post(f"/api/tokens/{token_id}/revoke")
            assert revoked.json()["revoked_at"] is not None
            assert admin.post(f"/api/tokens/{token_id}/revoke").json() == revoked.json()
            refused = program.get("/api/tickets")
            assert_problem(refused, 401, "auth.bad_token")
            assert "Bearer" in refused.headers["www-authenticate"]
        assert_problem(admin.post(f"/api/tokens/{uuid.uuid4()}/revoke"), 404, "token.unknown")
        assert_problem(admin.post("/api/tokens", json=wish | {"unit_code": "moon"}), 403, "token.forbidden")
        assert_problem(admin.post("/api/tokens", json=wish | {"scopes": ["x"]}), 422, "request.invalid")
    actions = [row["action"] for row in running.centre.rows("SELECT action FROM audit ORDER BY audit_id")]
    assert actions.count("token_added") == actions.count("token_revoked") == 1


def test_a_token_acts_under_its_own_name_and_needs_no_proof_of_a_page(running: Running) -> None:
    tokens = TokenService(running.centre.database, running.centre.clock)
    text, _ = tokens.add("patrol", ["tickets:act"], role="handler", unit_code="water", days=1)
    ticket_id = running.centre.open_one()
    with bearer(running, text) as program:
        body = {"action": "acknowledge"}
        answer = program.post(f"/api/tickets/{ticket_id}/actions", json=body)
        assert answer.status_code == 200
        assert answer.json()["events"][-1]["actor_name"] == "token:patrol"


def test_a_text_that_is_no_token_is_refused_even_beside_a_good_session(running: Running) -> None:
    with running.client() as somebody:
        assert_problem(
            somebody.get("/api/tickets", headers={"Authorization": "Bearer"}), 401, "auth.bad_token"
        )
        for text in ("x", PREFIX, PREFIX + "x" * 500, PREFIX + "é"):
            header = [(b"Authorization", f"Bearer {text}".encode())]
            assert_problem(somebody.get("/api/tickets", headers=header), 401, "auth.bad_token")


def test_every_look_at_a_picture_is_known_by_name(running: Running) -> None:
    folder = running.evidence / "ab"
    folder.mkdir()
    (folder / f"{SHA}.jpg").write_bytes(b"\xff\xd8 a picture")
    with running.client("viewer") as viewer, running.client("supervisor", "street-b") as supervisor:
        first = viewer.get(f"/api/evidence/{SHA}")
        assert first.status_code == 200
        again = viewer.get(f"/api/evidence/{SHA}", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert_problem(viewer.get(f"/api/evidence/{SHA}/views"), 403, "auth.forbidden")
        views = supervisor.get(f"/api/evidence/{SHA}/views").json()["items"]
        assert [view["actor"][:7] for view in views] == ["viewer-", "viewer-"]
        assert {view["address"] for view in views} == {"127.0.0.1"}
        assert supervisor.get(f"/api/evidence/{'cd' * 32}/views").json() == {"items": []}


def test_a_token_ends_with_its_day_and_only_its_hash_is_kept(running: Running) -> None:
    clock = ManualClock(to_ms(running.centre.now))
    tokens = TokenService(running.centre.database, clock)
    text, kept = tokens.add(
        "short", ["audit:read", "tickets:read"], role="viewer", unit_code="street-a", days=1
    )
    caller = tokens.caller(text)
    assert caller is not None
    assert caller.account.reach == {"street-a", "community-a", "grid-a"}
    assert caller.scopes == frozenset({"audit:read", "tickets:read"})
    assert text not in str(running.centre.rows("SELECT t FROM service_token t"))
    assert running.centre.value("SELECT length(token_hash) FROM service_token") == 32
    clock.advance((kept.expires_at - kept.created_at).total_seconds() - 1)
    assert tokens.caller(text) is not None
    clock.advance(2)
    assert tokens.caller(text) is None


def test_nobody_makes_or_revokes_tokens_of_units_they_do_not_manage(running: Running) -> None:
    with running.client("admin", "street-b") as elsewhere:
        wish = {"name": "x", "scopes": ["tickets:read"], "role": "viewer", "unit_code": "street-a"}
        assert_problem(elsewhere.post("/api/tokens", json=wish), 403, "token.forbidden")
        assert elsewhere.post("/api/tokens", json=wish | {"unit_code": "grid-b"}).status_code == 201


def test_the_command_makes_lists_and_revokes(
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATABASE_URL", running.centre.database.url)
    runner = CliRunner()
    made = runner.invoke(token_app, ["add", "export", "--scope", "tickets:read", "--unit", "centre"])
    assert made.exit_code == 0, made.output
    token = next(word for word in made.output.split() if word.startswith(PREFIX))
    service = TokenService(running.centre.database, running.centre.clock)
    assert service.caller(token) is not None
    assert token not in runner.invoke(token_app, ["list"]).output
    assert runner.invoke(token_app, ["revoke", "export"]).exit_code == 0
    assert service.caller(token) is None
    refused = runner.invoke(token_app, ["add", "x", "--scope", "everything", "--unit", "centre"])
    assert "tickets:read" in str(refused.exception)
    assert runner.invoke(token_app, ["revoke", "nobody"]).exit_code != 0


def test_somebody_without_a_database_reaches_their_units() -> None:
    assert ABOUT in person("handler", OWN).reach
    assert ABOUT not in person("handler", OTHER).reach
