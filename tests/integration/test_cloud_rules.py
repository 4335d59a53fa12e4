"""Rules and policies over HTTP and on the command line, on the real database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cloud.dispatch.cli import app as routing_app
from cloud.district.service import load_district
from tests.fixtures.rulebook import WATER_ROTA, calendar_in, replace, shift
from tests.integration.test_cloud_api import Running, assert_problem, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services
DEMO = Path(__file__).parents[2] / "firmware_configs" / "districts" / "demo.yaml"
RULES: list[dict[str, Any]] = [
    {"category": "flood.*", "target": "department:water", "call": ["fire"]},
    {"category": "*", "target": "level:grid"},
]
POLICIES: list[dict[str, Any]] = [
    {"name": "water", "category": "flood.*", "acknowledge": "3m", "arrive": "15m", "resolve": "30m"},
    {"name": "rest", "category": "*", "acknowledge": "15m", "arrive": "2h", "resolve": "3d"},
]


@pytest.fixture
def admin(running: Running) -> Iterator[httpx.Client]:  # noqa: F811 - the fixture above
    with running.client("admin") as client:
        yield client


def test_rules_are_changed_as_a_whole_and_explained(running: Running, admin: httpx.Client) -> None:  # noqa: F811
    calendar_in(running.centre)
    rules = [{"category": "camera.*", "target": "level:street", "outside": "office", "place": ["street-a"]}]
    stand_ins = [{"unit_code": "water", "hours": "office", "after_hours": "centre"}]
    answer = replace(admin, "/api/routing", {"rules": rules + RULES, "stand_ins": stand_ins})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"items": []}

    def explain(**changed: Any) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "lon": 119.295,
            "lat": 26.08,
            "category": "flood.water_level",
            "at": "2026-06-01T02:00:00Z",
        }
        response = admin.get("/api/routing/explain", params=asked | changed)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    told = explain()
    assert [(step["rule"]["position"], step["fits"]) for step in told["tried"]] == [(1, False), (2, True)]
    assert (told["unit_code"], told["called"]) == ("water", ["fire"])
    assert told["place"]["grid"] == "grid-a"
    night = explain(at="2026-06-01T20:00:00Z")
    assert night["unit_code"] == "centre"
    assert "outside the hours of water centre stands in" in night["because"]
    assert explain(category="camera.zone_occupied")["unit_code"] == "grid-a"
    assert explain(category="camera.zone_occupied", at="2026-10-01T02:00:00Z")["unit_code"] == "street-a"
    outside = explain(lon=120.0, category="camera.zone_occupied")
    assert outside["unit_code"] is None
    assert "no grid at this place" in outside["because"]
    assert running.centre.value("SELECT count(*) FROM audit WHERE action = 'routing_changed'") == 1


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        (
            {
                "stand_ins": [
                    {"unit_code": "water", "hours": "office", "after_hours": "fire"},
                    {"unit_code": "fire", "hours": "office", "after_hours": "water"},
                ]
            },
            "routing.loop",
            "fire → water → fire",
        ),
        ({"rules": RULES[::-1]}, "routing.unreachable", "rule 2 is never reached"),
        (
            {"rules": [{"category": "*", "target": "department:gardens"}]},
            "routing.unknown_unit",
            "gardens",
        ),
        (
            {"rules": [{"category": "rain.*", "target": "level:grid", "during": "night"}, *RULES]},
            "routing.unknown_calendar",
            "night",
        ),
        ({"rules": []}, "request.invalid", "at least 1"),
    ],
)
def test_rules_that_cannot_work_are_refused_with_their_code_and_nothing_is_written(
    running: Running,  # noqa: F811
    admin: httpx.Client,
    changed: dict[str, Any],
    code: str,
    words: str,
) -> None:
    calendar_in(running.centre)
    before = admin.get("/api/routing").json()
    problem = assert_problem(replace(admin, "/api/routing", {"rules": RULES} | changed), 422, code)
    assert words in problem["detail"]
    assert admin.get("/api/routing").json() == before


def test_what_no_rule_covers_is_told_and_waits_under_a_clock(running: Running, admin: httpx.Client) -> None:  # noqa: F811
    found = replace(admin, "/api/routing", {"rules": RULES[:1]}).json()["items"]
    assert {one["kind"] for one in found} == {"no_owner"}
    assert any("smoke.alarm" in one["message"] and "grid-a" in one["message"] for one in found)
    assert admin.get("/api/routing").json()["problems"] == found


def test_policies_are_changed_as_a_whole(running: Running, admin: httpx.Client) -> None:  # noqa: F811
    calendar_in(running.centre)
    storm = {
        "categories": ["flood.*"],
        "policies": [POLICIES[0] | {"name": "drain", "acknowledge": "1m"}],
    }
    hours = POLICIES[1] | {"hours": "office", "escalate": [{"clock": "ack", "to": "street", "after": "5m"}]}
    response = replace(admin, "/api/policies", {"policies": [POLICIES[0], hours], "storm": storm})
    assert response.status_code == 200, response.text
    told = response.json()["items"]
    assert [(one["name"], one["storm"]) for one in told] == [
        ("drain", True),
        ("water", False),
        ("rest", False),
    ]
    day_s = 3 * 3600 + 3600 * 3 + 1800
    assert told[2]["resolve_s"] == 3 * day_s  # three working days
    assert told[2]["escalate"] == [{"clock": "ack", "to": "street", "after_s": 300, "again_s": None}]


@pytest.mark.parametrize(
    ("policies", "code", "words"),
    [
        (POLICIES[::-1], "policy.overlapping", "'water' is never reached"),
        (
            [
                {
                    "name": "grave",
                    "category": "*",
                    "min_severity": 4,
                    "acknowledge": "3m",
                    "arrive": "1h",
                    "resolve": "4h",
                },
                *POLICIES,
            ],
            "policy.overlapping",
            "more time to arrive at severity 4 by 'grave' than at 3 by 'water'",
        ),
        (POLICIES[:1], "policy.invalid", "no clocks for"),
        ([POLICIES[0], POLICIES[1] | {"hours": "night"}], "policy.invalid", "no calendar 'night'"),
        ([POLICIES[0], POLICIES[1] | {"name": "water"}], "policy.invalid", "two policies are called 'water'"),
        ([POLICIES[0] | {"resolve": "5m"}, POLICIES[1]], "request.invalid", "arrive"),
        ([POLICIES[0] | {"resolve": "soon"}, POLICIES[1]], "request.invalid", "expected a time such as"),
    ],
)
def test_policies_that_contradict_each_other_are_refused_with_their_code(
    admin: httpx.Client, policies: list[dict[str, Any]], code: str, words: str
) -> None:
    before = admin.get("/api/policies").json()
    problem = assert_problem(replace(admin, "/api/policies", {"policies": policies}), 422, code)
    assert words in problem["detail"]
    assert admin.get("/api/policies").json() == before


def test_only_an_administrator_changes_rules_and_policies(running: Running) -> None:  # noqa: F811
    with running.client("supervisor") as somebody:
        for path, body in (
            ("/api/routing", {"rules": RULES}),
            ("/api/policies", {"policies": POLICIES}),
        ):
            assert_problem(somebody.put(path, json=body), 403, "district.forbidden")


def whole_of(path: str) -> dict[str, Any]:
    """What replaces all of it."""
    if path == "/api/routing":
        return {"rules": RULES}
    if path == "/api/policies":
        return {"policies": POLICIES}
    start = datetime(2026, 6, 1, tzinfo=UTC)
    end = start + timedelta(hours=8)
    body = {"unit_code": "water", "since": start.isoformat(), "until": end.isoformat()}
    return body | {"shifts": [shift("Lin", start, end)]}


@pytest.mark.parametrize("path", ["/api/routing", "/api/policies", WATER_ROTA])
def test_who_replaces_something_says_which_state_they_read(
    running: Running,  # noqa: F811
    admin: httpx.Client,
    path: str,
) -> None:
    body, address = whole_of(path), path.partition("?")[0]
    read = admin.get(path)
    etag = read.headers["etag"]
    assert admin.get(path).headers["etag"] == etag

    def put(if_match: str | None) -> httpx.Response:
        return admin.put(address, json=body, headers={} if if_match is None else {"If-Match": if_match})

    problem = assert_problem(put(None), 428, "request.no_if_match")
    assert "If-Match" in problem["hint"]
    assert_problem(put('"another"'), 412, "request.stale")
    assert_problem(put(f"W/{etag}"), 412, "request.stale")
    assert_problem(put("yesterday"), 422, "request.wrong_etag")
    assert admin.get(path).json() == read.json()
    assert put(f'"another", {etag}').status_code == 200
    changed = admin.get(path)
    assert changed.headers["etag"] != etag
    assert_problem(put(etag), 412, "request.stale")
    assert admin.get(path).headers["etag"] == changed.headers["etag"]
    assert put("*").status_code == 200
    assert admin.get(path).headers["etag"] == changed.headers["etag"]  # it says the same as before


def test_a_file_that_is_loaded_makes_what_was_read_stale(running: Running, admin: httpx.Client) -> None:  # noqa: F811
    etags = {path: admin.get(path).headers["etag"] for path in ("/api/routing", "/api/policies")}
    load_district(running.centre.database, DEMO)
    for path, etag in etags.items():
        assert_problem(admin.put(path, json=whole_of(path), headers={"If-Match": etag}), 412, "request.stale")


def test_of_two_who_replace_the_same_state_at_once_one_is_told(running: Running) -> None:  # noqa: F811
    with running.client("admin") as one, running.client("admin") as other:
        etag = one.get("/api/routing").headers["etag"]
        with ThreadPoolExecutor(2) as both:
            bodies = ({"rules": RULES}, {"rules": RULES[1:]})
            asked = [
                both.submit(client.put, "/api/routing", json=body, headers={"If-Match": etag})
                for client, body in zip((one, other), bodies, strict=True)
            ]
        assert sorted(answer.result().status_code for answer in asked) == [200, 412]


def test_routing_on_the_command_line_says_why_and_finds_faults(
    running: Running,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATABASE_URL", database_url)
    place = ["--lon", "119.295", "--lat", "26.08", "--at", "2026-06-01T08:00"]
    told = CliRunner().invoke(routing_app, ["explain", *place, "--category", "smoke.alarm"])
    assert told.exit_code == 0, told.output
    assert "no    flood.* → department:water: it is for flood.*" in told.output
    assert "fits  smoke.* → level:street" in told.output
    assert "goes to street-a; calls fire" in told.output
    nobody = CliRunner().invoke(routing_app, ["explain", *place, "--category", "rain.intense"])
    assert nobody.exit_code == 1
    assert "the queue of the centre" in nobody.output
    found = CliRunner().invoke(routing_app, ["check"])
    assert found.exit_code == 1
    assert "no owner: rain.intense" in found.output
    load_district(running.centre.database, DEMO)
    with running.centre.database.transaction() as tx:
        tx.run("UPDATE unit SET area = NULL WHERE unit_code IN ('grid-a', 'grid-b')")
    sound = CliRunner().invoke(routing_app, ["check"])
    assert sound.exit_code == 0, sound.output
