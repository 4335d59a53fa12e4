"""Who reported: sealed, shown by role and place, sealed anew under a new key, and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud.doctor.personal import personal_findings
from cloud.reports.cli import app as personal
from cloud.reports.domain import ReportSettings
from cloud.reports.personal import rotate
from cloud.reports.sealing import add_key, read_keys
from cloud.reports.service import forget
from common.runtime.doctor import Examination
from tests.fixtures.centre import BORDER_LON
from tests.fixtures.reporting import MANY, METRE, Served, assert_problem, file, post, served

pytestmark = pytest.mark.services
REPORTER = {"name": "陈女士", "phone": "+86 138-0000-0000", "email": "chen@example.org"}


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path, MANY) as running:
        yield running


def test_who_reported_is_sealed_shown_by_role_and_place_and_every_view_written_down(centre: Served) -> None:
    with centre.client() as somebody:
        filed = file(somebody, reporter=REPORTER)
        path = f"/api/reports/{filed['report_id']}"
        everything = str(centre.centre.rows("SELECT r, p, e FROM report r, report_person p, ticket_event e"))
        assert not [value for value in REPORTER.values() if value in everything]
        assert "陈" not in somebody.get(path).text
        assert somebody.get(path).json()["has_person"] is True
        assert somebody.get(f"{path}/person").json() == REPORTER
        for role, unit, code in (
            ("viewer", "centre", "report.forbidden"),
            ("handler", "grid-a", "report.forbidden"),
            ("supervisor", "street-b", "report.forbidden"),
        ):
            with centre.client(role, unit) as stranger:
                assert_problem(stranger.get(f"{path}/person"), 403, code)
        viewed = centre.centre.rows("SELECT actor, detail FROM audit WHERE action = 'personal_viewed'")
        assert [row["detail"]["receipt"] for row in viewed] == [filed["receipt"]]
        assert viewed[0]["actor"].startswith("dispatcher")
        anonymous = file(somebody)
        assert_problem(somebody.get(f"/api/reports/{anonymous['report_id']}/person"), 404, "report.no_person")


def test_a_new_key_seals_everything_anew_and_the_old_one_can_go(centre: Served, database_url: str) -> None:
    with centre.client() as somebody:
        reports = [file(somebody, reporter=REPORTER)["report_id"] for _ in range(3)]
    old = read_keys(centre.keys).newest
    new = add_key(centre.keys, datetime.now(UTC))
    environment = {"DRUMTOWER_DATABASE_URL": database_url, "DRUMTOWER_PERSONAL_KEYS_FILE": str(centre.keys)}
    ran = CliRunner().invoke(personal, ["rotate-keys", "--drop"], env=environment)
    assert ran.exit_code == 0, ran.output
    assert "6 sealed anew" in ran.output, "names and texts of three"
    assert old in ran.output
    used = centre.centre.rows("SELECT DISTINCT key_id FROM report_person")
    assert [row["key_id"] for row in used] == [new]
    ring = read_keys(centre.keys)
    assert [key_id for key_id, _ in ring.keys] == [new]
    assert rotate(centre.centre.database, ring) == 0
    row = centre.centre.rows("SELECT key_id, nonce, sealed FROM report_person LIMIT 1")
    assert row
    assert len(reports) == 3


def test_the_doctor_looks_whether_every_sealed_text_has_its_key(centre: Served, tmp_path: Path) -> None:
    def said(file: Path | None) -> tuple[str, str]:
        with centre.centre.database.transaction() as transaction:
            named = "" if file is None else str(file)
            (found,) = personal_findings(Examination("cloud"), transaction, named)
        return found.verdict, found.found

    assert said(None)[0] == "ok"
    with centre.client() as somebody:
        file(somebody, reporter=REPORTER)
    assert said(centre.keys)[0] == "ok"
    assert said(None)[0] == "could not check"
    assert said(tmp_path / "none")[0] == "fail"
    other = tmp_path / "other"
    add_key(other, datetime.now(UTC))
    verdict, words = said(other)
    assert (verdict, "2 of 2" in words) == ("fail", True)
    add_key(centre.keys, datetime.now(UTC))
    assert said(centre.keys)[0] == "warn"


def test_who_reported_is_deleted_some_time_after_the_closing(centre: Served) -> None:
    settings = ReportSettings(personal_days=30)
    with centre.client() as somebody:
        filed = file(somebody, reporter=REPORTER)
        open_still = file(somebody, reporter=REPORTER, lon=BORDER_LON + 300 * METRE)
        centre.verifying(filed["ticket_id"])
        somebody.post(f"/api/reports/{filed['report_id']}/answer", json={"done": True})
    now = datetime.now(UTC)
    assert forget(centre.centre.database, settings, now + timedelta(days=29)) == (0, 2)
    assert forget(centre.centre.database, settings, now + timedelta(days=31)) == (1, 0)
    (left,) = centre.centre.rows("SELECT report_id FROM report_person")
    assert str(left["report_id"]) == open_still["report_id"]


def test_without_a_key_nobody_can_leave_their_name(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path, with_keys=False) as running, running.client() as somebody:
        assert_problem(post(somebody, reporter=REPORTER), 422, "report.no_personal_data")
        assert post(somebody).status_code == 201
