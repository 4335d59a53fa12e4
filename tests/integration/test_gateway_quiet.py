"""Maintenance and drills, as a person types them, and what they do to what is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from cloud.db import Database
from gateway.fleet import repo as fleet
from gateway.quiet import spans
from gateway.silence import sweep
from tests.fixtures.centre import Centre
from tests.fixtures.gateway_rules import SMOKE, apply, held_lease, smoke, store_of
from tests.integration.gateway_rig import now_ms, register, rows

pytestmark = pytest.mark.services


def gateway(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the gateway."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DRUMTOWER_")}
    environment |= {"DRUMTOWER_DATABASE_URL": url, "COLUMNS": "200", "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(
        [sys.executable, "-m", "common.runtime.cli", "gateway", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )


def test_a_box_is_put_in_maintenance_looked_up_and_let_go(database_url: str) -> None:
    register(database_url, "kiln", "box-0")
    began = gateway(database_url, "maintenance", "add", "kiln/box-0", "--for", "2h", "--because", "new cover")
    assert began.returncode == 0, began.stderr
    assert "what is seen there calls no one" in began.stdout
    listed = gateway(database_url, "maintenance", "list").stdout
    assert "kiln/box-0" in listed
    assert "new cover" in listed
    number = rows(database_url, "SELECT quiet_id FROM quiet_time")[0][0]
    assert gateway(database_url, "maintenance", "end", str(number)).returncode == 0
    assert "there is no maintenance" in gateway(database_url, "maintenance", "list").stdout
    assert "new cover" in gateway(database_url, "maintenance", "list", "--all").stdout
    again = gateway(database_url, "maintenance", "end", str(number))
    assert again.returncode == 1
    assert "quiet.unknown" in again.stderr
    done = [row[0] for row in rows(database_url, "SELECT action FROM audit ORDER BY audit_id")]
    assert done == ["maintenance.begin", "maintenance.end"]
    assert "new cover" in gateway(database_url, "audit").stdout


def test_an_alarm_is_put_on_the_shelf_for_a_day_at_most_and_taken_off(database_url: str) -> None:
    register(database_url, "kiln", "box-0")
    what = ("shelved", "add", "kiln/box-0", "--because", "the grill next door")
    began = gateway(database_url, *what, "--category", "smoke.alarm", "--sensor", "smoke-1", "--for", "8h")
    assert began.returncode == 0, began.stderr
    listed = gateway(database_url, "shelved", "list").stdout
    assert "kiln/box-0 smoke.alarm smoke-1" in listed
    assert "there is no maintenance" in gateway(database_url, "maintenance", "list").stdout
    too_long = gateway(database_url, *what, "--category", "smoke.alarm", "--for", "2d")
    assert (too_long.returncode, "quiet.wrong_span" in too_long.stderr) == (1, True)
    mistyped = gateway(database_url, *what, "--category", "smoke.alram", "--for", "1h")
    assert mistyped.returncode == 2
    number = rows(database_url, "SELECT quiet_id FROM quiet_time")[0][0]
    assert gateway(database_url, "shelved", "end", str(number)).returncode == 0
    assert "there is no shelved" in gateway(database_url, "shelved", "list").stdout
    told = gateway(database_url, "audit").stdout
    for part in ("shelved.begin", "shelved.end", "the grill next door"):
        assert part in told


def test_a_drill_is_of_a_site_and_ends_by_itself_within_a_day(database_url: str) -> None:
    register(database_url, "kiln", "box-0")
    assert (
        gateway(database_url, "drill", "start", "kiln", "--for", "90m", "--because", "storm").returncode == 0
    )
    assert "drill.begin" in gateway(database_url, "audit").stdout
    ((site, device, hours),) = rows(
        database_url,
        "SELECT site, device, extract(epoch FROM until_at - from_at)::float8 / 3600 FROM quiet_time",
    )
    assert (site, device, hours) == ("kiln", None, 1.5)
    too_long = gateway(database_url, "drill", "start", "kiln", "--for", "2d", "--because", "storm")
    assert too_long.returncode == 1
    assert "quiet.wrong_span" in too_long.stderr
    unknown = gateway(database_url, "drill", "start", "oven", "--for", "1h", "--because", "storm")
    assert "quiet.unknown_place" in unknown.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("maintenance", "add", "kiln", "--for", "2h", "--because", "x"),
        ("maintenance", "add", "kiln/box-0", "--because", "x"),
        ("maintenance", "add", "kiln/box-0", "--for", "2h", "--until", "2030-01-01", "--because", "x"),
        ("maintenance", "add", "kiln/box-0", "--for", "soon", "--because", "x"),
        ("maintenance", "add", "kiln/box-0", "--for", "2h", "--because", " "),
    ],
)
def test_what_is_typed_wrongly_is_a_usage_error(database_url: str, arguments: tuple[str, ...]) -> None:
    assert gateway(database_url, *arguments).returncode == 2


def test_lengths_and_instants_are_read_as_people_write_them() -> None:
    assert spans.length("90m") == timedelta(minutes=90)
    assert spans.length("1.5h") == timedelta(minutes=90)
    assert spans.length("7d") == timedelta(days=7)
    assert spans.instant("2026-01-31T14:00").astimezone(UTC).hour == 6, "the district's time"
    assert spans.instant("2026-01-31T14:00+00:00").astimezone(UTC).hour == 14
    for wrong in ("2 weeks", "", "-5m"):
        with pytest.raises(ValueError, match=re.escape(repr(wrong))):
            spans.length(wrong)
    for beyond in ("999999999999d", "9" * 400 + "s"):
        with pytest.raises(ValueError, match="within 36500 days"):
            spans.length(beyond)


def register_silent(url: str, *boxes: str) -> None:
    """Boxes last heard of five minutes ago, in a partition that somebody listens to."""
    register(url, "kiln", *boxes)
    rows(
        url,
        "INSERT INTO device_stream (device_id, epoch, received_at)"
        " SELECT device_id, 9, now() - interval '5 minutes' FROM device",
    )
    rows(
        url,
        "INSERT INTO partition_lease (partition, holder, expires_at, listening_since)"
        " VALUES ('default', 'x', now() + interval '1 hour', now() - interval '1 hour')",
    )


def test_a_box_that_stays_silent_after_its_maintenance_calls_people(database_url: str) -> None:
    register_silent(database_url, "box-0")
    rows(
        database_url,
        "INSERT INTO quiet_time (kind, site, device, from_at, until_at, reason, who)"
        " VALUES ('maintenance', 'kiln', 'box-0', now() - interval '1 hour', now() + interval '1 hour', 'x', 'y')",
    )
    told = "SELECT phase, revision, mark FROM observation_inbox ORDER BY inbox_id"
    with fleet.connect(database_url, "test") as connection:
        assert [sweep(connection), sweep(connection)] == [1, 0]
        assert rows(database_url, told) == [("start", 0, "maintenance")]
        rows(database_url, "UPDATE quiet_time SET until_at = now()")
        assert [sweep(connection), sweep(connection)] == [1, 0]
        assert rows(database_url, told)[1:] == [("update", 1, "")]
        rows(
            database_url,
            "UPDATE device_stream SET received_at = to_timestamp(%s / 1000.0)",
            now_ms() + 1000,
        )
        assert sweep(connection) == 1
        assert rows(database_url, told)[2:] == [("end", 2, "maintenance")], "its update has called already"


def test_a_box_of_which_a_batch_came_during_the_look_for_silence_is_not_silent(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_silent(database_url, "box-0", "box-1")
    hold = fleet.hold_presence

    def after_a_batch(connection: fleet.Connection, device_ids: list[int]) -> set[int]:
        rows(
            database_url,
            "UPDATE device_stream SET received_at = now()"
            " WHERE device_id = (SELECT device_id FROM device WHERE name = 'box-0')",
        )
        return hold(connection, device_ids)

    monkeypatch.setattr(fleet, "hold_presence", after_a_batch)
    with fleet.connect(database_url, "test") as connection:
        assert sweep(connection) == 1
    told = "SELECT name, phase FROM observation_inbox JOIN device USING (device_id)"
    assert rows(database_url, told) == [("box-1", "start")]


def reached(centre: Centre) -> int:
    """Everything that reaches a person: tickets, clocks, assignments, messages."""
    return int(
        centre.value(
            "SELECT (SELECT count(*) FROM ticket) + (SELECT count(*) FROM clock)"
            " + (SELECT count(*) FROM assignment) + (SELECT count(*) FROM notification)"
        )
    )


@pytest.mark.parametrize(
    ("kind", "begin"),
    [
        ("drill", ("drill", "start", "kiln")),
        ("maintenance", ("maintenance", "add", "kiln/box-0")),
        ("shelved", ("shelved", "add", "kiln/box-0", "--category", "smoke.alarm")),
    ],
)
def test_from_the_reading_to_the_incident_all_is_marked_and_nobody_is_called_until_it_is_over(
    database_url: str, kind: str, begin: tuple[str, ...]
) -> None:
    with (
        Database(database_url, size=8) as database,
        held_lease(database_url) as lease,
        store_of(database_url, lease) as store,
    ):
        centre = Centre(database)
        centre.build()

        def alarm(seq: int, at: int) -> list[tuple[str, bool]]:
            store.commit([smoke(seq, 0.3, at)])
            centre.clock.jump(time.time() - centre.clock.now_ms() / 1000)
            centre.worker.drain()
            found = centre.rows("SELECT mark, ticket_worthy FROM incident")
            return [(one["mark"], one["ticket_worthy"]) for one in found]

        apply(database_url, SMOKE)
        began = gateway(database_url, *begin, "--for", "1h", "--because", "as every autumn")
        assert began.returncode == 0, began.stderr
        assert alarm(1, now_ms()) == [(kind, False)]
        assert reached(centre) == 0
        ((number,),) = rows(database_url, "SELECT quiet_id FROM quiet_time")
        assert gateway(database_url, kind, "end", str(number)).returncode == 0
        assert alarm(2, now_ms() + 10_000) == [("", True)], "its next update, ten seconds later"
        assert centre.value("SELECT count(*) FROM ticket") == 1
        assert reached(centre) > 1
