"""The assessment of a small district: who kept what in time, the league, hotspots and what stays unsolved."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

from cloud.assessment.service import AssessmentService, Chosen, Rating
from cloud.auth.domain import Account
from cloud.db import Database
from cloud.errors import ConflictError, ForbiddenError, NotFoundError
from cloud.sla.service import fire_due
from cloud.tickets.domain import Action, EventKind
from cloud.tickets.editing import Editing
from cloud.tickets.repo import lock
from common.runtime.errors import InvalidError
from tests.fixtures.centre import Centre, person
from tests.integration.test_cloud_api import Running, assert_problem, running  # noqa: F401 - a fixture

pytestmark = pytest.mark.services
EVERYTHING = Chosen()


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=4) as database:
        made = Centre(database)
        made.build()
        yield made


@pytest.fixture
def service(centre: Centre) -> AssessmentService:
    return AssessmentService(centre.database, centre.clock)


def work(centre: Centre, ticket_id: uuid.UUID, who: Account, *, after_s: float) -> None:
    """Acknowledge, arrive and claim, each so long after the step before."""
    for action in (Action.ACKNOWLEDGE, Action.ARRIVE, Action.RESOLVE):
        centre.clock.advance(after_s)
        centre.tickets.act(ticket_id, action, who)


def confirm(centre: Centre, ticket_id: uuid.UUID) -> None:
    centre.tickets.act(ticket_id, Action.CONFIRM, person(), note="seen with my own eyes")


def test_promises_kept_and_broken_are_counted_for_whoever_had_to_keep_them(
    centre: Centre, service: AssessmentService
) -> None:
    in_time, late = (centre.open_one("smoke.alarm", lon=lon) for lon in (119.295, 119.305))
    work(centre, in_time, person("handler", "street-a"), after_s=30)
    confirm(centre, in_time)
    centre.clock.advance(4000)
    fire_due(centre.database, centre.now)
    work(centre, late, person("handler", "street-a"), after_s=1)
    _, found = service.figures(EVERYTHING, "unit")
    street = found["street-a"]
    assert (street.tickets, street.closed, street.lowest, street.overridden) == (2, 1, 1, 1)
    assert (street.ack, street.ack_met) == (2, 1)
    assert (street.arrive, street.arrive_met) == (2, 1)
    assert (street.resolve, street.resolve_met) == (2, 1)
    assert (street.claimed, street.reopened) == (2, 0)
    assert street.close_s == pytest.approx(90)


def test_a_ticket_handed_on_is_judged_of_each_by_its_own_clock(
    centre: Centre, service: AssessmentService
) -> None:
    ticket_id = centre.open_one("smoke.alarm")
    centre.clock.advance(10)
    centre.tickets.act(ticket_id, Action.ACKNOWLEDGE, person("handler", "street-a"))
    centre.clock.advance(10)
    centre.tickets.act(ticket_id, Action.TRANSFER, person(), note="it is theirs", unit_code="water")
    centre.clock.advance(10)
    centre.tickets.act(ticket_id, Action.ACKNOWLEDGE, person("handler", "water"))
    _, found = service.figures(EVERYTHING, "unit")
    assert (found["street-a"].ack, found["street-a"].ack_met, found["street-a"].tickets) == (1, 1, 0)
    assert (found["water"].ack, found["water"].ack_met, found["water"].tickets) == (1, 1, 1)


def test_time_in_which_nothing_could_look_counts_against_nobody(
    centre: Centre, service: AssessmentService
) -> None:
    ticket_id = centre.open_one("smoke.alarm")
    work(centre, ticket_id, person("handler", "street-a"), after_s=10)
    with centre.database.transaction() as tx:
        ticket = lock(tx, ticket_id)
        assert ticket is not None
        ticket.blind_at = centre.now
        editing = Editing(tx, ticket, centre.now)
        editing.record(EventKind.BLIND)
        editing.save()
    centre.clock.advance(86_400)
    confirm(centre, ticket_id)
    _, found = service.figures(EVERYTHING, "category")
    assert found["smoke.alarm"].blind_s == pytest.approx(86_400)
    assert found["smoke.alarm"].close_s == pytest.approx(30)


def test_false_alarms_other_times_and_other_units_are_left_out(
    centre: Centre, service: AssessmentService
) -> None:
    false, real = (centre.open_one("smoke.alarm", lon=lon) for lon in (119.295, 119.325))
    centre.tickets.act(false, Action.VOID, person(), note="steam")
    centre.clock.advance(60)
    _, found = service.figures(EVERYTHING, "unit")
    assert {code: one.tickets for code, one in found.items() if one.tickets} == {"street-b": 1}
    _, by_month = service.figures(EVERYTHING, "month")
    assert list(by_month) == ["2026-01"]
    _, by_kind = service.figures(EVERYTHING, "kind")
    assert by_kind["street"].tickets == 1
    _, by_level = service.figures(Chosen(category="smoke.alarm"), "level")
    assert by_level["0"].tickets == 1
    assert service.figures(Chosen(unit_code="street-a"), "unit")[1] == {}
    assert service.figures(Chosen(category="flood.water_level"), "unit")[1] == {}
    assert service.figures(Chosen(until=centre.now - timedelta(seconds=60)), "unit")[1] == {}
    with pytest.raises(NotFoundError, match="moon"):
        service.figures(Chosen(unit_code="moon"), "unit")
    with pytest.raises(InvalidError, match="expected a period"):
        service.figures(Chosen(since=centre.now, until=centre.now), "unit")
    assert real is not None


def test_the_street_rates_who_worked_there_once(centre: Centre, service: AssessmentService) -> None:
    ticket_id = centre.open_one()
    street = person("dispatcher", "street-a")
    wish = Rating("water", 4, "quick")
    with pytest.raises(ConflictError, match="says is solved"):
        service.rate(ticket_id, street, wish)
    work(centre, ticket_id, person("handler", "water"), after_s=5)
    for refused in (
        person("dispatcher", "street-b"),
        person("dispatcher", "water"),
        person("handler", "street-a"),
    ):
        with pytest.raises(ForbiddenError):
            service.rate(ticket_id, refused, wish)
    with pytest.raises(InvalidError, match="no part"):
        service.rate(ticket_id, street, Rating("street-b", 1, ""))
    service.rate(ticket_id, street, wish)
    with pytest.raises(ConflictError, match="already"):
        service.rate(ticket_id, street, wish)
    service.rate(ticket_id, street, Rating("fire", 2, "came late"))
    _, found = service.figures(EVERYTHING, "unit")
    assert (found["water"].ratings, found["water"].stars) == (1, 4)
    assert (found["fire"].ratings, found["fire"].stars) == (1, 2)


def test_the_league_holds_every_street_with_all_below_it(centre: Centre, service: AssessmentService) -> None:
    for number in range(6):
        lon = 119.2905 + number * 0.003
        ticket_id = centre.open_one("smoke.alarm", lon=lon)
        work(centre, ticket_id, person("handler", "street-a"), after_s=5)
        confirm(centre, ticket_id)
    _, table = service.league(EVERYTHING, "street")
    assert [(one.unit_code, one.rank, one.figures.tickets) for one in table] == [
        ("street-a", 1, 6),
        ("street-b", None, 0),
    ]
    _, narrowed = service.league(Chosen(unit_code="street-b"), "street")
    assert [one.unit_code for one in narrowed] == ["street-b"]
    _, departments = service.league(EVERYTHING, "department")
    assert {one.unit_code for one in departments} == {"fire", "water"}


def put_tickets(centre: Centre, grid: str, count: int, ago: timedelta) -> None:
    """Tickets that are over, as many as statistics need."""
    with centre.database.transaction() as tx:
        tx.run(
            "WITH it AS (INSERT INTO matter (category, lon, lat, first_seen_at)"
            " SELECT 'flood.water_level', 119.3, 26.08, %(at)s FROM generate_series(1, %(count)s) RETURNING matter_id)"
            " INSERT INTO ticket (ticket_id, number, matter_id, category, channel, severity, state, version, unit_code,"
            " grid_code, lon, lat, policy, opened_at, closed_at)"
            " SELECT gen_random_uuid(), 'X-' || matter_id, matter_id, 'flood.water_level', 'sensor', 2, 'closed', 0, 'water',"
            " %(grid)s, 119.3, 26.08, '{}', %(at)s, %(at)s FROM it",
            grid=grid,
            count=count,
            at=centre.now - ago,
        )


def test_places_stand_out_against_others_and_against_before(
    centre: Centre, service: AssessmentService
) -> None:
    put_tickets(centre, "grid-a", 40, timedelta(days=3))
    put_tickets(centre, "grid-b", 10, timedelta(days=3))
    put_tickets(centre, "grid-a", 160, timedelta(days=60))
    _, elsewhere = service.hotspots(EVERYTHING, "grid", "elsewhere")
    assert [(one.cell.place, one.cell.count, one.expected) for one in elsewhere] == [("grid-a", 40, 25.0)]
    _, before = service.hotspots(EVERYTHING, "grid", "before")
    assert [one.cell.place for one in before] == ["grid-b"]
    _, streets = service.hotspots(EVERYTHING, "street", "elsewhere")
    assert [one.cell.place for one in streets] == ["street-a"]
    _, none = service.hotspots(Chosen(unit_code="street-b"), "grid", "elsewhere")
    assert none == []


def test_what_stands_open_long_is_listed_oldest_first_and_page_by_page(
    centre: Centre, service: AssessmentService
) -> None:
    first = centre.open_one("smoke.alarm", lon=119.295)
    centre.clock.advance(3600)
    second = centre.open_one("smoke.alarm", lon=119.325)
    assert service.unsolved(7, None, None, 10) == ([], None)
    centre.clock.advance(8 * 86_400)
    third = centre.open_one("smoke.alarm", lon=119.305)
    rows, cursor = service.unsolved(7, None, None, 1)
    assert [row["ticket_id"] for row in rows] == [first]
    rows, cursor = service.unsolved(7, None, cursor, 1)
    assert ([row["ticket_id"] for row in rows], cursor) == ([second], None)
    rows, _ = service.unsolved(7, "street-b", None, 10)
    assert [row["ticket_id"] for row in rows] == [second]
    assert third not in {row["ticket_id"] for row in service.unsolved(7, None, None, 10)[0]}


def test_the_interface_tells_the_same(running: Running) -> None:  # noqa: F811 - the fixture
    ticket_id = running.centre.open_one()
    with running.client("admin") as admin:
        told = admin.get("/api/assessment", params={"by": "unit"}).json()
        (water,) = [one for one in told["items"] if one["key"] == "water"]
        assert water["figures"]["tickets"] == 1
        assert water["figures"]["shares"]["resolved"] == {"part": 0, "of": 0, "value": None, "lower": None}
        assert len(admin.get("/api/assessment/league").json()["items"]) == 2
        assert admin.get("/api/assessment/hotspots").json()["items"] == []
        assert admin.get("/api/assessment/unsolved").json() == {"items": [], "next_cursor": None}
        rating = {"unit_code": "water", "stars": 6}
        path = f"/api/tickets/{ticket_id}/ratings"
        assert_problem(admin.post(path, json=rating), 422, "request.invalid")
        assert_problem(admin.post(path, json=rating | {"stars": 5}), 409, "assessment.not_solved")
        for action in ("acknowledge", "resolve"):
            assert admin.post(f"/api/tickets/{ticket_id}/actions", json={"action": action}).status_code == 200
        assert admin.post(path, json=rating | {"stars": 5}).status_code == 201
        assert_problem(
            admin.get("/api/assessment", params={"unit_code": "moon"}), 404, "assessment.unknown_unit"
        )
