"""What people do with tickets, on the real database."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cloud.errors import ConflictError, ForbiddenError, NotFoundError, StaleVersionError
from cloud.tickets.domain import Action, State
from cloud.tickets.schemas import TicketDetail, TicketFilters
from common.runtime.errors import InvalidError
from tests.fixtures.centre import BORDER_LON, Centre, person

pytestmark = pytest.mark.services


def act(centre: Centre, ticket_id: uuid.UUID, *actions: str, **given: Any) -> TicketDetail:
    for action in actions:
        centre.clock.advance(1)
        detail = centre.tickets.act(ticket_id, Action(action), person(), **given)
    return detail


def everything(centre: Centre) -> str:
    return str(
        [
            centre.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3")
            for table in ("ticket", "ticket_event", "clock", "assignment", "stream_event")
        ]
    )


def test_a_ticket_goes_its_way_and_every_step_is_a_line(centre: Centre) -> None:
    ticket_id = centre.open_one()
    detail = act(centre, ticket_id, "acknowledge", "arrive", "resolve")
    assert detail.state is State.VERIFYING
    assert [event.kind for event in detail.events[3:]] == ["acknowledged", "arrived", "resolved", "verifying"]
    assert [event.n for event in detail.events] == list(range(1, detail.version + 1))
    assert detail.claimed_at == centre.now
    assert {clock.name: clock.state for clock in detail.clocks} == {
        "ack": "met",
        "arrive": "met",
        "resolve": "met",
    }
    assert detail.events[3].actor_name == "supervisor-centre"
    assert detail.events[6].actor_id == ""  # the system began to verify


def test_a_wrong_step_is_a_conflict_and_writes_nothing(centre: Centre) -> None:
    ticket_id = centre.open_one()
    before = everything(centre)
    for action in ("resolve", "resume", "confirm", "close", "verify", "dispatch"):
        with pytest.raises(ConflictError):
            centre.tickets.act(ticket_id, Action(action), person(), note="because", unit_code="fire")
    for action in ("void", "transfer", "call", "suspend"):
        with pytest.raises(InvalidError):
            centre.tickets.act(ticket_id, Action(action), person())
    assert everything(centre) == before


def test_a_stale_version_is_refused_and_writes_nothing(centre: Centre) -> None:
    ticket_id = centre.open_one()
    read = centre.tickets.get_ticket(ticket_id)
    act(centre, ticket_id, "acknowledge", expected_version=read.version)
    before = everything(centre)
    with pytest.raises(StaleVersionError, match="it is now 4"):
        centre.tickets.act(ticket_id, Action.ARRIVE, person(), expected_version=read.version)
    assert everything(centre) == before


def test_of_two_people_who_act_at_once_one_is_first_and_the_other_is_told(centre: Centre) -> None:
    for _ in range(10):
        ticket_id = centre.open_one(
            lon=BORDER_LON + 0.001 * (1 + centre.value("SELECT count(*) FROM ticket"))
        )
        version = centre.tickets.get_ticket(ticket_id).version
        barrier, told = threading.Barrier(2), list[str]()

        def acknowledge(
            ticket_id: uuid.UUID = ticket_id,
            version: int = version,
            barrier: threading.Barrier = barrier,
            told: list[str] = told,
        ) -> None:
            barrier.wait()
            try:
                centre.tickets.act(ticket_id, Action.ACKNOWLEDGE, person(), expected_version=version)
                told.append("done")
            except StaleVersionError:
                told.append("stale")

        threads = [threading.Thread(target=acknowledge) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told) == ["done", "stale"]


def test_roles_and_places_decide_who_may(centre: Centre) -> None:
    ticket_id = centre.open_one()  # of the water department, in grid-a
    for somebody in (person("viewer"), person("handler", "street-b"), person("handler", "street-a")):
        with pytest.raises(ForbiddenError):
            centre.tickets.act(ticket_id, Action.ACKNOWLEDGE, somebody)
    centre.tickets.act(ticket_id, Action.ACKNOWLEDGE, person("handler", "water"))
    # The street in whose grid it lies, and a called department, have their say.
    centre.tickets.act(ticket_id, Action.CALL, person("dispatcher", "street-a"), unit_code="water")
    centre.tickets.act(ticket_id, Action.NOTE, person("handler", "fire"), note="no current in the water")
    with pytest.raises(ForbiddenError):
        centre.tickets.act(
            ticket_id, Action.TRANSFER, person("dispatcher", "street-a"), unit_code="fire", note="x"
        )
    with pytest.raises(ForbiddenError):
        centre.tickets.act(ticket_id, Action.VOID, person("dispatcher", "water"), note="x")


def test_an_unassigned_ticket_is_given_an_owner(centre: Centre) -> None:
    ticket_id = centre.open_one("air.quality_poor")
    with pytest.raises(InvalidError, match="nobody-1"):
        act(centre, ticket_id, "dispatch", unit_code="nobody-1")
    detail = act(centre, ticket_id, "dispatch", unit_code="street-a")
    assert (detail.state, detail.unassigned, detail.unit_code) == ("dispatched", False, "street-a")
    assert [(part.unit_code, part.ended_at) for part in detail.assignments] == [("street-a", None)]
    states = {(clock.name, clock.state) for clock in detail.clocks}
    assert states == {("assign", "met"), ("resolve", "running"), ("ack", "running"), ("arrive", "running")}


def test_handing_on_ends_one_part_and_starts_anew(centre: Centre) -> None:
    ticket_id = centre.open_one()
    act(centre, ticket_id, "acknowledge")
    with pytest.raises(InvalidError, match="already"):
        act(centre, ticket_id, "transfer", unit_code="water", note="ours")
    detail = act(centre, ticket_id, "transfer", unit_code="street-a", note="a burst pipe of the street")
    assert (detail.state, detail.unit_code) == ("dispatched", "street-a")
    owners = [part for part in detail.assignments if part.kind == "owner"]
    assert [(part.unit_code, part.ended_at is None) for part in owners] == [
        ("water", False),
        ("street-a", True),
    ]
    rounds = {(clock.name, clock.round, clock.state) for clock in detail.clocks}
    assert {("ack", 1, "met"), ("ack", 2, "running"), ("arrive", 1, "cancelled")} <= rounds


def test_a_department_is_called_once_and_only_departments_are(centre: Centre) -> None:
    ticket_id = centre.open_one("smoke.alarm")
    with pytest.raises(InvalidError, match="department"):
        act(centre, ticket_id, "call", unit_code="street-b")
    detail = act(centre, ticket_id, "call", unit_code="water")
    assert ("water", "called") in [(part.unit_code, part.kind) for part in detail.assignments]
    with pytest.raises(InvalidError, match="already"):
        act(centre, ticket_id, "call", unit_code="water")


def test_a_suspension_stops_the_clocks_and_goes_back_where_it_was(centre: Centre) -> None:
    ticket_id = centre.open_one()
    act(centre, ticket_id, "acknowledge", "arrive")
    with pytest.raises(InvalidError, match="review_at"):
        act(centre, ticket_id, "suspend", note="the pump is on its way")
    review = centre.now + timedelta(days=1)
    detail = act(centre, ticket_id, "suspend", note="the pump is on its way", review_at=review)
    assert (detail.state, detail.review_at) == ("suspended", review)
    assert {clock.state for clock in detail.clocks} == {"met", "stopped"}
    centre.clock.advance(86_400)
    detail = act(centre, ticket_id, "resume")
    assert (detail.state, detail.review_at) == ("on_site", None)
    (resolve,) = [clock for clock in detail.clocks if clock.name == "resolve"]
    # 600 s were promised; three steps of a second each passed before, and the one that resumes counts as none.
    assert (resolve.due_at - centre.now).total_seconds() == 600 - 4


def test_a_supervisor_can_confirm_with_a_reason_and_it_is_counted(centre: Centre) -> None:
    ticket_id = centre.open_one()
    act(centre, ticket_id, "acknowledge", "resolve")
    with pytest.raises(InvalidError, match="note"):
        act(centre, ticket_id, "confirm")
    with pytest.raises(ForbiddenError):
        centre.tickets.act(ticket_id, Action.CONFIRM, person("dispatcher"), note="seen")
    detail = act(centre, ticket_id, "confirm", note="seen on site, the gauge is broken")
    assert (detail.state, detail.overridden, detail.closed_at) == ("closed", True, centre.now)
    assert detail.actions == ()


def test_escalating_by_hand_raises_the_level_and_a_note_is_kept(centre: Centre) -> None:
    ticket_id = centre.open_one()
    detail = act(centre, ticket_id, "escalate", "note", note="the pump station does not answer")
    assert (detail.level, detail.state) == (1, "dispatched")
    assert [event.note for event in detail.events[3:]] == ["the pump station does not answer"] * 2


def test_a_closed_matter_that_comes_back_gets_a_new_ticket(centre: Centre) -> None:
    device = centre.device("gauge-1")
    centre.put(device)
    centre.worker.drain()
    (first,) = centre.rows("SELECT ticket_id FROM ticket")
    act(centre, first["ticket_id"], "acknowledge", "resolve")
    act(centre, first["ticket_id"], "confirm", note="the gauge is broken")
    centre.put(device)
    centre.worker.drain()
    states = centre.rows("SELECT state, number FROM ticket ORDER BY number")
    assert [row["state"] for row in states] == ["closed", "dispatched"]
    assert centre.value("SELECT count(*) FROM incident") == 2


def test_a_void_ticket_frees_its_matter(centre: Centre) -> None:
    device = centre.device("gauge-1")
    centre.put(device)
    centre.worker.drain()
    (first,) = centre.rows("SELECT ticket_id FROM ticket")
    assert act(centre, first["ticket_id"], "void", note="a test of the gauge").state is State.VOID
    centre.put(device)
    centre.worker.drain()
    assert centre.value("SELECT count(*) FROM ticket WHERE state = 'dispatched'") == 1


def test_history_cannot_be_changed_by_anybody(centre: Centre, database_url: str) -> None:
    centre.open_one()
    with psycopg.connect(database_url, autocommit=True) as somebody:
        for statement in (
            "UPDATE ticket_event SET note = 'nothing happened'",
            "DELETE FROM ticket_event",
            "TRUNCATE ticket_event",
            "TRUNCATE ticket CASCADE",
            "DELETE FROM ticket",
        ):
            with pytest.raises(psycopg.errors.IntegrityError):
                somebody.execute(statement)
    assert centre.value("SELECT count(*) FROM ticket_event") == 3


def test_the_database_itself_refuses_a_second_open_ticket_of_a_matter(
    centre: Centre, database_url: str
) -> None:
    centre.open_one()
    with psycopg.connect(database_url) as somebody, pytest.raises(psycopg.errors.UniqueViolation):
        somebody.execute(
            "INSERT INTO ticket SELECT (jsonb_populate_record(ticket, jsonb_build_object("
            " 'ticket_id', gen_random_uuid(), 'number', 'DT-20260101-9999'))).* FROM ticket"
        )


def test_a_list_narrows_and_pages_without_gap_or_repetition(centre: Centre) -> None:
    for number in range(7):
        centre.clock.advance(60)
        centre.open_one("smoke.alarm" if number % 2 else "flood.water_level", lon=BORDER_LON + number * 0.003)
    seen, cursor = list[str](), None
    while True:
        page = centre.tickets.list_tickets(TicketFilters(limit=3), cursor)
        seen += [ticket.number for ticket in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == [f"DT-20260101-{n:04d}" for n in range(7, 0, -1)]

    def count(**narrowed: Any) -> int:
        return len(centre.tickets.list_tickets(TicketFilters(**narrowed)).items)

    assert count(category="smoke.alarm") == 3
    assert count(unit_code="street-a") == 2
    assert count(unit_code="street-b") == 1
    assert count(unit_code="centre") == 7
    assert count(unit_code="water") == 4
    assert count(channel="camera") == 0
    assert count(state=("dispatched",), open=True) == 7
    assert count(open=False) == 0
    assert count(unassigned=True) == 0
    assert count(min_severity=4) == 0
    assert count(overdue=True) == 0


def test_a_ticket_shows_its_pictures_and_which_of_them_have_arrived(centre: Centre) -> None:
    pictures = [
        {
            "sha256": f"{n:064x}",
            "media_type": "image/jpeg",
            "size": 1000,
            "captured_at": 1_767_225_600_000 + n,
            "width": 640,
            "height": 480,
        }
        for n in (1, 2)
    ]
    ticket_id = centre.open_one(evidence=pictures)
    with centre.database.transaction() as tx:
        tx.run(
            "INSERT INTO evidence (sha256, media_type, size, device_id)"
            " SELECT %(sha)s, 'image/jpeg', 1000, device_id FROM device",
            sha=f"{1:064x}",
        )
    (incident,) = centre.tickets.get_ticket(ticket_id).linked_incidents
    assert [(picture.sha256[-1], picture.arrived) for picture in incident.evidence] == [
        ("2", False),
        ("1", True),
    ]
    assert (incident.value, incident.unit) == (0.3, "m")


def test_an_unknown_ticket_is_not_found(centre: Centre) -> None:
    with pytest.raises(NotFoundError):
        centre.tickets.get_ticket(uuid.uuid4())
    with pytest.raises(NotFoundError):
        centre.tickets.act(uuid.uuid4(), Action.NOTE, person(), note="hello")


def test_the_policy_of_a_ticket_is_frozen(centre: Centre) -> None:
    ticket_id = centre.open_one()
    with centre.database.transaction() as tx:
        tx.run("UPDATE policy SET ack_s = 1, arrive_s = 1, resolve_s = 1")
    detail = act(centre, ticket_id, "transfer", unit_code="fire", note="theirs")
    (ack,) = [clock for clock in detail.clocks if (clock.name, clock.round) == ("ack", 2)]
    assert (ack.due_at - ack.started_at).total_seconds() == 60
