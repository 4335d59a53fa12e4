"""The centre as real processes: killed, stopped, refused a port, without its database."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from cloud.db import Database
from cloud.summary.service import summarise
from common.runtime.clock import SystemClock
from common.schema.runner import migrate
from local.postgres import PostgresServer
from tests.fixtures.centre import BORDER_LON, LAT, Centre, sign_in

pytestmark = pytest.mark.services
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=8) as database:
        built = Centre(database)
        built.build()
        yield built


def start(url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "common.runtime.cli", "cloud", "run", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DRUMTOWER_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def process(url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    running = start(url, *arguments)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def await_true(condition: Callable[[], object], seconds: float = 150.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def first_line(running: subprocess.Popen[str], start_of_line: str) -> str:
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith(start_of_line):
            return line
    raise AssertionError(f"ended with {running.wait()} before saying {start_of_line!r}")


def assert_sound(centre: Centre, observations: int) -> None:
    found = summarise(centre.database, centre.rules)
    assert found.sound, found
    assert found.inbox.waiting == 0
    assert centre.value("SELECT count(*) FROM incident_observation") == observations
    assert centre.value("SELECT sum(observations) FROM incident") == observations


def test_a_worker_killed_in_the_middle_of_a_transaction_has_done_nothing(
    centre: Centre, database_url: str
) -> None:
    centre.put(centre.device("gauge-1"))
    with psycopg.connect(database_url) as holder:
        # The history cannot be written: by then incident and ticket are, within the transaction.
        holder.execute("LOCK TABLE ticket_event IN EXCLUSIVE MODE")
        with process(database_url, "--role", "worker") as worker:
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%ticket_event%'"
            await_true(lambda: centre.value(waits.replace("%", "%%")))
            worker.kill()
            worker.wait()
        holder.rollback()
    await_true(lambda: centre.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 0)
    assert centre.value("SELECT count(*) FROM observation_inbox") == 1
    for table in ("matter", "incident", "ticket", "clock", "stream_event", "ticket_number"):
        assert centre.value(f"SELECT count(*) FROM {table}") == 0
    with process(database_url, "--role", "worker"):
        await_true(lambda: centre.value("SELECT count(*) FROM ticket"))
    assert_sound(centre, 1)


def test_workers_killed_at_random_lose_and_double_nothing(centre: Centre, database_url: str) -> None:
    seeded, told = random.Random(5), 240
    devices = [
        centre.device(f"d-{n}", BORDER_LON + (n % 3) * 0.0002, LAT + (n // 3) * 0.002) for n in range(15)
    ]
    workers = [start(database_url, "--role", "worker") for _ in range(2)]
    try:
        for number in range(told):
            device = seeded.choice(devices)
            observation_id = centre.put(device)
            centre.put(device, "end", observation_id=observation_id, revision=1, ended_s=1)
            if number % 40 == 20:
                victim = seeded.randrange(2)
                workers[victim].kill()
                workers[victim].communicate()
                workers[victim] = start(database_url, "--role", "worker")
        await_true(lambda: centre.value("SELECT count(*) FROM observation_inbox") == 0, 150)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert_sound(centre, told)
    assert centre.value("SELECT count(*) FROM incident_observation WHERE ended_at IS NULL") == 0
    assert centre.value("SELECT count(*) - count(DISTINCT number) FROM ticket") == 0
    history = "SELECT count(*) FROM ticket WHERE version <> (SELECT count(*) FROM ticket_event e WHERE e.ticket_id = ticket.ticket_id)"
    assert centre.value(history) == 0


def test_a_process_with_an_open_stream_ends_in_good_order(centre: Centre, database_url: str) -> None:
    with process(database_url, "--port", "0") as running:
        url = first_line(running, "listening on ").split()[2].rstrip(";")
        await_true(lambda: _answers(url))
        assert httpx.get(f"{url}/api/tickets", timeout=60).status_code == 401
        token, _ = sign_in(centre.database, SystemClock(), "viewer")
        with httpx.stream(
            "GET", f"{url}/api/stream", cookies={"drumtower_session": token}, timeout=60
        ) as stream:
            assert stream.status_code == 200
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0
    assert centre.value("SELECT count(*) FROM category WHERE known") > 0


def test_a_running_centre_applies_fires_and_tells(centre: Centre, database_url: str) -> None:
    with centre.database.transaction() as tx:
        tx.run("UPDATE policy SET ack_s = 1, arrive_s = 2, resolve_s = 3600")
    with process(database_url, "--port", "0"):
        centre.put(centre.device("gauge-1"), started_s=time.time() - centre.clock.now_ms() / 1000)
        # both clocks of the owner, and the unit called beside it
        missed = "SELECT count(*) FROM ticket_event WHERE kind IN ('clock_missed', 'call_missed')"
        await_true(lambda: centre.value(missed) == 3)
    assert centre.value("SELECT level FROM ticket") == 3
    assert centre.value("SELECT count(*) FROM stream_event WHERE kind = 'ticket.changed'") == 3


def test_the_summary_on_the_command_line_is_one_line_and_fails_when_a_promise_is_broken(
    centre: Centre, database_url: str
) -> None:
    def summary() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "common.runtime.cli", "cloud", "summary", "--json"],
            cwd=REPOSITORY,
            env={**os.environ, "DRUMTOWER_DATABASE_URL": database_url},
            capture_output=True,
            text=True,
            check=False,
        )

    centre.open_one()
    sound = summary()
    assert sound.returncode == 0
    assert json.loads(sound.stdout)["tickets"]["dispatched"] == 1
    with centre.database.transaction() as tx:
        tx.run("DELETE FROM ticket_incident")
    broken = summary()
    assert broken.returncode == 1
    assert json.loads(broken.stdout)["checks"]["incidents_without_exactly_one_ticket"] == 1


def test_a_part_that_meets_a_bug_ends_the_process_and_says_so(centre: Centre, database_url: str) -> None:
    with process(database_url, "--port", "0") as running:
        first_line(running, "listening on ")
        with centre.database.transaction() as tx:
            tx.run("ALTER TABLE inbox_attempt RENAME TO mislaid")
        said, _ = running.communicate(timeout=100)
    assert running.returncode == 1
    assert "cloud.part_failed" in said
    assert "UndefinedTable" in said


def test_a_taken_port_is_one_clear_line(centre: Centre, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process(database_url, "--port", str(port)) as running:
            said, _ = running.communicate(timeout=100)
    assert running.returncode == 1
    assert f"127.0.0.1:{port} is taken" in said
    assert "Traceback" not in said


def test_a_database_without_the_schema_says_what_to_run(postgres_server: PostgresServer) -> None:
    name = f"bare_{uuid.uuid4().hex[:8]}"
    url = postgres_server.create_database(name)
    try:
        with process(url, "--port", "0") as running:
            said, _ = running.communicate(timeout=100)
        assert running.returncode == 2
        assert "drumtower schema migrate" in said
    finally:
        postgres_server.drop_database(name)


def test_a_centre_outlives_its_database(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        url = server.create_database("centre")
        migrate(url)
        with Database(url, size=4) as database:
            centre = Centre(database)
            centre.build()
            gauge, second = centre.device("gauge-1"), centre.device("gauge-2", lat=LAT + 0.01)
        with process(url, "--port", "0") as running:
            address = first_line(running, "listening on ").split()[2].rstrip(";")
            await_true(lambda: _answers(address))
            server.kill()
            away = httpx.get(f"{address}/healthz", timeout=60)
            assert away.status_code == 503
            assert away.headers["content-type"] == "application/problem+json"
            server.start()
            with Database(url, size=4) as database:
                after = Centre(database)
                after.put(gauge)
                after.put(second)
                await_true(lambda: after.value("SELECT count(*) FROM ticket") == 2)
                await_true(lambda: httpx.get(f"{address}/healthz", timeout=60).status_code == 200)
                assert_sound(after, 2)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False
