"""The audit on the real database: chained as it is written, anchored, exported, and what breaks it is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from cloud.audit.cli import app
from cloud.audit.domain import canonical, parse
from cloud.audit.service import AuditSettings, anchor_due, verify
from cloud.db import Database
from cloud.tickets.domain import Action
from common.runtime.errors import InvalidError
from common.schema.runner import migrate, shipped
from local.postgres import PostgresServer
from tests.fixtures.centre import Centre, person
from tests.unit.test_cloud_audit_domain import JSON

pytestmark = pytest.mark.services
HOURLY = AuditSettings()


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=4) as database:
        made = Centre(database)
        made.build()
        yield made


@pytest.fixture
def worked(centre: Centre) -> Centre:
    """Two tickets with some history."""
    water = person("handler", "water")
    for lon in (119.295, 119.305):
        ticket_id = centre.open_one(lon=lon)
        for action in (Action.ACKNOWLEDGE, Action.ARRIVE, Action.RESOLVE):
            centre.tickets.act(ticket_id, action, water, note="做完了 ½")
            centre.clock.advance(60)
        centre.clock.advance(6 * 3600)
    return centre


def tamper(centre: Centre, statement: str, **values: Any) -> None:
    """What somebody does who owns the database and switches its guard off."""
    with psycopg.connect(centre.database.url) as connection:
        connection.execute("SET session_replication_role = replica")
        done = connection.execute(statement, values or None)
        assert done.rowcount > 0


def second(centre: Centre) -> str:
    number = centre.value("SELECT number FROM ticket ORDER BY ticket_id DESC LIMIT 1")
    assert isinstance(number, str)
    return number


LATER = "ticket_id = (SELECT ticket_id FROM ticket ORDER BY ticket_id DESC LIMIT 1)"


def test_every_line_is_chained_as_it_is_written_and_the_whole_is_found_whole(worked: Centre) -> None:
    report = verify(worked.database)
    assert report.faults == []
    assert (report.tickets, report.lines) == (2, worked.value("SELECT count(*) FROM ticket_event"))
    assert report.lines >= 12


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (f"UPDATE ticket_event SET note = 'nothing' WHERE n = 5 AND {LATER}", "line 5 (arrived) is not what"),
        (f"UPDATE ticket_event SET at = at - interval '1 second' WHERE n = 4 AND {LATER}", "line 4"),
        (
            f"UPDATE ticket_event SET detail = detail || '{{\"n\": 1}}' WHERE n = 1 AND {LATER}",
            "line 1 (opened)",
        ),
        (f"UPDATE ticket_event SET hash = sha256(hash) WHERE n = 3 AND {LATER}", "line 3"),
        (f"DELETE FROM ticket_event WHERE n = 4 AND {LATER}", "line 4 is missing"),
        (f"DELETE FROM ticket_event WHERE n = 7 AND {LATER}", "it ends with line 6"),
        (f"DELETE FROM ticket_event WHERE {LATER}", "it ends with line 0"),
        (
            f"UPDATE ticket_event AS one SET note = other.note, kind = other.kind, at = other.at FROM ticket_event AS other"
            f" WHERE one.{LATER} AND other.ticket_id = one.ticket_id AND one.n + other.n = 9 AND one.n IN (4, 5)",
            "line 4",
        ),
    ],
)
def test_the_first_broken_line_is_named(worked: Centre, statement: str, fault: str) -> None:
    tamper(worked, statement)
    report = verify(worked.database)
    assert report.faults == [
        found for found in report.faults if found.startswith(f"ticket {second(worked)}: ")
    ]
    assert fault in report.faults[0]


def test_a_history_rewritten_whole_is_betrayed_by_its_anchor_and_that_by_the_one_kept_elsewhere(
    worked: Centre, tmp_path: Path
) -> None:
    settings = AuditSettings(export=tmp_path / "anchors.jsonl")
    assert anchor_due(worked.database, settings, worked.now) is not None
    rechain = """
        DO $$ DECLARE it ticket_event; of_ticket uuid; previous bytea; BEGIN
        FOR it IN SELECT * FROM ticket_event ORDER BY ticket_id, n LOOP
            IF of_ticket IS DISTINCT FROM it.ticket_id THEN
                of_ticket := it.ticket_id; previous := decode(repeat('00', 32), 'hex');
            END IF;
            previous := audit_link(previous, it);
            UPDATE ticket_event SET hash = previous WHERE ticket_id = it.ticket_id AND n = it.n;
        END LOOP; END $$"""
    tamper(worked, f"UPDATE ticket_event SET note = 'all was well' WHERE n = 6 AND {LATER}")
    with psycopg.connect(worked.database.url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(rechain)
    (fault,) = verify(worked.database).faults
    assert fault == f"ticket {second(worked)}, line 7: it is not what anchor 1 saw"
    tamper(
        worked,
        "UPDATE audit_anchored SET hash = ticket_event.hash FROM ticket_event"
        " WHERE ticket_event.ticket_id = audit_anchored.ticket_id AND ticket_event.n = audit_anchored.n",
    )
    assert verify(worked.database).faults == ["anchor 1 is not what was written, or what it names is not"]
    tamper(worked, "DELETE FROM audit_anchored")
    tamper(worked, "DELETE FROM audit_anchor")
    assert verify(worked.database).faults == []
    (fault,) = verify(worked.database, settings.export).faults
    assert fault == "anchor 1 was kept elsewhere, and is not in the database"
    anchor_due(worked.database, HOURLY, worked.now + timedelta(hours=1))
    (fault,) = verify(worked.database, settings.export).faults
    assert fault == "anchor 1 was kept elsewhere, and is another one in the database"


def test_an_anchor_is_made_once_an_hour_and_names_only_what_grew(worked: Centre, tmp_path: Path) -> None:
    settings = AuditSettings(export=tmp_path / "anchors.jsonl")
    first = anchor_due(worked.database, settings, worked.now)
    assert first is not None
    assert (first.anchor_id, first.heads) == (1, 2)
    assert anchor_due(worked.database, settings, worked.now + timedelta(minutes=59)) is None
    third = worked.open_one(lon=119.325)
    second_one = anchor_due(worked.database, HOURLY, worked.now + timedelta(hours=1))
    assert second_one is not None
    assert (second_one.anchor_id, second_one.heads) == (2, 1)
    quiet = anchor_due(worked.database, settings, worked.now + timedelta(hours=2))
    assert quiet is not None
    assert quiet.heads == 0
    lines = [json.loads(line) for line in (tmp_path / "anchors.jsonl").read_text().splitlines()]
    # The second was made where nothing is exported; the next export has it too.
    assert [line["anchor"] for line in lines] == [1, 2, 3]
    assert lines[2]["hash"] == quiet.hash.hex()
    worked.tickets.act(third, Action.NOTE, person(), note="and goes on")
    report = verify(worked.database, settings.export)
    assert (report.anchors, report.faults) == (3, [])


def test_an_export_that_cannot_be_written_stops_nothing(worked: Centre, tmp_path: Path) -> None:
    settings = AuditSettings(export=tmp_path / "no" / "such" / "folder")
    assert anchor_due(worked.database, settings, worked.now) is not None
    with pytest.raises(InvalidError, match="exported anchors"):
        verify(worked.database, settings.export)


def test_a_line_without_one_before_it_is_refused(worked: Centre) -> None:
    with (
        psycopg.connect(worked.database.url) as connection,
        pytest.raises(psycopg.IntegrityError, match="none before"),
    ):
        connection.execute(
            "INSERT INTO ticket_event (ticket_id, n, at, kind, actor_name, to_state)"
            " SELECT ticket_id, version + 2, now(), 'noted', 'x', state FROM ticket LIMIT 1"
        )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(JSON, max_size=40))
def test_the_database_and_we_write_every_value_alike(database_url: str, values: list[Any]) -> None:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT value::text, audit_canonical(value) FROM unnest(%s::jsonb[]) AS value",
            [[Jsonb(value) for value in values]],
        ).fetchall()
    for stored, written in rows:
        assert canonical(parse(stored)) == written


def test_a_database_of_the_release_before_is_chained_by_the_migration(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create_database("before_the_audit")
    try:
        migrate(url, [step for step in shipped() if step.version < 121])
        with psycopg.connect(url) as connection:
            connection.execute(
                "WITH it AS (INSERT INTO matter (category, lon, lat, first_seen_at) VALUES ('x', 0, 0, now()) RETURNING matter_id)"
                " INSERT INTO ticket (ticket_id, number, matter_id, category, channel, severity, state, version, lon, lat,"
                " policy, opened_at) SELECT gen_random_uuid(), 'DT-1', matter_id, 'x', 'sensor', 1, 'open', 3, 0, 0, '{}', now() FROM it"
            )
            connection.execute(
                "INSERT INTO ticket_event (ticket_id, n, at, kind, actor_name, to_state, detail)"
                " SELECT ticket_id, n, now(), 'noted', '系统', 'open', jsonb_build_object('b', 1.50, 'a', 'ä\"')"
                " FROM ticket, generate_series(1, 3) AS n"
            )
        migrate(url, [step for step in shipped() if step.version <= 121])
        with Database(url, size=2) as database:
            report = verify(database)
        assert (report.lines, report.faults) == (3, [])
        with psycopg.connect(url) as connection, pytest.raises(psycopg.IntegrityError, match="never changed"):
            connection.execute("UPDATE ticket_event SET note = ''")
    finally:
        postgres_server.drop_database("before_the_audit")


def test_the_command_says_whole_or_names_what_is_broken(
    worked: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATABASE_URL", worked.database.url)
    whole = CliRunner().invoke(app, ["verify"])
    assert (whole.exit_code, whole.output[:18]) == (0, "whole: 2 tickets, ")
    tamper(worked, f"UPDATE ticket_event SET actor_name = 'nobody' WHERE n = 5 AND {LATER}")
    broken = CliRunner().invoke(app, ["verify"])
    assert broken.exit_code == 1
    assert broken.output.startswith(f"ticket {second(worked)}: line 5 (arrived) is not what was written")
    assert "BROKEN" in broken.output
