"""Reports over HTTP: taken down, and joined to what was told or seen before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cloud.reports.coordinates import to_gcj02
from tests.fixtures.centre import BORDER_LON, LAT
from tests.fixtures.reporting import MANY, METRE, Served, assert_problem, file, post, served, tickets, told

pytestmark = pytest.mark.services


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path, MANY) as running:
        yield running


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
