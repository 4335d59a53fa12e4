"""What is killed mid-run costs nothing: packets numbered by boxes = packets committed, each once."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from common.runtime.stop import Stop
from common.schema.runner import migrate
from common.wire.codec import encode_packet
from common.wire.topics import Address
from gateway.decode import Decoded, Decoder, RawMessage
from gateway.lease import LeaseKeeper, LeaseLostError, application_name
from gateway.metrics_catalogue import catalogue
from gateway.store import Store
from local.broker import Broker
from local.postgres import PostgresServer
from tests.integration.gateway_rig import (
    SETTINGS,
    Box,
    GatewayProcess,
    add_box,
    eventually,
    gateway_process,
    now_ms,
    readings,
    register,
    rows,
)

pytestmark = pytest.mark.services
BOXES = 3


class District:
    """Services of this test alone, boxes that keep sending, and gateways."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stack = ExitStack()
        self.postgres = self.stack.enter_context(PostgresServer(directory / "postgres"))
        self.url = self.postgres.create_database("district")
        migrate(self.url)
        self.broker = self.stack.enter_context(Broker(directory / "broker"))
        self.password = secrets.token_urlsafe(16)
        self.broker.add_gateway("gateway", self.password)
        self.broker.reload()
        self.boxes: list[Box] = []
        self._sending = threading.Event()
        self._threads: list[threading.Thread] = []

    def gateway(self, name: str, settings: str = SETTINGS) -> GatewayProcess:
        """One more gateway of the one partition."""
        return self.stack.enter_context(
            gateway_process(
                self.directory / name, self.url, self.broker, "gateway", self.password, settings=settings
            )
        )

    def start_boxes(self) -> None:
        """Boxes that send a packet of five readings every few milliseconds."""
        names = [f"box-{number}" for number in range(BOXES)]
        register(self.url, "kiln", *names)
        self.boxes = [add_box(self.broker, "kiln", name) for name in names]
        self._sending.set()
        for box in self.boxes:
            thread = threading.Thread(target=self._send, args=(box,))
            thread.start()
            self._threads.append(thread)

    def finish(self) -> None:
        """Stop sending, wait until everything is receipted, and check that all is there once."""
        eventually(lambda: sum(box.numbered for box in self.boxes) > 200)
        self._sending.clear()
        for thread in self._threads:
            thread.join()
        for box in self.boxes:
            box.settle()
        numbered = sum(box.numbered for box in self.boxes)
        assert rows(self.url, "SELECT sum(committed)::int, sum(missing)::int FROM device_packets") == [
            (numbered, 0)
        ]
        assert rows(self.url, "SELECT count(*)::int FROM reading") == [(numbered * 5,)]
        # Each packet's readings hold its own number: a doubled one could not hide behind a lost one.
        doubled = "SELECT series_id, value FROM reading GROUP BY 1, 2 HAVING count(*) <> 5"
        assert rows(self.url, doubled) == []

    def close(self) -> None:
        """Leave nothing running."""
        self._sending.clear()
        for thread in self._threads:
            thread.join()
        for box in self.boxes:
            box.close()
        self.stack.close()

    def _send(self, box: Box) -> None:
        while self._sending.is_set():
            box.send(readings(*[float(box.numbered)] * 5))
            threading.Event().wait(0.01)


