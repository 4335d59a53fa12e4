"""Rotas, calendars and working time, over HTTP and on the command line, on the real database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from cloud.calendar.cli import app as calendar_app
from cloud.calendar.service import CalendarWatch
from cloud.duty.cli import app as duty_app
from cloud.duty.watch import DutyWatch
from tests.fixtures.rulebook import WATER_ROTA, calendar_in, replace, shift
from tests.integration.test_cloud_api import Running, assert_problem, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services


@pytest.fixture
def admin(running: Running) -> Iterator[httpx.Client]:  # noqa: F811 - the fixture above
    with running.client("admin") as client:
        yield client


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


def test_a_year_that_nobody_published_is_a_problem_until_somebody_brings_it(
    running: Running,  # noqa: F811
    admin: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATABASE_URL", database_url)
    calendar_in(running.centre)
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


def test_a_ticket_in_working_time_freezes_its_calendar_and_says_what_nobody_published(
    running: Running,  # noqa: F811
    admin: httpx.Client,
) -> None:
    calendar_in(running.centre)
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
