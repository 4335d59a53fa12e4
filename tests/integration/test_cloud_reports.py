"""Reports over HTTP: taken down, joined, merged and split, asked about, rated, sealed and forgotten."""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from cloud.config import CloudSettings
from cloud.doctor.personal import personal_findings
from cloud.reports.cli import app as personal
from cloud.reports.coordinates import to_gcj02
from cloud.reports.domain import ReportSettings
from cloud.reports.personal import rotate
from cloud.reports.sealing import add_key, read_keys
from cloud.reports.service import forget
from common.runtime.doctor import Examination
from tests.fixtures.centre import BORDER_LON, LAT
from tests.fixtures.reporting import HERE, Served, file, photo, served, told

pytestmark = pytest.mark.services
METRE = 0.00001
MANY = CloudSettings(reports=ReportSettings(public_per_minute=10_000))


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path, MANY) as running:
        yield running


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["code"] == code, problem
    return problem


def post(client: httpx.Client, key: str | None = None, **changed: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    return client.post("/api/reports", json=told(**changed), headers=headers)


def snap(client: httpx.Client, *photos: bytes, **changed: Any) -> httpx.Response:
    """A citizen's report from the public page."""
    fields = {"category": "street.rubbish", "description": "bags by the lamp", **HERE, **changed}
    key = fields.pop("key", None)
    return client.post(
        "/api/public/reports",
        data={name: str(value) for name, value in fields.items()},
        files=[("photos", (f"{n}.jpg", one, "image/jpeg")) for n, one in enumerate(photos)] or None,
        headers={"Idempotency-Key": key} if key else {},
    )


def secret(receipt: dict[str, Any]) -> dict[str, str]:
    return {"X-Receipt-Secret": receipt["secret"]}


def tickets(served_: Served) -> list[dict[str, Any]]:
    return served_.centre.rows("SELECT * FROM ticket ORDER BY number")


# ---- taken down ----


@pytest.mark.parametrize("channel", ["hotline", "grid", "leader", "other"])
def test_a_report_opens_a_ticket_of_its_channel_with_owner_and_clocks(centre: Served, channel: str) -> None:
    with centre.client("handler", "street-a") as worker:
        filed = file(worker, channel=channel, external_id="12345-7")
        ticket = worker.get(f"/api/tickets/{filed['ticket_id']}").json()
        assert (ticket["channel"], ticket["unit_code"], ticket["severity"]) == (channel, "grid-a", 3)
        assert [event["kind"] for event in ticket["events"]] == ["opened", "dispatched"]
        assert ticket["events"][0]["detail"]["receipt"] == filed["receipt"]
        assert {clock["name"] for clock in ticket["clocks"]} == {"ack", "arrive", "resolve"}
        (listed,) = worker.get("/api/reports", params={"ticket_id": filed["ticket_id"]}).json()["items"]
        assert (listed["receipt"], listed["external_id"]) == (filed["receipt"], "12345-7")
        read = worker.get(f"/api/reports/{filed['report_id']}").json()
        assert [link["because"] for link in read["links"]] == ["opened"]


def test_what_no_rule_covers_waits_in_the_centres_queue_under_a_clock(centre: Served) -> None:
    with centre.client() as somebody:
        filed = file(somebody, category="noise.construction")
        ticket = somebody.get(f"/api/tickets/{filed['ticket_id']}").json()
        assert (ticket["unassigned"], ticket["next_clock"]) == (True, "assign")


def test_the_same_request_again_gets_the_same_answer_and_another_one_under_its_key_is_refused(
    centre: Served,
) -> None:
    with centre.client() as somebody, centre.client() as other:
        first = post(somebody, "key-one-1")
        again = post(somebody, "key-one-1")
        assert (again.status_code, again.json()) == (201, first.json())
        assert_problem(post(somebody, "key-one-1", description="else"), 422, "report.key_used")
        assert_problem(post(somebody, "key-one-1", channel="grid"), 422, "report.key_used")
        assert post(other, "key-one-1").json()["receipt"] != first.json()["receipt"], (
            "keys are each account's own"
        )
        assert centre.centre.value("SELECT count(*) FROM report") == 2
        answer = somebody.post("/api/reports", json=told())
        assert_problem(answer, 422, "request.invalid")


def test_doubled_posts_at_one_time_are_one_report(centre: Served) -> None:
    with centre.client() as somebody:
        with ThreadPoolExecutor(8) as pool:
            answers = [one.json() for one in pool.map(lambda _: post(somebody, "the-same-key"), range(8))]
        assert all(answer == answers[0] for answer in answers)
        assert centre.centre.value("SELECT count(*) FROM report") == 1


def test_reports_and_observations_of_one_matter_at_one_time_open_one_ticket(centre: Served) -> None:
    device = centre.centre.device("lamp")
    for number in range(4):
        centre.centre.put(device, category="camera.standing_water", sensor=f"cam-{number}")
    with centre.client() as somebody:
        start = threading.Barrier(7)

        def report(_: int) -> None:
            start.wait()
            file(somebody)

        def work() -> None:
            start.wait()
            centre.centre.worker.drain()

        with ThreadPoolExecutor(7) as pool:
            done = [pool.submit(report, number) for number in range(6)] + [pool.submit(work)]
            for one in done:
                one.result()
    assert len(tickets(centre)) == 1
    assert centre.centre.value("SELECT count(*) FROM ticket_incident") == 1
    assert centre.centre.value("SELECT count(DISTINCT ticket_id) FROM report") == 1


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"lon": 119.5}, "report.outside_district"),
        ({"lon": LAT, "lat": 60}, "report.outside_district"),
        ({"occurred_at": "2090-01-01T00:00:00Z"}, "report.in_the_future"),
        ({"coordinate_system": "BD-09"}, "report.unknown_coordinates"),
        ({"category": "road.damged"}, "report.unknown_category"),
        ({"category": "camera.no_helmet"}, "report.unknown_category"),
        ({"category": "device.silent"}, "report.unknown_category"),
        ({"occurred_at": "2026-01-01T00:00:00"}, "request.invalid"),
        ({"lon": 500}, "request.invalid"),
        ({"description": ""}, "request.invalid"),
        ({"channel": "citizen"}, "request.invalid"),
        ({"reporter": {"phone": "call me"}}, "request.invalid"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_code_and_nothing_is_written(
    centre: Served, changed: dict[str, Any], code: str
) -> None:
    with centre.client() as somebody:
        assert_problem(post(somebody, **changed), 422, code)
    for table in ("report", "report_request", "ticket", "matter"):
        assert centre.centre.value(f"SELECT count(*) FROM {table}") == 0


def test_a_position_of_a_chinese_map_is_converted_where_it_says_so(centre: Served) -> None:
    lon, lat = to_gcj02(BORDER_LON, LAT)
    with centre.client() as somebody:
        file(somebody)
        filed = file(somebody, lon=lon, lat=lat, coordinate_system="GCJ-02")
        assert filed["attached"] is True
        read = somebody.get(f"/api/reports/{filed['report_id']}").json()
        assert (read["lon"], read["lat"]) == (pytest.approx(BORDER_LON), pytest.approx(LAT))
        assert read["coordinate_system"] == "GCJ-02"
    (row,) = centre.centre.rows("SELECT given_lon, given_lat FROM report WHERE coordinate_system = 'GCJ-02'")
    assert (row["given_lon"], row["given_lat"]) == (lon, lat)


# ---- joined ----


def test_the_same_matter_told_again_joins_its_ticket_and_raises_it(centre: Served) -> None:
    with centre.client() as somebody:
        first = file(somebody)
        second = file(somebody, channel="grid", lon=BORDER_LON + 30 * METRE, severity=4)
        assert (second["attached"], second["ticket_id"]) == (True, first["ticket_id"])
        ticket = somebody.get(f"/api/tickets/{first['ticket_id']}").json()
        assert [event["kind"] for event in ticket["events"][2:]] == ["report_attached", "severity_raised"]
        assert (ticket["severity"], ticket["channel"]) == (4, "hotline")


def test_what_a_device_saw_is_joined_and_a_device_joins_what_was_reported(centre: Served) -> None:
    ticket_id = centre.centre.open_one("camera.standing_water")
    with centre.client() as somebody:
        assert file(somebody)["ticket_id"] == str(ticket_id)
        other = file(somebody, category="manhole.open", lon=BORDER_LON + 300 * METRE)
    device = centre.centre.device("cover", lon=BORDER_LON + 310 * METRE)
    centre.centre.put(device, category="manhole.open")
    centre.centre.worker.drain()
    linked = centre.centre.rows("SELECT ticket_id FROM ticket_incident ORDER BY linked_at")
    assert [str(row["ticket_id"]) for row in linked] == [str(ticket_id), other["ticket_id"]]


def test_a_kin_matter_near_by_gets_its_own_ticket_and_a_suggestion_with_a_score(centre: Served) -> None:
    seen = centre.centre.open_one("flood.water_level")
    with centre.client() as somebody:
        filed = file(somebody, lon=BORDER_LON + 50 * METRE)
        assert filed["attached"] is False
        (suggested,) = filed["suggestions"]
        assert suggested["ticket_id"] == str(seen)
        assert 0.4 < suggested["score"] < 0.7
        for one, other in ((filed["ticket_id"], str(seen)), (str(seen), filed["ticket_id"])):
            (shown,) = somebody.get(f"/api/tickets/{one}/suggestions").json()["items"]
            assert (shown["ticket_id"], shown["score"]) == (
                other,
                pytest.approx(suggested["score"], abs=1e-6),
            )
            assert shown["parts"]["kinship"] == 0.7


def test_told_again_after_the_claim_reopens_it(centre: Served) -> None:
    with centre.client() as somebody:
        filed = file(somebody)
        centre.verifying(filed["ticket_id"])
        assert file(somebody)["attached"] is True
        assert somebody.get(f"/api/tickets/{filed['ticket_id']}").json()["state"] == "reopened"


# ---- merged and split ----


def merge(client: httpx.Client, one: str, into: str, **more: Any) -> httpx.Response:
    return client.post(f"/api/tickets/{one}/merge", json={"into": into, "note": "the same water"} | more)


def split(client: httpx.Client, into: str, **what: Any) -> httpx.Response:
    return client.post(f"/api/tickets/{into}/split", json={"note": "it is another one"} | what)


def test_merging_cancels_nothing_and_a_split_gives_back_what_was_brought(centre: Served) -> None:
    seen = str(centre.centre.open_one("flood.water_level"))
    with centre.client() as somebody:
        filed = file(somebody, lon=BORDER_LON + 50 * METRE)
        one = filed["ticket_id"]
        before = somebody.get(f"/api/tickets/{seen}").json()
        done = merge(somebody, seen, one)
        assert done.status_code == 200, done.text
        whole = done.json()
        assert [incident["device"][:10] for incident in whole["linked_incidents"]] == ["gulou/lamp"[:10]]
        due = {clock["name"]: clock["due_at"] for clock in whole["clocks"]}
        assert due == {clock["name"]: clock["due_at"] for clock in before["clocks"]}, (
            "the earlier promises hold"
        )
        called = {share["unit_code"] for share in whole["assignments"] if share["kind"] == "called"}
        assert called == {"water", "fire"}
        resting = somebody.get(f"/api/tickets/{seen}").json()
        assert (resting["state"], resting["actions"]) == ("merged", [])
        assert {clock["state"] for clock in resting["clocks"]} == {"stopped"}
        assert [ticket["ticket_id"] for ticket in somebody.get("/api/tickets?open=true").json()["items"]] == [
            one
        ]

        device = centre.centre.device("gauge-2", lon=BORDER_LON)
        centre.centre.put(device, category="flood.water_level", sensor="another")
        centre.centre.worker.drain()
        assert len(tickets(centre)) == 2, "the merged matter goes on in the ticket that it rests in"

        back = split(somebody, one, ticket_id=seen)
        assert back.status_code == 200, back.text
        assert (back.json()["state"], len(back.json()["linked_incidents"])) == ("dispatched", 1)
        assert {clock["state"] for clock in back.json()["clocks"]} == {"running"}
        kinds = [event["kind"] for event in back.json()["events"]]
        assert kinds[: len(before["events"])] == [event["kind"] for event in before["events"]]
        assert kinds[-2:] == ["merged", "split"]
        assert "split_off" in [
            event["kind"] for event in somebody.get(f"/api/tickets/{one}").json()["events"]
        ]
        report = somebody.get(f"/api/reports/{filed['report_id']}").json()
        assert report["ticket_id"] == one


def test_reports_move_with_a_merge_and_their_way_is_kept(centre: Served) -> None:
    with centre.client() as somebody:
        near = file(somebody)
        far = file(somebody, lon=BORDER_LON + 200 * METRE)
        assert merge(somebody, far["ticket_id"], near["ticket_id"]).status_code == 200
        read = somebody.get(f"/api/reports/{far['report_id']}").json()
        assert read["ticket_id"] == near["ticket_id"]
        assert [link["because"] for link in read["links"]] == ["opened", "merged"]
        # Told again at the merged one's place: it joins where the work goes on.
        again = file(somebody, lon=BORDER_LON + 200 * METRE)
        assert again["ticket_id"] == near["ticket_id"]
        assert split(somebody, near["ticket_id"], ticket_id=far["ticket_id"]).status_code == 200
        read = somebody.get(f"/api/reports/{far['report_id']}").json()
        assert (read["ticket_id"], read["links"][-1]["because"]) == (far["ticket_id"], "split")
        assert somebody.get(f"/api/reports/{again['report_id']}").json()["ticket_id"] == near["ticket_id"]
        assert len(centre.centre.rows("SELECT 1 FROM ticket_merge WHERE split_at IS NOT NULL")) == 1


def test_a_report_that_is_about_something_else_gets_a_ticket_of_its_own(centre: Served) -> None:
    with centre.client() as somebody:
        first, second = file(somebody), file(somebody)
        answer = split(somebody, first["ticket_id"], report_ids=[second["report_id"]])
        assert answer.status_code == 200, answer.text
        own = answer.json()
        assert own["ticket_id"] != first["ticket_id"]
        assert (own["state"], own["channel"]) == ("dispatched", "hotline")
        read = somebody.get(f"/api/reports/{second['report_id']}").json()
        assert [link["because"] for link in read["links"]] == ["attached", "split"]
        told_again = somebody.get(f"/api/tickets/{first['ticket_id']}").json()["events"][-1]
        assert told_again["kind"] == "reports_left"
        assert somebody.get("/api/summary").json()["checks"]["matters_with_two_open_tickets"] == 0


def test_merging_and_splitting_where_it_makes_no_sense_is_refused(centre: Served) -> None:
    with centre.client() as somebody, centre.client("dispatcher", "street-b") as stranger:
        one, other = (file(somebody, lon=BORDER_LON + shift * METRE)["ticket_id"] for shift in (0, 200))
        assert_problem(merge(somebody, one, one), 422, "ticket.merge_itself")
        assert_problem(merge(somebody, one, str(uuid.uuid4())), 404, "ticket.unknown")
        assert_problem(merge(stranger, one, other), 403, "ticket.forbidden")
        assert_problem(merge(somebody, one, other, expected_version=1), 412, "ticket.stale_version")
        assert_problem(merge(somebody, one, other, note=""), 422, "request.invalid")
        assert_problem(split(somebody, one, ticket_id=other), 409, "ticket.not_merged")
        assert_problem(split(somebody, one), 422, "ticket.split_what")
        assert_problem(split(somebody, one, report_ids=[str(uuid.uuid4())]), 404, "report.unknown")
        by_action = somebody.post(f"/api/tickets/{one}/actions", json={"action": "merge", "note": "x"})
        assert_problem(by_action, 409, "ticket.own_command")
        assert merge(somebody, one, other).status_code == 200
        assert_problem(merge(somebody, one, other), 409, "ticket.wrong_transition")
        assert_problem(merge(somebody, other, one), 409, "ticket.merge_into_closed")
        assert_problem(
            somebody.post(f"/api/tickets/{one}/actions", json={"action": "acknowledge"}),
            409,
            "ticket.wrong_transition",
        )


def test_two_that_are_merged_into_each_other_at_one_time_end_with_one_open(centre: Served) -> None:
    with centre.client() as somebody:
        one, other = (file(somebody, lon=BORDER_LON + shift * METRE)["ticket_id"] for shift in (0, 200))
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda pair: merge(somebody, *pair), [(one, other), (other, one)]))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert sorted(ticket["state"] for ticket in tickets(centre)) == ["dispatched", "merged"]


