"""Who is called when a clock is missed, and who a step further up; on the real database."""

from __future__ import annotations

import json
import random
import threading
import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from cloud.db import Database
from cloud.errors import ConflictError
from cloud.sla.service import escalate_due, fire_due
from cloud.tickets.domain import Action
from tests.fixtures.centre import BORDER_LON, Centre, person
from tests.integration.test_cloud_process import await_true, start

pytestmark = pytest.mark.services


def escalate(centre: Centre, *entries: dict[str, Any]) -> None:
    """What the policies of water lead to."""
    written = [{"to": "", "after_s": 0, "again_s": None} | entry for entry in entries]
    with centre.database.transaction() as tx:
        tx.run("UPDATE policy SET escalate = %(it)s::jsonb", it=json.dumps(written))


def on_duty(centre: Centre, unit: str, who: str) -> None:
    with centre.database.transaction() as tx:
        tx.run(
            "INSERT INTO duty_shift (unit_code, person, phone, begins_at, ends_at)"
            " VALUES (%(unit)s, %(who)s, '555-0100', %(since)s, %(until)s)",
            unit=unit,
            who=who,
            since=centre.now - timedelta(hours=1),
            until=centre.now + timedelta(days=30),
        )


def told(centre: Centre) -> list[tuple[str, str, str]]:
    rows = centre.rows("SELECT kind, unit_code, person FROM notification WHERE kind <> 'called' ORDER BY id")
    return [(row["kind"], row["unit_code"], row["person"]) for row in rows]


def climbed(centre: Centre, ticket_id: uuid.UUID) -> list[tuple[str, str]]:
    events = centre.tickets.get_ticket(ticket_id).events
    return [
        (event.detail["step"], event.detail["unit_code"]) for event in events if event.kind == "escalated"
    ]


def test_a_unit_that_does_not_acknowledge_is_called_out_and_then_escalated(centre: Centre) -> None:
    escalate(centre, {"clock": "ack", "to": "street", "after_s": 300, "again_s": 600})
    on_duty(centre, "water", "Lin")
    on_duty(centre, "street-a", "Chen")
    ticket_id = centre.open_one()
    centre.clock.advance(60)
    assert fire_due(centre.database, centre.now) == 1
    assert told(centre) == [("call_out", "water", "Lin")]
    assert centre.tickets.get_ticket(ticket_id).level == 0
    centre.clock.advance(299)
    assert escalate_due(centre.database, centre.now) == 0
    centre.clock.advance(1)
    assert escalate_due(centre.database, centre.now) == 1
    assert told(centre)[1:] == [("escalated", "street-a", "Chen")]
    for _ in range(4):  # the head stands at the top, after that nobody is left
        centre.clock.advance(600)
        escalate_due(centre.database, centre.now)
    assert climbed(centre, ticket_id) == [("street", "street-a"), ("district", "centre"), ("head", "centre")]
    detail = centre.tickets.get_ticket(ticket_id)
    assert (detail.level, detail.level_zh, detail.level_en) == (3, "区领导", "District head")
    step = next(event for event in detail.events if event.kind == "escalated")
    assert step.detail["because"] == "the clock was missed"
    assert (step.detail["clock"], step.detail["person"], step.actor_id) == ("ack", "Chen", "")
    assert centre.value("SELECT count(*) FROM escalation_due") == 0


def test_who_acknowledges_after_the_call_is_not_escalated(centre: Centre) -> None:
    escalate(centre, {"clock": "ack", "after_s": 300})
    ticket_id = centre.open_one()
    centre.clock.advance(60)
    fire_due(centre.database, centre.now)
    centre.clock.advance(100)
    centre.tickets.act(ticket_id, Action.ACKNOWLEDGE, person())
    centre.clock.advance(300)
    assert escalate_due(centre.database, centre.now) == 0
    assert centre.value("SELECT count(*) FROM escalation_due") == 0
    assert climbed(centre, ticket_id) == []


def test_only_the_clocks_that_the_policy_names_lead_further_up(centre: Centre) -> None:
    escalate(centre, {"clock": "resolve", "to": "district"})
    ticket_id = centre.open_one()
    centre.clock.advance(200)
    assert fire_due(centre.database, centre.now) == 2
    assert climbed(centre, ticket_id) == []
    centre.clock.advance(400)
    assert fire_due(centre.database, centre.now) == 1
    assert climbed(centre, ticket_id) == [("district", "centre")]


def test_by_hand_each_step_says_who_and_why_until_the_top(centre: Centre) -> None:
    ticket_id = centre.open_one()
    for level in (1, 2, 3):
        detail = centre.tickets.act(ticket_id, Action.ESCALATE, person(), note="it grows")
        event = detail.events[-1]
        assert (detail.level, event.actor_name, event.note) == (level, "supervisor-centre", "it grows")
        assert event.detail["because"] == "by hand"
    with pytest.raises(ConflictError, match="further up"):
        centre.tickets.act(ticket_id, Action.ESCALATE, person(), note="still")
    assert centre.tickets.get_ticket(ticket_id).version == detail.version


def test_who_owns_a_matter_is_passed_over_on_the_way_up(centre: Centre) -> None:
    ticket_id = centre.open_one("smoke.alarm")  # the street's own
    detail = centre.tickets.act(ticket_id, Action.ESCALATE, person(), note="too big for the street")
    assert (detail.level, detail.events[-1].detail["unit_code"]) == (2, "centre")


