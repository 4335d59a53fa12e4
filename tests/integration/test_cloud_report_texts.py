"""What people write and photograph: sealed, shown to who works on it, deleted on schedule; every look is known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud.reports.domain import ReportSettings
from cloud.reports.personal import rotate
from cloud.reports.sealing import add_key, read_keys
from cloud.reports.service import forget
from cloud.reports.striking import STRUCK
from tests.fixtures.reporting import HERE, Served, file, photo, served

pytestmark = pytest.mark.services

WORDS = "by the shop of 陈大明, call 13800000000"
ADDRESS = "鼓楼路 12 号"
TOLD = {"description": WORDS, "address": ADDRESS}


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path) as running:
        yield running


def everything(centre: Served) -> str:
    """All that the database holds of reports and their tickets, as text."""
    tables = (
        *("report", "report_text", "report_answer", "report_link", "report_request", "ticket_event"),
        *("stream_event", "audit", "notification", "idempotent_request"),
    )
    known = {row["tablename"] for row in centre.centre.rows("SELECT tablename FROM pg_tables")}
    assert len(known & set(tables)) == len(tables)
    return "\n".join(
        str(centre.centre.rows(f"SELECT to_jsonb(it) AS it FROM {table} AS it"))
        for table in tables
        if table in known
    )


def text_of(client: httpx.Client, report_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = client.get(f"/api/reports/{report_id}").json()["text"]
    return found


def test_words_are_sealed_in_the_database_and_opened_for_who_works_on_the_matter(centre: Served) -> None:
    with centre.client() as somebody:
        filed = file(somebody, **TOLD)
        centre.verifying(filed["ticket_id"])
        answer = {"done": False, "note": "陈大明 says no"}
        told = somebody.post(f"/api/reports/{filed['report_id']}/answer", json=answer)
        assert (told.status_code, told.json()["text"], told.json()["answers"][0]["note"]) == (200, None, "")
        read = somebody.get(f"/api/reports/{filed['report_id']}").json()
        assert read["text"] == {"description": WORDS, "address": ADDRESS, "rating": ""}
        assert read["answers"][0]["note"] == answer["note"]
        for path in ("/api/reports", f"/api/tickets/{filed['ticket_id']}", "/api/summary"):
            assert "陈大明" not in somebody.get(path).text
        assert WORDS in somebody.get(f"/tickets/{filed['ticket_id']}").text
    kept = everything(centre)
    assert not [secret for secret in ("陈大明", "13800000000", ADDRESS) if secret in kept]


@pytest.mark.parametrize(
    ("role", "unit", "shown"),
    [
        ("viewer", "centre", False),
        ("handler", "grid-a", True),
        ("handler", "street-b", False),
        ("handler", "fire", False),
        ("supervisor", "street-a", True),
        ("dispatcher", "centre", True),
    ],
)
def test_words_and_photos_are_for_handlers_of_the_place_and_those_above(
    centre: Served, role: str, unit: str, shown: bool
) -> None:
    with centre.client(None) as citizen:
        sent = citizen.post(
            "/api/public/reports",
            data={"category": "street.rubbish", **TOLD, **{name: str(HERE[name]) for name in ("lon", "lat")}},
            files=[("photos", ("a.jpg", photo(), "image/jpeg"))],
        )
        assert sent.status_code == 201, sent.text
    with centre.client(role, unit) as somebody:
        (report,) = somebody.get("/api/reports").json()["items"]
        text = text_of(somebody, report["report_id"])
        assert (text is not None) is shown
        picture = somebody.get(report["photos"][0]["url"])
        page = somebody.get(f"/tickets/{report['ticket_id']}").text
        assert (WORDS in page, report["photos"][0]["url"] in page) == (shown, shown)
    views = centre.centre.value("SELECT count(*) FROM audit WHERE action = 'evidence_viewed'")
    if shown:
        assert (picture.status_code, views) == (200, 1)
    else:
        assert (picture.status_code, picture.json()["code"], views) == (403, "evidence.forbidden", 0)


def test_a_department_that_is_called_reads_what_was_told(centre: Served) -> None:
    with centre.client() as somebody, centre.client("handler", "fire") as fire:
        filed = file(somebody, **TOLD)
        assert text_of(fire, filed["report_id"]) is None
        call = {"action": "call", "unit_code": "fire"}
        called = somebody.post(f"/api/tickets/{filed['ticket_id']}/actions", json=call)
        assert called.status_code == 200, called.text
        text = text_of(fire, filed["report_id"])
        assert text is not None
        assert text["description"] == WORDS


def test_words_are_deleted_with_who_reported(centre: Served) -> None:
    with centre.client() as somebody:
        filed = file(somebody, **TOLD)
        centre.verifying(filed["ticket_id"])
        path = f"/api/reports/{filed['report_id']}"
        somebody.post(f"{path}/answer", json={"done": True, "note": WORDS})
        settings, now = ReportSettings(personal_days=30), datetime.now(UTC)
        forget(centre.centre.database, settings, now + timedelta(days=29))
        assert text_of(somebody, filed["report_id"]) is not None
        forget(centre.centre.database, settings, now + timedelta(days=31))
        read = somebody.get(path).json()
    assert read["text"] == {"description": "", "address": "", "rating": ""}
    assert [(one["done"], one["note"]) for one in read["answers"]] == [(True, "")]
    assert centre.centre.value("SELECT count(*) FROM report_text") == 0


def test_without_a_key_numbers_are_struck_out_and_a_key_made_later_seals_the_rest(
    database_url: str, tmp_path: Path
) -> None:
    with served(database_url, tmp_path, with_keys=False) as running, running.client() as somebody:
        filed = file(somebody, **TOLD)
        text = text_of(somebody, filed["report_id"])
        assert text is not None
        assert text["description"] == f"by the shop of 陈大明, call {STRUCK}"
        assert rotate(running.centre.database, read_keys(running.keys)) == 1
        assert rotate(running.centre.database, read_keys(running.keys)) == 0
        assert "陈大明" not in everything(running)
        add_key(running.keys, datetime.now(UTC))
        assert rotate(running.centre.database, read_keys(running.keys)) == 1
        assert text_of(somebody, filed["report_id"]) == {"description": "", "address": "", "rating": ""}


def test_an_answers_words_can_be_taken_out_and_nothing_else_of_it_changed(centre: Served) -> None:
    with centre.client() as somebody:
        filed = file(somebody)
        centre.verifying(filed["ticket_id"])
        somebody.post(f"/api/reports/{filed['report_id']}/answer", json={"done": False})
    with pytest.raises(Exception, match="never changed"):
        centre.centre.rows("UPDATE report_answer SET done = true RETURNING 1")
    with pytest.raises(Exception, match="never changed"):
        centre.centre.rows("DELETE FROM report_answer RETURNING 1")
