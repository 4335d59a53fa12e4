"""What is killed mid-run costs nothing: packets numbered by boxes = packets committed, each once."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from common.runtime.stop import Stop
from common.wire.codec import encode_packet
from common.wire.topics import Address
from gateway.decode import Decoded, Decoder, RawMessage
from gateway.fleet import repo as fleet
from gateway.lease import LeaseKeeper, LeaseLostError, application_name
from gateway.metrics_catalogue import catalogue
from gateway.store import Store
from tests.fixtures.gateway_district import District, opened_district
from tests.integration.gateway_rig import SETTINGS, eventually, now_ms, readings, register, rows

pytestmark = pytest.mark.services


@pytest.fixture(params=["paho", "frames"])
def settings(request: pytest.FixtureRequest) -> str:
    """Settings with either intake: what is promised of a gateway is promised of both."""
    return f"{SETTINGS}intake: {{client: {request.param}}}\n"


@pytest.fixture
def district(tmp_path: Path) -> Iterator[District]:
    """A small district, whose gateways know its boxes from their start."""
    with opened_district(tmp_path) as made:
        made.register_boxes()
        yield made


def test_a_second_gateway_takes_over_from_a_killed_one_without_loss_or_doubles(
    district: District, settings: str
) -> None:
    first = district.gateway("first", settings).await_connected()
    second = district.gateway("second", settings)
    eventually(lambda: "waiting for the lease" in second.log)
    district.start_boxes()
    eventually(lambda: rows(district.url, "SELECT count(*) > 200 FROM reading") == [(True,)])
    first.kill()
    second.await_connected()
    district.finish()
    # More than two where this machine stood still for a while and the lease changed hands.
    assert rows(district.url, "SELECT fencing >= 2 FROM partition_lease") == [(True,)]


def test_a_clean_stop_hands_the_partition_over_at_once(district: District, settings: str) -> None:
    lasting = settings.replace("ttl_s: 2", "ttl_s: 300")  # it is given back: it cannot have expired
    first = district.gateway("first", lasting).await_connected()
    second = district.gateway("second", lasting)
    eventually(lambda: "waiting for the lease" in second.log)
    district.start_boxes()
    eventually(lambda: rows(district.url, "SELECT count(*) > 200 FROM reading") == [(True,)])
    assert first.stop() == 0
    eventually(lambda: "lease taken" in second.log)
    district.finish()
    assert second.stop() == 0


def test_a_stop_does_not_wait_for_a_table_that_somebody_has_locked(district: District, settings: str) -> None:
    lasting = settings.replace("ttl_s: 2", "ttl_s: 300")
    first = district.gateway("first", lasting).await_connected()
    second = district.gateway("second", lasting)
    eventually(lambda: "waiting for the lease" in second.log)
    district.start_boxes()
    with psycopg.connect(district.url) as somebody:
        somebody.execute("LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
        eventually(
            lambda: (
                rows(
                    district.url,
                    "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND application_name LIKE 'drumtower/%%' AND datname = current_database()",
                )
                == [(True,)]
            )
        )
        assert first.stop() == 0
        eventually(lambda: "lease taken" in second.log)
    district.finish()


def test_a_killed_database_costs_nothing(district: District, settings: str) -> None:
    gateway = district.gateway("only", settings).await_connected()
    district.start_boxes()
    eventually(lambda: rows(district.url, "SELECT count(*) > 200 FROM reading") == [(True,)])
    district.postgres.kill()
    threading.Event().wait(1.5)
    district.postgres.start()
    district.finish()
    assert "trying again" in gateway.log


def test_a_killed_broker_without_its_memory_costs_nothing(district: District, settings: str) -> None:
    district.gateway("only", settings).await_connected()
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


def test_a_lease_from_before_the_databases_clock_was_set_back_does_not_outlive_its_holder(
    database_url: str,
) -> None:
    gone = LeaseKeeper(database_url, "default", "gone", ttl_s=300).try_acquire()
    assert gone is not None
    gone._ended.set()
    keeper = LeaseKeeper(database_url, "default", "next")
    assert keeper.try_acquire() is None
    rows(database_url, "UPDATE partition_lease SET expires_at = clock_timestamp() + interval '1 hour'")
    taken = keeper.try_acquire()
    assert taken is not None
    assert taken.fencing == gone.fencing + 1
    taken.release()


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


def test_a_database_that_falls_silent_is_noticed_within_half_a_minute(database_url: str) -> None:
    """Its machine lost power, or a firewall forgot the connection: neither says so."""
    with (
        fleet.connect(database_url, "test") as connection,
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        every = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        times = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
        unheard_ms = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert idle + every * times <= 30
    assert 0 < unheard_ms <= 30_000


def test_the_server_is_told_to_notice_a_gateway_that_falls_silent(database_url: str) -> None:
    """Until it does, whatever a gateway that lost its power had locked stays locked: by default for two hours."""
    theirs = f"{database_url}?options=-c%20search_path%3Dpublic%20-c%20tcp_keepalives_idle%3D999"
    wanted = {
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "25000",
        "client_connection_check_interval": "10s",
        "search_path": "public",
    }
    with fleet.connect(theirs, "test") as connection:
        said = {name: connection.execute("SELECT current_setting(%s)", [name]).fetchone() for name in wanted}
    assert said == {name: (value,) for name, value in wanted.items()}


def test_a_batch_of_a_gateway_that_hangs_does_not_lock_others_out_for_ever(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the midst of a transaction and asks nothing more: the server ends it, and the batch comes again."""
    monkeypatch.setattr("gateway.store._HUNG_S", 1)
    register(database_url, "kiln", "box-0")
    lease = LeaseKeeper(database_url, "default", "hangs", ttl_s=300).try_acquire()
    assert lease is not None
    hung = _store(database_url, lease.fencing)
    held = _packet(1, 1.0)
    connection, _ = hung._ready([held])
    with suppress(psycopg.Error), connection.transaction():
        connection.execute("SELECT 1 FROM store FOR UPDATE")
        assert rows(database_url, "SELECT 1 FROM store FOR UPDATE") == [(1,)], "or it waits here"
    assert hung.commit([held]).packets == 1, "the same store goes on with a connection of its own"
    hung.close()
    lease.release()
