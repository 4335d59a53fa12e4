"""Open311 GeoReport v2, driven by other cities' client and by hand.

``three`` 0.8.0 from PyPI was written for Python 2: on 3.11 its import fails at ``from itertools import ifilter``, and its
XML reading indexes a dictionary's keys. Here ``ifilter`` is given back as what it was, Python 3's ``filter``; with that
the client's own code drives everything in JSON. XML and the errors are driven with httpx over the same calls.
"""

from __future__ import annotations

import importlib
import io
import itertools
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from cloud.config import CloudSettings
from cloud.open311.domain import Open311Error, Open311Settings, read_wanted, services, write
from cloud.reports.domain import ReportSettings
from tests.fixtures.centre import BORDER_LON, LAT
from tests.fixtures.reporting import Served, file, photo, served

pytestmark = pytest.mark.services
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PLACE = {"lat": str(LAT), "long": str(BORDER_LON)}
WATER = "camera.standing_water"
OWN = CloudSettings(
    reports=ReportSettings(public_per_minute=10_000),
    open311=Open311Settings(jurisdiction_id="gulou.example.org"),
)


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path, OWN) as running:
        yield running


@pytest.fixture
def three(centre: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(itertools, "ifilter", filter, raising=False)
    before = set(sys.modules)
    made = importlib.import_module("three").Three(
        f"{centre.url}/open311/v2", api_key=centre.token("reports:write"), jurisdiction="gulou.example.org"
    )
    yield made
    made.session.close()
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "three":
            del sys.modules[name]


def test_the_client_from_pypi_reports_and_reads_what_became_of_it(three: Any, centre: Served) -> None:
    listed = three.services()
    assert WATER in [service["service_code"] for service in listed]
    assert not [service for service in listed if service["service_code"].startswith("device.")]
    assert three.services(WATER) == {"service_code": WATER, "attributes": []}

    (posted,) = three.post(
        WATER,
        lat=PLACE["lat"],
        long=PLACE["long"],
        name="Chen Wei",
        phone="13800000000",
        description="knee-deep",
        address="Drumtower Avenue",
        media=io.BytesIO(photo()),
    )
    receipt = posted["service_request_id"]
    (found,) = three.request(receipt)
    assert (found["status"], found["service_code"], found["description"]) == ("open", WATER, "knee-deep")
    assert (found["lat"], found["long"]) == (LAT, BORDER_LON)
    assert three.token(receipt) == [{"service_request_id": receipt, "token": receipt}]
    today = datetime.now(UTC)
    around = [(today + timedelta(days=days)).strftime("%m-%d-%Y") for days in (-1, 1)]
    assert [one["service_request_id"] for one in three.requests(WATER, between=around, count=5)] == [receipt]
    assert three.requests("road.damaged") == []
    assert three.requests(status="closed") == []
    assert three.discovery()["endpoints"][0]["formats"] == ["application/json", "text/xml"]

    with centre.client() as somebody:
        (report,) = somebody.get("/api/reports").json()["items"]
        assert (report["channel"], report["receipt"], len(report["photos"])) == ("other", receipt, 1)
        person = somebody.get(f"/api/reports/{report['report_id']}/person").json()
        assert person == {"name": "Chen Wei", "phone": "13800000000", "email": ""}
        centre.verifying(report["ticket_id"])
        somebody.post(f"/api/reports/{report['report_id']}/answer", json={"done": True})
    (found,) = three.requests(status="closed")
    assert (found["service_request_id"], found["status"]) == (receipt, "closed")


def test_the_client_is_told_what_is_wrong(three: Any) -> None:
    (error,) = three.post(WATER, description="somewhere")
    assert error["code"] == 400
    assert "lat and long" in error["description"]
    three.configure(api_key="nobody")
    (error,) = three.post(WATER, **PLACE)
    assert error["code"] == 403


def parsed(content: str | bytes) -> ET.Element:
    return ET.fromstring(content)  # noqa: S314 - our own server wrote it


def url(centre: Served, path: str) -> str:
    return f"{centre.url}/open311/v2/{path}"


def test_the_same_calls_in_xml(centre: Served) -> None:
    key = centre.token("reports:write")
    form = {"service_code": WATER, "api_key": key, "description": "a < b & \x0b 积水", **PLACE}
    with httpx.Client(timeout=60) as client:
        listed = parsed(client.get(url(centre, "services.xml")).content)
        assert listed.tag == "services"
        assert listed.findtext("service/metadata") == "false"
        defined = parsed(client.get(url(centre, f"services/{WATER}.xml")).content)
        assert (defined.tag, defined.findtext("service_code")) == ("service_definition", WATER)
        answer = client.post(url(centre, "requests.xml"), data=form)
        assert (answer.status_code, answer.headers["content-type"]) == (201, "text/xml; charset=utf-8")
        receipt = parsed(answer.content).findtext("request/service_request_id")
        for path in (f"requests/{receipt}.xml", "requests.xml"):
            read = parsed(client.get(url(centre, path)).content)
            assert (read.tag, read.findtext("request/status")) == ("service_requests", "open")
            assert read.findtext("request/description") == "a < b & \ufffd 积水"
        token = parsed(client.get(url(centre, f"tokens/{receipt}.xml")).content)
        assert token.findtext("request/service_request_id") == receipt
        gone = client.get(url(centre, "requests/R-20260101-AAAAAAAA.xml"))
        told = parsed(gone.content)
        assert (gone.status_code, told.tag, told.findtext("error/code")) == (404, "errors", "404")


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"api_key": ""}, 403, "api_key"),
        ({"service_code": ""}, 400, "service_code"),
        ({"service_code": "no.such"}, 404, "services.json"),
        ({"service_code": "device.silent"}, 404, "services.json"),
        ({"jurisdiction_id": "elsewhere"}, 404, "jurisdiction_id"),
        ({"lat": ""}, 400, "cannot look up an address"),
        ({"lat": "north"}, 400, "degrees"),
        ({"lat": "nan"}, 400, "lat"),
        ({"long": "119.9"}, 400, "report.outside_district"),
        ({"coordinate_system": "BD-09"}, 400, "report.unknown_coordinates"),
        ({"email": "not one"}, 400, "email"),
        ({"description": "x" * 5000}, 400, "description"),
    ],
)
def test_what_cannot_be_taken_is_told_as_the_specification_has_it(
    centre: Served, changed: dict[str, str], status: int, says: str
) -> None:
    form = {"service_code": WATER, "api_key": centre.token("reports:write"), **PLACE} | changed
    with httpx.Client(timeout=60) as client:
        answer = client.post(url(centre, "requests.json"), data=form)
    assert answer.status_code == status, answer.text
    (error,) = answer.json()
    assert error["code"] == status
    assert says in error["description"]
    assert centre.centre.value("SELECT count(*) FROM report") == 0


