"""When gateway or ticket centre falls silent the other one notices, says so, and notices when it is back."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cloud.console.service import ConsoleService, Fleet
from cloud.db import Database
from cloud.watch import repo as cloud_watch
from cloud.watch.domain import WatchSettings as CloudWatchSettings
from cloud.watch.service import Watch as CloudWatch
from cloud.watch.service import WatchMetrics
from common.runtime.clock import ManualClock, SystemClock
from common.runtime.stop import Stop
from common.runtime.watchdog import Watchdog
from gateway.config import WatchSettings
from gateway.metrics import GatewayMetrics
from gateway.watch.repo import Outlook
from gateway.watch.worker import Watch, cloud_silent_s
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.centre import Centre
from tests.integration.gateway_rig import SETTINGS, add_box, eventually, gateway_process, register, rows
from tests.integration.test_cloud_process import process

pytestmark = pytest.mark.services


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=8) as database:
        built = Centre(database)
        built.build()
        yield built


def metric(registry: CollectorRegistry, name: str, **labels: str) -> float:
    value = registry.get_sample_value(name, labels)
    assert value is not None, name
    return value


def said(capfd: pytest.CaptureFixture[str]) -> str:
    """What was logged since it was last asked for."""
    read = capfd.readouterr()
    return read.out + read.err


def working(url: str, age_s: float, *, held: bool = True, listening: bool = True) -> None:
    """A lease as a gateway leaves it that last worked so long ago."""
    rows(
        url,
        "INSERT INTO partition_lease (partition, holder, expires_at, listening_since, working_at)"
        " VALUES ('default', 'there:1', clock_timestamp() + %s * interval '1 hour',"
        " CASE WHEN %s THEN clock_timestamp() END, clock_timestamp() - make_interval(secs => %s))"
        " ON CONFLICT (partition) DO UPDATE SET expires_at = excluded.expires_at,"
        " listening_since = excluded.listening_since, working_at = excluded.working_at",
        1 if held else -1,
        listening,
        age_s,
    )


class Looker:
    """The centre's watch with a clock that says for how long it has looked."""

    def __init__(self, centre: Centre) -> None:
        self.registry = CollectorRegistry()
        self.clock = ManualClock()
        settings = CloudWatchSettings(gateway_silent_s=60)
        self.watch = CloudWatch(centre.database, settings, WatchMetrics(self.registry), self.clock)
        self.centre = centre

    def look(self) -> int:
        told = self.watch.look()
        self.centre.clock.jump(time.time() - self.centre.clock.now_ms() / 1000)
        self.centre.worker.drain()
        return told


def test_a_silent_gateway_is_one_ticket_that_ends_when_it_is_back(centre: Centre, database_url: str) -> None:
    centre.device("lamp-1")
    looker = Looker(centre)
    looker.clock.advance(3600)
    working(database_url, 10)
    assert looker.look() == 0
    working(database_url, 61, held=False)
    assert looker.look() == 1
    assert looker.look() == 0, "it is told once"
    (ticket,) = centre.rows("SELECT category, severity, channel, state FROM ticket")
    assert (ticket["category"], ticket["severity"], ticket["channel"]) == (
        "device.gateway_silent",
        4,
        "device",
    )
    detail = centre.value("SELECT detail FROM incident_observation")
    assert (detail["partition"], detail["why"]) == ("default", "nobody holds the lease")
    assert 60 < metric(looker.registry, "drumtower_cloud_gateway_silent_seconds", partition="default") < 120
    working(database_url, 0)
    assert looker.look() == 1
    assert looker.look() == 0
    assert centre.value("SELECT count(*) FROM incident WHERE ended_at IS NULL") == 0
    assert centre.value("SELECT count(*) FROM ticket") == 1
    # Soon silent again: the same matter, the same ticket.
    working(database_url, 61, listening=False)
    rows(database_url, "UPDATE gateway_silence SET silent_since = silent_since - interval '10 minutes'")
    assert looker.look() == 1
    assert centre.value("SELECT count(*) FROM ticket") == 1
    why = "SELECT detail ->> 'why' FROM incident_observation ORDER BY started_at DESC LIMIT 1"
    assert centre.value(why) == "it does not hear the broker"


