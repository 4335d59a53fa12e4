"""What the benchmark of the ticket centre loads: the rows keep the schema's rules and its indexes are all there after."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from benchmarks.tickets_load import load
from benchmarks.tickets_rig import prepare

pytestmark = pytest.mark.services
TICKETS, OBSERVATIONS, BOXES = 1200, 9000, 20
_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"
_CONSTRAINTS = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
)
#: Foreign keys and triggers slept while the rows came; here each is asked for all of them.
_BROKEN = {
    "a ticket without its matter": "SELECT count(*) FROM ticket LEFT JOIN matter USING (matter_id)"
    " WHERE matter.matter_id IS NULL",
    "an incident without its device": "SELECT count(*) FROM incident LEFT JOIN device USING (device_id)"
    " WHERE device.device_id IS NULL",
    "an incident that counts wrong": "SELECT count(*) FROM incident WHERE observations <> ("
    "SELECT count(*) FROM incident_observation AS seen WHERE seen.incident_id = incident.incident_id)",
    "a ticket without its incident": "SELECT count(*) FROM ticket WHERE NOT EXISTS (SELECT FROM ticket_incident"
    " JOIN incident USING (incident_id) WHERE ticket_incident.ticket_id = ticket.ticket_id)",
    "a history that ends elsewhere": "SELECT count(*) FROM ticket JOIN ticket_event AS last"
    " ON last.ticket_id = ticket.ticket_id AND last.n = ticket.version WHERE last.to_state <> ticket.state",
    "a history with holes": "SELECT count(*) FROM ticket WHERE version <> ("
    "SELECT count(*) FROM ticket_event WHERE ticket_event.ticket_id = ticket.ticket_id)",
    "an owner of another name": "SELECT count(*) FROM ticket JOIN assignment USING (ticket_id)"
    " WHERE kind = 'owner' AND assignment.unit_code <> ticket.unit_code",
    "not three clocks": "SELECT count(*) FROM ticket WHERE 3 <> ("
    "SELECT count(*) FROM clock WHERE clock.ticket_id = ticket.ticket_id)",
    "overdue, and no clock says so": "SELECT count(*) FROM ticket WHERE overdue <> EXISTS ("
    "SELECT FROM clock WHERE clock.ticket_id = ticket.ticket_id AND missed_at IS NOT NULL)",
    "a rating of open work": "SELECT count(*) FROM report JOIN ticket USING (ticket_id)"
    " WHERE stars IS NOT NULL AND closed_at IS NULL",
}


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchall()


def test_what_is_loaded_keeps_the_rules_of_the_schema(database_url: str) -> None:
    url = database_url
    prepare(url, BOXES)
    before = rows(url, _INDEXES), rows(url, _CONSTRAINTS)
    loaded = load(url, TICKETS, OBSERVATIONS)
    assert (loaded.tickets, loaded.observations) == (TICKETS, OBSERVATIONS)
    assert rows(url, "SELECT count(*) FROM ticket") == [(TICKETS,)]
    assert rows(url, "SELECT count(*) FROM incident_observation") == [(OBSERVATIONS,)]
    assert (rows(url, _INDEXES), rows(url, _CONSTRAINTS)) == before
    assert {name: rows(url, statement)[0][0] for name, statement in _BROKEN.items()} == dict.fromkeys(
        _BROKEN, 0
    )
    ((share,),) = rows(url, "SELECT avg((closed_at IS NULL)::int)::float8 FROM ticket")
    assert 0.01 < share < 0.04
    assert rows(url, "SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'") == []
