"""A large district's league is counted once a minute, not for each look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloud.assessment import kept, repo
from cloud.assessment.service import AssessmentService, Chosen
from cloud.db import Database
from tests.fixtures.centre import BORDER_LON, Centre
from tests.integration.test_cloud_process import await_true

pytestmark = pytest.mark.services
EVERYTHING = Chosen()


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=4) as database:
        made = Centre(database)
        made.build()
        yield made


def tickets(service: AssessmentService, chosen: Chosen = EVERYTHING) -> int:
    """How many the departments' league is made of."""
    _, table = service.league(chosen, "department")
    return sum(placed.figures.tickets for placed in table)


def test_a_small_district_is_counted_for_each_look(centre: Centre) -> None:
    service = AssessmentService(centre.database, centre.clock)
    for number in range(1, 3):
        centre.open_one(lon=BORDER_LON - 0.002 * number)
        centre.clock.advance(1)
        assert tickets(service) == number
    assert centre.value("SELECT count(*) FROM assessment_kept") == 0


def test_a_large_district_is_shown_what_was_counted_within_a_minute(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MANY", 1)
    service = AssessmentService(centre.database, centre.clock)
    centre.open_one(lon=BORDER_LON - 0.002)
    centre.clock.advance(1)
    counted_at = centre.now
    assert tickets(service) == 1
    centre.open_one(lon=BORDER_LON - 0.004)
    centre.clock.advance(30)
    period, _ = service.league(EVERYTHING, "department")
    assert (tickets(service), period.until) == (1, counted_at)
    assert tickets(service, Chosen(until=centre.now)) == 2  # who names a time has it counted
    assert tickets(service, Chosen(category="smoke.alarm")) == 0
    centre.clock.advance(40)
    assert tickets(service) == 1  # and it is counted beside
    await_true(lambda: tickets(service) == 2)
    centre.open_one(lon=BORDER_LON - 0.006)
    centre.clock.advance(3600)
    assert tickets(service) == 3  # what is an hour old is not shown


def test_a_large_districts_league_is_counted_again_before_a_look_would_wait_for_it(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = "SELECT until FROM assessment_kept"
    kept.keep_ready(centre.database, centre.now)
    assert centre.rows(counted) == []  # nobody looked, or it is small
    monkeypatch.setattr(kept, "MANY", 1)
    service = AssessmentService(centre.database, centre.clock)
    centre.open_one(lon=BORDER_LON - 0.002)
    centre.clock.advance(1)
    assert tickets(service) == 1
    first = centre.now
    centre.open_one(lon=BORDER_LON - 0.004)
    for minutes in (5, 5):
        kept.keep_ready(centre.database, centre.now)
        assert centre.value(counted) == first
        centre.clock.advance(60 * minutes)
    centre.clock.advance(1)
    kept.keep_ready(centre.database, centre.now)
    assert centre.value(counted) == centre.now
    monkeypatch.setattr(repo, "figures", None)  # whoever looks now has nothing counted
    assert tickets(service) == 2