def test_a_centre_that_just_started_waits_before_it_calls_a_gateway_silent(
    centre: Centre, database_url: str
) -> None:
    centre.device("lamp-1")
    working(database_url, 8 * 3600, held=False)
    looker = Looker(centre)
    assert looker.look() == 0, "the machine may just have been switched on"
    looker.clock.advance(61)
    assert looker.look() == 1


def test_a_partition_without_boxes_or_that_never_had_a_gateway_is_not_silent(
    centre: Centre, database_url: str
) -> None:
    looker = Looker(centre)
    looker.clock.advance(3600)
    working(database_url, 3600, held=False)
    assert looker.look() == 0, "nobody's boxes go unheard"
    centre.device("lamp-1")
    rows(database_url, "UPDATE partition_lease SET working_at = NULL")
    assert looker.look() == 0


def test_of_two_that_look_one_tells(centre: Centre, database_url: str) -> None:
    centre.device("lamp-1")
    working(database_url, 100, held=False)
    looker = Looker(centre)
    looker.clock.advance(3600)
    with centre.database.transaction() as other:
        assert cloud_watch.lock(other)
        assert looker.look() == 0
    assert looker.look() == 1


def test_workers_say_that_they_work_and_a_gateway_notices_when_none_does(
    centre: Centre, database_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    metrics = GatewayMetrics()
    watch = Watch(
        database_url, WatchSettings(cloud_silent_s=60), metrics, SystemClock(), {"evidence": tmp_path}
    )
    silent = "drumtower_gateway_cloud_silent_seconds"
    watch.look()
    assert metric(metrics.registry, silent) == 0, "a store without a centre has none that could be silent"
    assert metric(metrics.registry, "drumtower_gateway_disk_free_bytes", directory="evidence") > 0
    with process(database_url, "--role", "worker"):
        eventually(lambda: rows(database_url, "SELECT 1 FROM worker_heartbeat"))
    rows(database_url, "UPDATE worker_heartbeat SET at = at - interval '10 minutes'")
    watch.look()
    assert metric(metrics.registry, silent) > 590
    assert "the ticket centre is silent" in said(capfd)
    centre.put(centre.device("lamp-1"))
    with process(database_url, "--role", "worker"):
        eventually(
            lambda: rows(
                database_url, "SELECT 1 FROM worker_heartbeat WHERE at > now() - interval '1 minute'"
            )
        )
        eventually(lambda: not rows(database_url, "SELECT 1 FROM observation_inbox"))
    watch.look()
    assert metric(metrics.registry, silent) < 60
    assert "the ticket centre works again" in said(capfd)


def test_an_inbox_that_nobody_empties_is_silence_though_a_worker_speaks(
    database_url: str, centre: Centre
) -> None:
    assert cloud_silent_s(Outlook(1.0, 4, 75.0, {}, 0.0)) == 75.0
    assert cloud_silent_s(Outlook(None, 0, 0.0, {}, 0.0)) == 0.0
    centre.put(centre.device("lamp-1"))
    rows(database_url, "UPDATE observation_inbox SET queued_at = now() - interval '5 minutes'")
    metrics = GatewayMetrics()
    Watch(database_url, WatchSettings(), metrics, SystemClock(), {}).look()
    assert metric(metrics.registry, "drumtower_gateway_cloud_silent_seconds") > 290
    assert metric(metrics.registry, "drumtower_gateway_inbox_waiting") == 1


def test_the_page_says_who_is_silent(centre: Centre, database_url: str) -> None:
    centre.device("lamp-1")

    def fleet() -> Fleet:
        return ConsoleService(centre.database, SystemClock()).fleet()

    working(database_url, 5)
    with centre.database.transaction() as transaction:
        cloud_watch.beat(transaction, "here:1:1")
    assert (fleet().gateway_silent_s, fleet().worker_silent_s) == (None, None)
    working(database_url, 200, held=False)
    rows(database_url, "UPDATE worker_heartbeat SET at = at - interval '300 seconds'")
    told = fleet()
    assert told.gateway_silent_s is not None
    assert told.worker_silent_s is not None
    assert 200 <= told.gateway_silent_s < 260
    assert 300 <= told.worker_silent_s < 360


class Watcher:
    """A watcher outside: counts who asks for it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        watcher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                watcher.asked.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/ping/the-secret-part"


@contextmanager
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()


@pytest.mark.timeout(400)
def test_a_killed_gateway_is_told_by_the_centre_until_it_is_back(
    centre: Centre, broker: Broker, gateway_credential: Credential, database_url: str, tmp_path: Path
) -> None:
    register(database_url, "kiln", name := f"box-{secrets.token_hex(4)}")
    settings = tmp_path / "cloud.yaml"
    settings.write_text("watch: {every_s: 0.3, gateway_silent_s: 15}\n", encoding="utf-8")
    box = add_box(broker, "kiln", name)
    going_on = "SELECT 1 FROM incident WHERE category = 'device.gateway_silent' AND ended_at IS NULL"
    tickets = "SELECT count(*)::int FROM ticket WHERE category = 'device.gateway_silent'"
    try:
        with (
            watcher() as outside,
            process(database_url, "--role", "worker", "--config", str(settings)),
            gateway_process(
                tmp_path / "gateway",
                database_url,
                broker,
                gateway_credential.username,
                gateway_credential.password,
                settings=SETTINGS + "watch: {watchdog_every_s: 1}\n",
                extra={"DRUMTOWER_WATCHDOG_URL": outside.url},
            ) as gateway,
        ):
            gateway.await_connected()
            eventually(lambda: outside.asked)
            on = "SELECT 1 FROM partition_lease WHERE working_at > acquired_at + interval '3 seconds'"
            eventually(lambda: rows(database_url, on))
            assert rows(database_url, tickets) == [(0,)], "it works, though its boxes say nothing"
            gateway.kill()
            heard = len(outside.asked)
            eventually(lambda: rows(database_url, going_on))
            assert rows(database_url, tickets) == [(1,)]
            # What it sent as it was killed may be counted after that.
            assert len(outside.asked) <= heard + 1, "whoever is dead tells nobody that all is well"
            heard = len(outside.asked)
            gateway.start()
            eventually(lambda: not rows(database_url, going_on))
            eventually(lambda: len(outside.asked) > heard)
            assert rows(database_url, tickets) == [(1,)]
            assert "the-secret-part" not in gateway.log
            assert gateway.stop() == 0
    finally:
        box.close()
        broker.remove_client(f"kiln/{name}")


def test_a_heartbeat_goes_out_only_while_the_work_is_done() -> None:
    why = ""
    with watcher() as outside:
        dog = Watchdog(outside.url, 1, lambda: why)
        assert dog.beat()
        why = "the database is away"
        assert not dog.beat()
        assert len(outside.asked) == 1
        why = ""
        assert dog.beat()
        assert len(outside.asked) == 2


def test_a_watcher_that_does_not_answer_is_told_without_its_address(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    failed: list[int] = []
    dog = Watchdog(f"http://127.0.0.1:{port}/secret", 1, lambda: "", failed=lambda: failed.append(1))
    assert not dog.beat()
    assert failed == [1]
    told = said(capfd)
    assert "the watcher outside does not answer" in told
    assert "/secret" not in told


def test_a_watcher_that_answers_anything_but_http_ends_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            line, _ = server.accept()
            with line:
                line.recv(4096)
                line.sendall(b"220 another service altogether\r\n")

        other = threading.Thread(target=greet)
        other.start()
        assert not Watchdog(f"http://127.0.0.1:{server.getsockname()[1]}/", 1, lambda: "").beat()
        other.join()


def test_without_an_address_there_is_nothing_to_do() -> None:
    Watchdog(None, 1, lambda: "").run(Stop())