@pytest.fixture
def district(tmp_path: Path) -> Iterator[District]:
    """A small district."""
    made = District(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_second_gateway_takes_over_from_a_killed_one_without_loss_or_doubles(district: District) -> None:
    first = district.gateway("first").await_connected()
    second = district.gateway("second")
    eventually(lambda: "waiting for the lease" in second.log)
    district.start_boxes()
    eventually(lambda: rows(district.url, "SELECT count(*) > 200 FROM reading") == [(True,)])
    first.kill()
    second.await_connected()
    district.finish()
    # More than two where this machine stood still for a while and the lease changed hands.
    assert rows(district.url, "SELECT fencing >= 2 FROM partition_lease") == [(True,)]


def test_a_clean_stop_hands_the_partition_over_at_once(district: District) -> None:
    lasting = SETTINGS.replace("ttl_s: 2", "ttl_s: 300")  # it is given back: it cannot have expired
    first = district.gateway("first", lasting).await_connected()
    second = district.gateway("second", lasting)
    eventually(lambda: "waiting for the lease" in second.log)
    district.start_boxes()
    eventually(lambda: rows(district.url, "SELECT count(*) > 200 FROM reading") == [(True,)])
    assert first.stop() == 0
    eventually(lambda: "lease taken" in second.log)
    district.finish()
    assert second.stop() == 0


def test_a_killed_database_costs_nothing(district: District) -> None:
    gateway = district.gateway("only").await_connected()
    district.start_boxes()
    eventually(lambda: rows(district.url, "SELECT count(*) > 200 FROM reading") == [(True,)])
    district.postgres.kill()
    threading.Event().wait(1.5)
    district.postgres.start()
    district.finish()
    assert "trying again" in gateway.log


def test_a_killed_broker_without_its_memory_costs_nothing(district: District) -> None:
    district.gateway("only").await_connected()
    district.start_boxes()
    eventually(lambda: rows(district.url, "SELECT count(*) > 200 FROM reading") == [(True,)])
    district.broker.kill(delete_persistence=True)
    threading.Event().wait(1.0)
    district.broker.start()
    district.finish()


def _packet(seq: int, value: float) -> Decoded:
    address = Address("kiln", "box-0")
    payload = encode_packet(address, 9, seq, now_ms(), readings(value))
    return Decoder().decode(RawMessage(address.up("readings"), payload, False, now_ms(), len(payload)))


def _store(url: str, fencing: int, **more: Any) -> Store:
    return Store(url, "default", fencing, metrics=catalogue(), stop=Stop(), **more)


def test_a_holder_that_wakes_up_after_a_takeover_commits_nothing(database_url: str) -> None:
    register(database_url, "kiln", "box-0")
    old = LeaseKeeper(database_url, "default", "old", ttl_s=0.5).try_acquire()
    assert old is not None
    asleep = _store(database_url, old.fencing)
    assert asleep.commit([_packet(1, 1.0)]).packets == 1
    old._ended.set()  # it stops renewing, as a paused process would
    new = eventually(LeaseKeeper(database_url, "default", "new", ttl_s=5).try_acquire)
    assert new.fencing == old.fencing + 1
    with pytest.raises(LeaseLostError):
        asleep.commit([_packet(2, 2.0)])
    awake = _store(database_url, new.fencing)
    assert awake.commit([_packet(2, 2.0)]).packets == 1
    assert rows(database_url, "SELECT value FROM reading ORDER BY 1") == [(1.0,), (2.0,)]
    new.release()
    asleep.close()
    awake.close()


def test_a_takeover_ends_a_batch_whose_holder_hangs_inside_it(database_url: str) -> None:
    old = LeaseKeeper(database_url, "default", "old", ttl_s=0.5).try_acquire()
    assert old is not None
    name = application_name("default", old.fencing)
    with psycopg.connect(database_url, application_name=name) as hanging:
        hanging.execute(
            "SELECT 1 FROM partition_lease WHERE partition = 'default' FOR KEY SHARE"
        )  # and nothing more: its process is stopped
        old._ended.set()
        new = eventually(LeaseKeeper(database_url, "default", "new", ttl_s=5).try_acquire)
        with pytest.raises(psycopg.OperationalError):
            hanging.execute("SELECT 1")
    new.release()


def test_a_takeover_waits_for_a_batch_in_flight(database_url: str) -> None:
    lease = LeaseKeeper(database_url, "default", "old", ttl_s=0.5).try_acquire()
    assert lease is not None
    with psycopg.connect(database_url) as batch:  # under another name, so that nobody ends it
        batch.execute("SELECT 1 FROM partition_lease WHERE partition = 'default' FOR KEY SHARE")
        lease._ended.set()
        threading.Event().wait(0.7)
        assert LeaseKeeper(database_url, "default", "new").try_acquire() is None
        batch.commit()
    new = eventually(LeaseKeeper(database_url, "default", "new").try_acquire)
    new.release()


def test_renewing_does_not_wait_for_a_batch(database_url: str) -> None:
    lease = LeaseKeeper(database_url, "default", "busy", ttl_s=10).try_acquire()
    assert lease is not None
    expires = "SELECT expires_at > %s FROM partition_lease"
    ((first_end,),) = rows(database_url, "SELECT expires_at FROM partition_lease")
    with psycopg.connect(database_url) as batch:
        batch.execute("SELECT 1 FROM partition_lease WHERE partition = 'default' FOR KEY SHARE")
        eventually(lambda: rows(database_url, expires, first_end) == [(True,)])
        assert lease.is_fresh()
        assert LeaseKeeper(database_url, "default", "other").try_acquire() is None
    lease.release()
    taken = LeaseKeeper(database_url, "default", "other").try_acquire()
    assert taken is not None, "a released lease is free at once"
    taken.release()


def test_only_one_of_many_gets_a_free_lease(database_url: str) -> None:
    found: list[Any] = []
    start = threading.Barrier(8)

    def grab(number: int) -> None:
        start.wait()
        found.append(LeaseKeeper(database_url, "default", f"g{number}").try_acquire())

    threads = [threading.Thread(target=grab, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [lease for lease in found if lease is not None]
    assert len(winners) == 1
    winners[0].release()
