"""Two tickets that turn out to be one matter, and one that turns out to be two: over HTTP and on the page."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.centre import BORDER_LON
from tests.fixtures.reporting import MANY, METRE, Served, assert_problem, file, photo, served, snap, tickets

pytestmark = pytest.mark.services


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path, MANY) as running:
        yield running


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