def test_the_page_shows_what_people_told_and_where_a_merged_ticket_went(centre: Served) -> None:
    with centre.client() as somebody, centre.client(None) as citizen:
        assert snap(
            citizen, photo(), category="camera.standing_water", description="<b>up to the knee</b>"
        ).is_success
        near = somebody.get("/api/reports").json()["items"][0]
        far = file(somebody, lon=BORDER_LON + 200 * METRE)
        page = somebody.get(f"/tickets/{near['ticket_id']}").text
        assert "&lt;b&gt;up to the knee&lt;/b&gt;" in page
        assert near["photos"][0]["url"] in page
        assert merge(somebody, far["ticket_id"], near["ticket_id"]).is_success
        assert f'href="/tickets/{near["ticket_id"]}"' in somebody.get(f"/tickets/{far['ticket_id']}").text
        detail = somebody.get(f"/api/tickets/{far['ticket_id']}").json()
        assert (detail["merged_into"], detail["reports"]) == (near["ticket_id"], [])
        assert len(somebody.get(f"/api/tickets/{near['ticket_id']}").json()["reports"]) == 2


def test_what_is_suggested_can_be_merged_from_the_page(centre: Served) -> None:
    seen = str(centre.centre.open_one("flood.water_level"))
    with centre.client() as somebody:
        one = file(somebody, lon=BORDER_LON + 50 * METRE)["ticket_id"]
        assert f'action="/tickets/{one}/merge"' in somebody.get(f"/tickets/{one}").text
        version = somebody.get(f"/api/tickets/{one}").json()["version"]
        form = {"into": seen, "version": version, "note": "the same water"}
        done = somebody.post(f"/tickets/{one}/merge", data=form)
        assert (done.status_code, done.headers["location"]) == (303, f"/tickets/{seen}")
        assert somebody.post(f"/tickets/{one}/merge", data=form | {"note": " "}).status_code == 422
        assert somebody.get(f"/api/tickets/{one}").json()["merged_into"] == seen
    with centre.client("viewer") as reader:
        other = file(centre.client("handler"), lon=BORDER_LON + 60 * METRE)["ticket_id"]
        assert "/merge" not in reader.get(f"/tickets/{other}").text


# ---- the citizen ----


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


# ---- who reported ----

REPORTER = {"name": "陈女士", "phone": "+86 138-0000-0000", "email": "chen@example.org"}


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
