"""Full disks: the gateway says so, acknowledges nothing it could not commit, and goes on by itself."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from common.schema.runner import migrate
from gateway.trouble import AWAY, TROUBLES, trouble_of
from local.broker import Broker, saving_fault
from local.ports import free_port
from local.postgres import PostgresServer
from tests.conftest import Credential
from tests.integration.gateway_rig import (
    SETTINGS,
    Box,
    add_box,
    eventually,
    eventually_or_not,
    gateway_process,
    readings,
    register,
    rows,
)

pytestmark = pytest.mark.services
_DISK_MB = 320


class Disk(Protocol):
    """A database's disk that a test can fill."""

    url: str

    def fill(self) -> None:
        """Leave no room."""
        ...

    def free(self) -> None:
        """Give the room back."""
        ...


class SmallDisk:
    """A file system of its own, with a server on it, filled by a large file beside the cluster."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = PostgresServer(directory / "postgres")
        self.server.start()
        self.url = self.server.create_database("small")
        self._ballast = directory / "ballast"

    def fill(self) -> None:
        """Take what is left, to the last block."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        """Remove the large file."""
        self._ballast.unlink()
        self.server.start()  # it gives up when not even its log can be written; else this does nothing


class RefusingServer:
    """The shared server, told to answer as it does when its disk is full."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fill(self) -> None:
        """Every reading meets PostgreSQL's own error."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
            )
            connection.execute(
                "CREATE TRIGGER is_full BEFORE INSERT ON reading FOR EACH ROW EXECUTE FUNCTION disk_is_full()"
            )

    def free(self) -> None:
        """As before."""
        rows(self.url, "DROP FUNCTION disk_is_full CASCADE")


@pytest.fixture(params=["disk", "answer"])
def disk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Disk]:
    """A real small disk where this account may mount one, and PostgreSQL's answer to a full one anywhere."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m,mode=755", "tmpfs", str(place)]
    may_mount = os.geteuid() == 0 and shutil.which("mount") is not None
    if (
        request.param == "answer"
        or not may_mount
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        yield RefusingServer(database_url)
        return
    try:
        made = SmallDisk(place)
        migrate(made.url)
        yield made
    finally:
        made.server.stop()
        subprocess.run(["umount", str(place)], check=True)


def metric(port: int, name: str) -> float:
    """What the gateway tells Prometheus."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name)))


def send_on(box: Box, enough: threading.Event) -> threading.Thread:
    """Let a box send packets of many readings."""

    def send() -> None:
        while not enough.wait(0.02):
            box.send(readings(*[float(box.numbered)] * 500))

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.timeout(300)
def test_a_full_database_disk_is_said_and_costs_nothing_but_time(
    disk: Disk, broker: Broker, gateway_credential: Credential, tmp_path: Path
) -> None:
    register(disk.url, "kiln", name := f"box-{secrets.token_hex(4)}")
    port = free_port()
    box = add_box(broker, "kiln", name)
    enough = threading.Event()
    thread: threading.Thread | None = None
    try:
        with gateway_process(
            tmp_path / "gateway",
            disk.url,
            broker,
            gateway_credential.username,
            gateway_credential.password,
            settings=SETTINGS + "keep: {refresh_s: 0.5, sweep_s: 1}\n",
            options=("--metrics-port", str(port)),
        ) as gateway:
            gateway.await_connected()
            thread = send_on(box, enough)
            eventually(lambda: box.receipts)
            assert metric(port, 'drumtower_gateway_database_trouble{kind="database_full"}') == 0
            disk.fill()
            eventually(lambda: "the database's disk is full" in gateway.log, 90)
            eventually(
                lambda: metric(port, 'drumtower_gateway_database_trouble{kind="database_full"}') == 1, 60
            )
            assert "free space on the database's machine" in gateway.log
            enough.set()
            thread.join()
            held = box.unreceipted()
            assert not eventually_or_not(lambda: box.unreceipted() == 0, 2.0), (
                "what is not committed has no receipt"
            )
            assert held > 0
            disk.free()
            box.settle(120)
            eventually(lambda: metric(port, 'drumtower_gateway_database_trouble{kind="database_full"}') == 0)
            assert "the database takes batches again" in gateway.log
            assert gateway.process is not None
            assert gateway.process.poll() is None, "the same process all the time"
            assert gateway.stop() == 0
    finally:
        enough.set()
        if thread is not None:
            thread.join()
        box.close()
        broker.remove_client(f"kiln/{name}")
    assert rows(disk.url, "SELECT committed::int, missing::int FROM device_packets") == [(box.numbered, 0)]
    assert rows(disk.url, "SELECT count(*)::int FROM reading") == [(box.numbered * 500,)]
    assert rows(disk.url, "SELECT value FROM reading GROUP BY 1 HAVING count(*) <> 500") == []


@pytest.mark.timeout(300)
def test_a_broker_that_cannot_save_goes_on_from_memory_and_what_a_kill_then_takes_is_sent_again(
    database_url: str, tmp_path: Path
) -> None:
    with Broker(tmp_path / "broker") as broker:
        broker.add_gateway("gateway", password := secrets.token_urlsafe(16))
        broker.reload()
        # Where it writes what it saves: no file can be made there, whatever room the disk has.
        saved = tmp_path / "broker" / "run" / "mosquitto.db.new"
        saved.mkdir()
        register(database_url, "kiln", "box-0")
        box = add_box(broker, "kiln", "box-0")
        try:
            with gateway_process(tmp_path / "gateway", database_url, broker, "gateway", password) as gateway:
                gateway.await_connected()
                gateway.kill()
                for number in range(20):
                    box.send(readings(*[float(number)] * 500))
                eventually(broker.saving_fault, 60)
                gateway.start()
                box.send(readings(20.0))
                box.settle(60)
                gateway.kill()
                for number in range(21, 40):
                    box.send(readings(float(number)))
                broker.kill()
                saved.rmdir()
                broker.start()
                gateway.start()
                box.settle(120)
        finally:
            box.close()
    counts = rows(database_url, "SELECT value::int, count(*)::int FROM reading GROUP BY 1 ORDER BY 1")
    assert counts == [(number, 500 if number < 20 else 1) for number in range(40)]
    assert rows(database_url, "SELECT committed::int, missing::int FROM device_packets") == [(40, 0)]


def test_only_the_last_saving_counts() -> None:
    failed = (
        "1: Saving in-memory database to x.\n1: Error: No space left on device.\n1: New client connected\n"
    )
    assert saving_fault(failed) == "No space left on device."
    assert saving_fault(failed + "2: Saving in-memory database to x.\n2: Client y disconnected.\n") == ""
    assert saving_fault("1: Error: something else\n") == ""
    unopened = (
        "1: Saving in-memory database to x.\n1: Error saving in-memory database, unable to open x.new.\n"
    )
    assert saving_fault(unopened) == "saving in-memory database, unable to open x.new."


def test_every_trouble_says_what_to_do() -> None:
    assert trouble_of("53100").kind == "database_full"
    assert trouble_of(None) is trouble_of("08006") is AWAY
    assert len({trouble.kind for trouble in TROUBLES}) == len(TROUBLES)
    assert all(trouble.said and trouble.hint for trouble in TROUBLES)
