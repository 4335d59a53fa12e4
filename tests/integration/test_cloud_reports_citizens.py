"""What a citizen does over HTTP, and the hotline for a caller: a snapshot, its photos, an answer, a rating."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from cloud.config import CloudSettings
from cloud.reports.domain import ReportSettings
from tests.fixtures.reporting import MANY, Served, assert_problem, file, photo, secret, served, snap

pytestmark = pytest.mark.services


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path, MANY) as running:
        yield running


def test_a_citizens_report_with_a_photo_from_the_snapshot_to_the_rating(centre: Served) -> None:
    with centre.client(None) as citizen, centre.client() as somebody:
        sent = photo(with_place=True)
        answer = snap(citizen, sent, phone="13800000000", category="camera.standing_water")
        assert answer.status_code == 201, answer.text
        receipt = answer.json()
        assert set(receipt) == {"receipt", "secret", "received_at"}
        path = f"/api/public/reports/{receipt['receipt']}"
        assert citizen.get(path, headers=secret(receipt)).json()["step"] == "received"

        (report,) = somebody.get("/api/reports").json()["items"]
        (shown,) = report["photos"]
        kept = somebody.get(shown["url"])
        assert (kept.status_code, kept.headers["content-type"]) == (200, "image/jpeg")
        assert b"SECRET-MAKER" not in kept.content
        with Image.open(io.BytesIO(kept.content)) as opened:
            assert not opened.getexif()
        assert citizen.get(shown["url"]).status_code == 401, "photos are for people who signed in"

        wrong = citizen.get(path, headers={"X-Receipt-Secret": "WRONG"})
        assert_problem(wrong, 404, "report.unknown_receipt")
        early = citizen.post(f"{path}/answer", json={"done": True}, headers=secret(receipt))
        assert_problem(early, 409, "report.nothing_asked")
        assert_problem(
            citizen.post(f"{path}/rating", json={"stars": 5}, headers=secret(receipt)),
            409,
            "report.not_closed",
        )

        centre.verifying(report["ticket_id"])
        assert citizen.get(path, headers=secret(receipt)).json()["asks"] is True
        refused = citizen.post(f"{path}/answer", json={"done": False, "note": "no"}, headers=secret(receipt))
        assert (refused.json()["step"], refused.json()["asks"]) == ("in_hand", False)
        assert somebody.get(f"/api/tickets/{report['ticket_id']}").json()["state"] == "reopened"

        centre.verifying(report["ticket_id"])
        done = citizen.post(f"{path}/answer", json={"done": True}, headers=secret(receipt)).json()
        assert (done["step"], done["may_rate"]) == ("done", True)
        rated = citizen.post(
            f"{path}/rating", json={"stars": 4, "note": "quick"}, headers=secret(receipt)
        ).json()
        assert (rated["stars"], rated["may_rate"]) == (4, False)
        assert_problem(
            citizen.post(f"{path}/rating", json={"stars": 1}, headers=secret(receipt)), 409, "report.rated"
        )
        read = somebody.get(f"/api/reports/{report['report_id']}").json()
        assert [(one["done"], one["note"]) for one in read["answers"]] == [(False, "no"), (True, "")]


def test_the_hotline_writes_down_what_a_caller_answers(centre: Served) -> None:
    with centre.client() as somebody:
        filed = file(somebody)
        centre.verifying(filed["ticket_id"])
        answer = somebody.post(f"/api/reports/{filed['report_id']}/answer", json={"done": False})
        assert (answer.status_code, answer.json()["ticket_state"]) == (200, "reopened")
        again = somebody.post(f"/api/reports/{filed['report_id']}/answer", json={"done": True})
        assert_problem(again, 409, "report.nothing_asked")


def test_photos_that_are_none_too_large_or_too_many_are_refused_and_nothing_is_kept(centre: Served) -> None:
    with centre.client(None) as citizen:
        assert_problem(snap(citizen, b"not a photo"), 422, "report.no_photo")
        problem = assert_problem(snap(citizen, photo() + b"\0" * 20_000_000), 413, "report.photo_too_large")
        assert "10 MB" in problem["detail"]
        assert_problem(snap(citizen, *[photo()] * 4), 422, "report.too_many_photos")
        # Beyond what the whole request may have it is heard out, so that the answer arrives.
        assert_problem(snap(citizen, *[b"\0" * 20_000_000] * 2), 413, "request.too_large")
    assert centre.centre.value("SELECT count(*) FROM report") == 0
    assert not list(centre.evidence.rglob("*.jpg"))


def test_a_citizens_request_that_comes_twice_is_one_report(centre: Served) -> None:
    with centre.client(None) as citizen:
        first, again = (snap(citizen, photo(), key="snapshot-1") for _ in range(2))
        assert first.json() == again.json()
        assert_problem(snap(citizen, key="snapshot-1"), 422, "report.key_used")
        assert snap(citizen).json()["receipt"] != snap(citizen).json()["receipt"], (
            "without a key each is its own"
        )


def test_an_address_that_asks_too_often_is_slowed_down(database_url: str, tmp_path: Path) -> None:
    settings = CloudSettings(reports=ReportSettings(public_per_minute=3))
    with served(database_url, tmp_path, settings) as running, running.client(None) as citizen:
        answers = [citizen.get("/open311/v2/services.json") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        answer = snap(citizen)
        assert_problem(answer, 429, "request.too_many")
        assert int(answer.headers["retry-after"]) > 0