def test_without_a_rota_the_lead_is_called_and_without_a_lead_the_unit(centre: Centre) -> None:
    with centre.database.transaction() as tx:
        tx.run("UPDATE unit SET lead = 'Wu', phone = '555-0101' WHERE unit_code = 'water'")
    centre.open_one()
    centre.clock.advance(60)
    fire_due(centre.database, centre.now)
    assert told(centre) == [("call_out", "water", "Wu"), ("escalated", "street-a", "")]


def test_nobody_found_is_a_queue_with_a_clock_and_the_centre_is_called_out(centre: Centre) -> None:
    on_duty(centre, "centre", "Zhao")
    ticket_id = centre.open_one("rain.intense")  # no rule is for it
    detail = centre.tickets.get_ticket(ticket_id)
    assert detail.unassigned
    assert {clock.name for clock in detail.clocks} == {"assign", "resolve"}
    centre.clock.advance(300)
    assert fire_due(centre.database, centre.now) == 1
    assert told(centre)[0] == ("call_out", "centre", "Zhao")
    detail = centre.tickets.act(
        ticket_id, Action.DISPATCH, person(), unit_code="water", note="they have the pumps"
    )
    assert detail.unit_code == "water"


def test_the_ladder_is_the_districts_own(centre: Centre) -> None:
    with centre.database.transaction() as tx:
        tx.run(
            "INSERT INTO escalation_level VALUES (1, 'village', '村社', 'Village', 'level:community', false),"
            " (2, 'fire', '消防', 'Fire brigade', 'unit:fire', false)"
        )
    ticket_id = centre.open_one("camera.zone_occupied")  # the grid's
    centre.tickets.act(ticket_id, Action.ESCALATE, person(), note="up")
    centre.tickets.act(ticket_id, Action.ESCALATE, person(), note="up")
    assert climbed(centre, ticket_id) == [("village", "community-a"), ("fire", "fire")]


def test_two_sweepers_call_out_and_escalate_each_ticket_once(centre: Centre, database_url: str) -> None:
    escalate(centre, {"clock": "ack", "after_s": 60, "again_s": 3600})
    for number in range(12):
        centre.open_one(lon=BORDER_LON + number * 0.0007)
    with Database(database_url, size=4) as other:
        centre.clock.advance(60)
        race(lambda database: fire_due(database, centre.now), centre.database, other)
        centre.clock.advance(60)
        race(lambda database: escalate_due(database, centre.now), centre.database, other)
    assert centre.value("SELECT count(*) FROM notification WHERE kind = 'call_out'") == 12
    assert centre.value("SELECT count(*) FROM notification WHERE kind = 'escalated'") == 12
    assert centre.value("SELECT count(*) FROM ticket_event WHERE kind = 'escalated'") == 12
    assert centre.value("SELECT count(*) FROM ticket WHERE level = 1") == 12


def test_workers_killed_at_random_fire_each_clock_and_write_each_message_once(
    centre: Centre, database_url: str
) -> None:
    """By the workers' real clock everything is long overdue; they are killed while they fire it."""
    escalate(centre, {"clock": "ack"}, {"clock": "resolve"})  # one step each, whichever fires first
    with centre.database.transaction() as tx:
        tx.run("UPDATE routing_rule SET call = '{}'")  # nobody is called who could be late as well
    tickets = 30
    for number in range(tickets):
        centre.open_one(lon=BORDER_LON - 0.0095 + number * 0.0006)
    seeded, fired = random.Random(11), "SELECT count(*) FROM ticket_event WHERE kind = 'clock_missed'"

    def reached(share: int) -> bool:
        return bool(centre.value(fired) >= share)

    workers = [start(database_url, "--role", "worker") for _ in range(2)]
    try:
        for share in (10, 35, 60):
            await_true(partial(reached, share))
            victim = seeded.randrange(2)
            workers[victim].kill()
            workers[victim].communicate()
            workers[victim] = start(database_url, "--role", "worker")
        await_true(lambda: centre.value(fired) >= 3 * tickets)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert centre.value(fired) == 3 * tickets
    once = "SELECT count(DISTINCT (ticket_id, detail ->> 'clock', detail ->> 'round')) FROM ticket_event"
    assert centre.value(f"{once} WHERE kind = 'clock_missed'") == 3 * tickets
    kinds = "SELECT count(*) FROM notification WHERE kind = %(kind)s"
    assert centre.value(kinds, kind="call_out") == tickets
    assert centre.value(kinds, kind="escalated") == 2 * tickets
    assert centre.value("SELECT count(*) FROM ticket WHERE level = 2") == tickets
    gaps = "SELECT count(*) FROM ticket WHERE version <> (SELECT count(*) FROM ticket_event e WHERE e.ticket_id = ticket.ticket_id)"
    assert centre.value(gaps) == 0


def race(work: Any, *databases: Database) -> None:
    barrier = threading.Barrier(4)

    def run(database: Database) -> None:
        barrier.wait()
        for _ in range(3):
            work(database)

    threads = [threading.Thread(target=run, args=(database,)) for database in databases * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
