"""The page of the assessment: in both languages, with figures to read and bars to look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from cloud.auth.api import SESSION_COOKIE
from cloud.auth.service import AuthService
from common.runtime.clock import SystemClock
from tests.fixtures.console_centre import PASSWORD, Centre, running_centre

pytestmark = pytest.mark.services


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Centre]:
    with running_centre(database_url, tmp_path) as running:
        yield running


@pytest.fixture
def reader(centre: Centre) -> Iterator[httpx.Client]:
    """A viewer's browser, in English."""
    begun = AuthService(centre.database, SystemClock()).sign_in("viewer", PASSWORD, "127.0.0.1")
    cookies = {SESSION_COOKIE: begun.token, "drumtower_language": "en"}
    with httpx.Client(base_url=centre.url, cookies=cookies, timeout=60) as client:
        yield client


def put_tickets(centre: Centre, grid: str, count: int, *, days_ago: float, closed: bool) -> None:
    """Tickets of a grid, each with a promise that was kept when it is closed."""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    with centre.database.transaction() as tx:
        tx.run(
            "WITH it AS (INSERT INTO matter (category, lon, lat, first_seen_at)"
            " SELECT 'smoke.alarm', 119.3, 26.08, %(at)s FROM generate_series(1, %(count)s) RETURNING matter_id),"
            " made AS (INSERT INTO ticket (ticket_id, number, matter_id, category, channel, severity, state, version,"
            " unit_code, grid_code, lon, lat, policy, opened_at, claimed_at, closed_at)"
            " SELECT gen_random_uuid(), 'X-' || matter_id, matter_id, 'smoke.alarm', 'sensor', 2,"
            " CASE WHEN %(closed)s THEN 'closed' ELSE 'dispatched' END, 0, %(grid)s, %(grid)s, 119.3, 26.08, '{}', %(at)s,"
            " CASE WHEN %(closed)s THEN %(at)s + interval '1 hour' END,"
            " CASE WHEN %(closed)s THEN %(at)s + interval '2 hours' END FROM it RETURNING ticket_id)"
            " INSERT INTO clock (ticket_id, name, state, started_at, due_at, met_at)"
            " SELECT ticket_id, 'resolve', CASE WHEN %(closed)s THEN 'met' ELSE 'running' END, %(at)s,"
            " %(at)s + interval '100 days', CASE WHEN %(closed)s THEN %(at)s + interval '1 hour' END FROM made",
            grid=grid,
            count=count,
            at=at,
            closed=closed,
        )


def grids(centre: Centre) -> list[str]:
    with centre.database.transaction() as tx:
        return [
            row["unit_code"] for row in tx.rows("SELECT unit_code FROM unit WHERE kind = 'grid' ORDER BY 1")
        ]


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_an_empty_district_says_so_in_both_languages(reader: httpx.Client) -> None:
    page = reader.get("/assessment")
    assert page.status_code == 200
    assert "No unit of this kind had a case." in page.text
    assert "No place has more than chance explains." in page.text
    assert "Nothing has been open for so long." in page.text
    reader.cookies.set("drumtower_language", "zh-CN")
    chinese = reader.get("/assessment").text
    assert "考核评价" in chinese
    assert "没有哪里多到不能用偶然解释。" in chinese
    assert not re.search(r"[a-z]{4,}", words(chinese.split('class="sheet">', 1)[1]))


def test_the_page_shows_the_league_what_stands_out_and_what_stays_open(
    centre: Centre, reader: httpx.Client
) -> None:
    first, second, *_ = grids(centre)
    put_tickets(centre, first, 30, days_ago=3, closed=True)
    put_tickets(centre, second, 1, days_ago=20, closed=False)
    told = words(reader.get("/assessment", params={"days": 30, "among": "grid"}).text)
    assert "31" in told
    assert "30 closed" in told
    assert "100 % of 30" in told
    assert "2:00:00" in told
    assert "30 tickets where 1." in told
    assert "Dispatched" in told
    assert "too few cases" in told
    assert "more without any case." in told
    html = reader.get("/assessment").text
    assert html.count('<svg class="bar"') >= 4
    assert not re.search(r"\sstyle=|<script", html)
    week = words(reader.get("/assessment", params={"days": 7}).text)
    assert "30 closed" in week


def test_who_is_not_signed_in_is_led_to_the_door(centre: Centre) -> None:
    answer = httpx.get(f"{centre.url}/assessment", timeout=60)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/assessment")
    assert httpx.get(f"{centre.url}/assessment?days=0", timeout=60).status_code in {303, 400}


def test_the_start_page_leads_there(reader: httpx.Client) -> None:
    assert 'href="/assessment"' in reader.get("/").text
