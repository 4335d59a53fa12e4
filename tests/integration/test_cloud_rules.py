"""Rules, policies, rotas, storms and calendars over HTTP and on the command line, on the real database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from cloud.calendar.cli import app as calendar_app
from cloud.calendar.service import CalendarWatch
from cloud.dispatch.cli import app as routing_app
from cloud.district.service import load_district
from cloud.duty.cli import app as duty_app
from cloud.duty.watch import DutyWatch
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


WATER_ROTA = "/api/duty?unit_code=water"


def replace(client: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    """As a careful program does it: read, then replace what was read."""
    read = client.get(path)
    assert read.status_code == 200, read.text
    return client.put(path.partition("?")[0], json=body, headers={"If-Match": read.headers["etag"]})


@pytest.fixture
def admin(running: Running) -> Iterator[httpx.Client]:  # noqa: F811 - the fixture above
    with running.client("admin") as client:
        yield client


def calendar_in(running: Running) -> None:  # noqa: F811
    with running.centre.database.transaction() as tx:
        tx.run(
            "INSERT INTO calendar VALUES ('office', '{1,2,3,4,5}', '[[32400, 43200], [48600, 61200]]', true)"
        )


def test_rules_are_changed_as_a_whole_and_explained(running: Running, admin: httpx.Client) -> None:  # noqa: F811
    calendar_in(running)
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
    calendar_in(running)
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
    calendar_in(running)
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


def shift(who: str, begins: datetime, ends: datetime) -> dict[str, str]:
    return {"person": who, "phone": "555", "begins_at": begins.isoformat(), "ends_at": ends.isoformat()}


def test_a_rota_is_written_and_says_who_is_on_duty(running: Running) -> None:  # noqa: F811
    start = datetime.now(UTC).replace(microsecond=0)
    noon, end = start + timedelta(hours=12), start + timedelta(days=1)
    body = {"unit_code": "water", "since": start.isoformat(), "until": end.isoformat()}
    with running.client("dispatcher", "water") as somebody:
        shifts = [shift("Lin", start, noon), shift("Wu", noon, end)]
        written = replace(somebody, WATER_ROTA, body | {"shifts": shifts})
        assert written.status_code == 200, written.text
        for at, who, how in ((start, "Lin", "rota"), (noon, "Wu", "rota"), (end, "", "nobody")):
            told = somebody.get("/api/duty/on", params={"unit_code": "water", "at": at.isoformat()}).json()
            assert (told["person"], told["found_by"]) == (who, how)
        # From six hours in, another takes over for six hours; before and after it stays as it was.
        six = start + timedelta(hours=6)
        again = body | {"since": six.isoformat(), "until": (noon + timedelta(hours=6)).isoformat()}
        taken = again | {"shifts": [shift("Su", six, noon + timedelta(hours=6))]}
        assert replace(somebody, WATER_ROTA, taken).status_code == 200
        listed = somebody.get("/api/duty", params={"unit_code": "water"}).json()["items"]
        assert [one["person"] for one in listed] == ["Lin", "Su", "Wu"]
        holes = somebody.get("/api/duty/holes", params={"days": 3}).json()["items"]
        assert [(one["unit_code"], datetime.fromisoformat(one["begins_at"])) for one in holes] == [
            ("water", end)
        ]
        assert_problem(
            somebody.put("/api/duty", json=body | {"unit_code": "fire", "shifts": []}), 403, "duty.forbidden"
        )


def test_a_rota_with_a_fault_is_refused_with_its_code_and_nothing_is_written(
    running: Running,  # noqa: F811
    admin: httpx.Client,
) -> None:
    start = datetime(2026, 6, 1, tzinfo=UTC)
    hour = timedelta(hours=1)
    body = {"unit_code": "water", "since": start.isoformat(), "until": (start + 8 * hour).isoformat()}

    def put(*shifts: dict[str, str], **changed: str) -> httpx.Response:
        return replace(admin, WATER_ROTA, body | changed | {"shifts": list(shifts)})

    holed = put(shift("Lin", start, start + 3 * hour), shift("Wu", start + 4 * hour, start + 7 * hour))
    problem = assert_problem(holed, 422, "duty.hole")
    assert "2026-06-01 11:00 – 2026-06-01 12:00, 2026-06-01 15:00 – 2026-06-01 16:00" in problem["detail"]
    assert_problem(put(), 422, "duty.hole")
    assert_problem(put(shift("Lin", start - hour, start + 8 * hour)), 422, "duty.outside")
    assert_problem(put(until=body["since"]), 422, "duty.backwards")
    whole = shift("Lin", start, start + 8 * hour)
    with running.client("admin") as client:
        unknown = client.put("/api/duty", json=body | {"unit_code": "nowhere", "shifts": [whole]})
    assert_problem(unknown, 403, "duty.forbidden")
    naive = whole | {"begins_at": "2026-06-01T00:00:00"}
    assert_problem(put(naive), 422, "request.invalid")
    assert running.centre.value("SELECT count(*) FROM duty_shift") == 0


def test_a_storm_over_http_is_told_and_refused_with_codes(running: Running) -> None:  # noqa: F811
    with running.centre.database.transaction() as tx:
        tx.run("INSERT INTO storm_plan (categories, raise_to) VALUES ('{flood.*}', 4)")
    begin = {"unit_code": "street-a", "reason": "typhoon"}
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    with running.client("supervisor") as somebody:
        for wrong, code in (
            ({"began_at": soon}, "storm.begins_in_future"),
            ({"ends_at": "2026-01-01T00:00:00Z"}, "storm.ends_in_past"),
            ({"unit_code": "water"}, "storm.unknown_area"),
            ({"reason": "  "}, "request.invalid"),
        ):
            assert_problem(somebody.post("/api/storms", json=begin | wrong), 422, code)
        begun = somebody.post("/api/storms", json=begin)
        assert begun.status_code == 201, begun.text
        assert_problem(somebody.post("/api/storms", json=begin), 409, "storm.going_on")
        end = f"/api/storms/{begun.json()['storm_id']}/actions"
        assert somebody.post(end, json={"action": "end", "reason": "over"}).json()["end_reason"] == "over"
        assert_problem(somebody.post(end, json={"action": "end", "reason": "over"}), 409, "storm.over")
        (told,) = somebody.get("/api/storms").json()["items"]
        assert [event["kind"] for event in told["events"]] == ["began", "ended"]
    with running.client("dispatcher") as somebody:
        assert_problem(somebody.post("/api/storms", json=begin), 403, "storm.forbidden")


def test_a_year_that_nobody_published_is_a_problem_until_somebody_brings_it(
    running: Running,  # noqa: F811
    admin: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATABASE_URL", database_url)
    calendar_in(running)
    this_year = datetime.now(UTC).year
    with running.centre.database.transaction() as tx:
        tx.run("DELETE FROM holiday_year WHERE year >= %(year)s", year=this_year)
    told = admin.get("/api/calendar").json()
    assert this_year in told["missing_years"]
    assert told["days_known"] == 0
    assert "cloud calendar load" in told["problem"]
    for year in (this_year, this_year + 1):
        file = tmp_path / f"{year}.yaml"
        first = date(year, 1, 1).isoformat()
        holidays = [{"name_zh": "元旦", "name_en": "New Year", "first": first, "last": first}]
        file.write_text(
            yaml.safe_dump({"year": year, "source": "the notice", "holidays": holidays, "work": []}),
            encoding="utf-8",
        )
        assert CliRunner().invoke(calendar_app, ["load", str(file)]).exit_code == 0
    registry = CollectorRegistry()
    CalendarWatch(running.centre.database, registry).look(datetime.now(UTC))
    assert registry.get_sample_value("drumtower_calendar_years_missing") == 0
    told = admin.get("/api/calendar").json()
    assert (told["missing_years"], told["problem"]) == ([], "")
    assert told["days_known"] > 300
    shown = CliRunner().invoke(calendar_app, ["show"])
    assert shown.exit_code == 0, shown.output
    assert f"{this_year}: the notice" in shown.output  # what a person brought stays


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


def test_a_rota_is_loaded_and_asked_on_the_command_line(
    running: Running,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATABASE_URL", database_url)
    start = datetime.now(UTC).replace(microsecond=0)
    end = start + timedelta(days=20)
    file = tmp_path / "rota.yaml"
    rota = {
        "unit_code": "water",
        "since": start.isoformat(),
        "until": end.isoformat(),
        "shifts": [shift("Lin", start, end)],
    }
    file.write_text(yaml.safe_dump({"rotas": [rota]}), encoding="utf-8")
    loaded = CliRunner().invoke(duty_app, ["load", str(file)])
    assert loaded.exit_code == 0, loaded.output
    assert "Lin" in CliRunner().invoke(duty_app, ["who", "--unit", "water"]).output
    assert CliRunner().invoke(duty_app, ["check"]).exit_code == 0
    registry = CollectorRegistry()
    watch = DutyWatch(running.centre.database, registry)
    for at, holes in ((start, 0), (end - timedelta(hours=1), 1)):
        watch.look(at)
        assert registry.get_sample_value("drumtower_duty_holes") == holes
    late = CliRunner().invoke(duty_app, ["check", "--days", "30"])
    assert late.exit_code == 1
    assert "water: nobody on duty" in late.output
    assert CliRunner().invoke(duty_app, ["who", "--unit", "fire"]).exit_code == 1


def test_the_page_begins_and_ends_a_storm_and_says_so(running: Running) -> None:  # noqa: F811
    with running.centre.database.transaction() as tx:
        tx.run("INSERT INTO storm_plan (categories, raise_to) VALUES ('{flood.*}', 4)")
    with running.client("viewer") as viewer:
        assert "启动风暴模式" not in viewer.get("/?part=storm").text
    with running.client("supervisor") as somebody:
        token = somebody.headers["X-CSRF-Token"]
        shown = somebody.get("/").text
        assert "启动风暴模式" in shown
        begin = {
            "step": "begin",
            "unit_code": "street-a",
            "reason": "typhoon <Kong-rey>",
            "csrf_token": token,
        }
        assert somebody.post("/storms/actions", data=begin).status_code == 303
        part = somebody.get("/?part=storm").text
        assert "风暴模式：street-a" in part
        assert "typhoon &lt;Kong-rey&gt;" in part
        again = somebody.post("/storms/actions", data=begin)
        assert again.status_code == 409
        assert "该区域已处于风暴模式" in again.text
        assert somebody.get("/storms").status_code == 303
        end = {
            "step": "end",
            "storm_id": str(running.centre.value("SELECT storm_id FROM storm")),
            "csrf_token": token,
        }
        assert somebody.post("/storms/actions", data=end).status_code == 422  # without a reason
        assert somebody.post("/storms/actions", data=end | {"reason": "it is over"}).status_code == 303
        assert "风暴模式：street-a" not in somebody.get("/?part=storm").text
        somebody.cookies.set("drumtower_language", "en")
        assert "Begin storm mode" in somebody.get("/?part=storm").text
    assert running.centre.value("SELECT end_reason FROM storm") == "it is over"


def test_a_ticket_in_working_time_freezes_its_calendar_and_says_what_nobody_published(
    running: Running,  # noqa: F811
    admin: httpx.Client,
) -> None:
    calendar_in(running)
    with running.centre.database.transaction() as tx:
        tx.run("UPDATE policy SET hours = 'office', resolve_s = 3600 * 8 * 200")  # far into another year
        tx.run("DELETE FROM holiday_year WHERE year > %(year)s", year=datetime.now(UTC).year)
    ticket_id = running.centre.open_one("camera.zone_occupied")
    ticket = admin.get(f"/api/tickets/{ticket_id}").json()
    assert ticket["policy"]["calendar"]["name"] == "office"
    assert ticket["calendar_gaps"]
    assert all(year > datetime.now(UTC).year for year in ticket["calendar_gaps"])
    page = admin.get(f"/tickets/{ticket_id}?part=detail").text
    assert "年节假日安排尚未公布" in page
    with running.centre.database.transaction() as tx:
        tx.run("UPDATE policy SET hours = 'unit'")
        tx.run("UPDATE unit SET hours = 'office' WHERE unit_code = 'water'")
    names = []
    for category in ("flood.water_level", "smoke.alarm"):  # of the water department, and of a street
        one = admin.get(f"/api/tickets/{running.centre.open_one(category)}").json()
        names.append(one["policy"].get("calendar", {}).get("name"))
    assert names == ["office", None]
    due = {clock["name"]: datetime.fromisoformat(clock["due_at"]) for clock in ticket["clocks"]}
    hour = (due["ack"] + timedelta(hours=8)).hour
    assert 9 <= hour <= 17  # whenever it was opened, it is due in working hours