def test_a_token_without_the_scope_or_the_role_is_no_api_key(centre: Served) -> None:
    with httpx.Client(timeout=60) as client:
        for key in (centre.token("tickets:read"), centre.token("reports:write", role="viewer")):
            form = {"service_code": WATER, "api_key": key, **PLACE}
            assert client.post(url(centre, "requests.json"), data=form).status_code == 403


def test_a_photo_that_is_none_or_too_large_is_told_as_the_specification_has_it(centre: Served) -> None:
    form = {"service_code": WATER, "api_key": centre.token("reports:write"), **PLACE}
    with httpx.Client(timeout=60) as client:
        for content, status in ((b"nothing", 400), (b"\0" * 20_000_000, 413)):
            answer = client.post(url(centre, "requests.json"), data=form, files={"media": ("x.jpg", content)})
            assert (answer.status_code, answer.json()[0]["code"]) == (status, status)
        unknown = client.get(url(centre, "requests.yaml"))
        assert (unknown.status_code, unknown.json()[0]["code"]) == (400, 400)
        for query in ({"start_date": "soon"}, {"status": "lost"}, {"page": "0"}, {"page_size": "9999"}):
            answer = client.get(url(centre, "requests.json"), params=query)
            assert (answer.status_code, answer.json()[0]["code"]) == (400, 400)


def test_what_came_another_way_is_not_published_unless_the_district_says_so(
    database_url: str, tmp_path: Path
) -> None:
    settings = CloudSettings(open311=Open311Settings(publish="all"))
    with served(database_url, tmp_path, settings) as running, running.client() as somebody:
        filed = file(somebody, address="No. 7, third floor")
        (found,) = httpx.get(url(running, "requests.json"), timeout=60).json()
        assert (found["service_request_id"], found["description"], found["address"]) == (
            filed["receipt"],
            "",
            "",
        )


def test_by_default_only_what_came_by_open311_is_read_there(centre: Served) -> None:
    with centre.client() as somebody:
        filed = file(somebody)
    assert httpx.get(url(centre, "requests.json"), timeout=60).json() == []
    assert httpx.get(url(centre, f"requests/{filed['receipt']}.json"), timeout=60).status_code == 404


def test_a_query_without_dates_means_the_last_ninety_days() -> None:
    wanted = read_wanted({}, NOW)
    assert (wanted.since, wanted.until, wanted.page_size) == (NOW - timedelta(days=90), None, 100)
    wanted = read_wanted({"end_date": "2026-05-01T00:00:00Z", "status": "open,closed", "page": "2"}, NOW)
    assert wanted.since == datetime(2026, 5, 1, tzinfo=UTC) - timedelta(days=90)
    assert (wanted.status, wanted.page) == (("open", "closed"), 2)
    assert read_wanted({"start_date": "2026-05-01T08:00:00 08:00"}, NOW).since == datetime(
        2026, 5, 1, tzinfo=UTC
    )
    assert read_wanted({"service_request_id": "a, b", "start_date": "nonsense"}, NOW).ids == ("a", "b")
    with pytest.raises(Open311Error):
        read_wanted({"start_date": "2026-05-02T00:00:00Z", "end_date": "2026-05-01T00:00:00Z"}, NOW)


def test_both_forms_say_the_same() -> None:
    read = parsed(write("xml", services(), "services", "service"))
    assert [service.findtext("service_code") for service in read] == [
        one["service_code"] for one in services()
    ]
