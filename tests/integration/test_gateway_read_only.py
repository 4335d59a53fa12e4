"""A database that takes no writes for a while (a standby, or made read-only on a full disk): said, and waited for."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg import sql

from cloud.db import Database
from common.runtime.errors import TransientError
from common.runtime.stop import Stop
from gateway.fleet.repo import connect, transaction
from gateway.lease import Lease, LeaseKeeper
from gateway.metrics_catalogue import catalogue
from gateway.rulebook.versions import follow_file
from tests.fixtures.gateway_store import opened_stores, packet
from tests.integration.gateway_rig import eventually, readings, rows

pytestmark = pytest.mark.services


def take_writes(url: str, *, yes: bool) -> None:
    """Have the database take writes or refuse them, and everybody connect anew."""
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        name = sql.Identifier(connection.info.dbname)
        wanted = sql.SQL("off" if yes else "on")
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(name, wanted)
        )
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


def test_a_batch_waits_until_the_database_takes_writes_again(database_url: str) -> None:
    said: list[str] = []

    def trouble(kind: str) -> None:
        said.append(kind)
        if kind == "database_read_only":
            take_writes(database_url, yes=True)

    with opened_stores(database_url) as stores:
        store = stores(on_trouble=trouble)
        assert store.commit([packet(1, readings(1.0))]).packets == 1
        take_writes(database_url, yes=False)
        assert store.commit([packet(2, readings(2.0))]).packets == 1
    assert "database_read_only" in said
    assert said[-1] == ""
    assert rows(database_url, "SELECT value FROM reading ORDER BY 1") == [(1.0,), (2.0,)]


def test_a_lease_is_renewed_again_when_the_database_takes_writes_again(database_url: str) -> None:
    lease = LeaseKeeper(database_url, "default", "test", ttl_s=1).try_acquire()
    assert lease is not None
    take_writes(database_url, yes=False)
    eventually(lambda: not lease.is_fresh())
    take_writes(database_url, yes=True)
    eventually(lease.is_fresh)
    lease.release()
    assert not lease.is_lost()


def test_a_gateway_that_starts_meanwhile_waits_for_its_lease(database_url: str) -> None:
    take_writes(database_url, yes=False)
    held: list[Lease | None] = []
    keeper = LeaseKeeper(database_url, "default", "test")
    waiting = threading.Thread(target=lambda: held.append(keeper.acquire(Stop())))
    waiting.start()
    waiting.join(1.0)
    assert waiting.is_alive()
    take_writes(database_url, yes=True)
    waiting.join(30)
    (lease,) = held
    assert lease is not None
    lease.release()


def test_a_gateway_that_stands_by_says_what_it_waits_for_and_when_that_is_over(database_url: str) -> None:
    said: list[str] = []
    holder = LeaseKeeper(database_url, "default", "holder", ttl_s=300).try_acquire()
    assert holder is not None
    stop = Stop()
    standby = LeaseKeeper(database_url, "default", "standby", on_trouble=said.append)
    waiting = threading.Thread(target=standby.acquire, args=(stop,))
    take_writes(database_url, yes=False)
    waiting.start()
    try:
        eventually(lambda: "database_read_only" in said)
        take_writes(database_url, yes=True)
        eventually(lambda: said[-1] == "")
    finally:
        stop.set("the test is over")
        waiting.join()
        holder.release()


def test_who_looks_after_the_fleet_is_told_what_the_matter_is(database_url: str) -> None:
    take_writes(database_url, yes=False)
    with (
        connect(database_url, "test") as connection,
        pytest.raises(TransientError) as told,
        transaction(connection),
    ):
        connection.execute("UPDATE device SET released_at = now()")
    assert told.value.code == "gateway.database_read_only"


def test_rules_that_cannot_be_read_now_are_asked_for_again_later(database_url: str) -> None:
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE rule_set IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TransientError) as told:
            follow_file(f"{database_url}?options=-c%20lock_timeout%3D100", "rules: []\n", catalogue())
    assert told.value.code == "gateway.database_busy"


def test_the_ticket_centre_waits_as_well_and_takes_no_observation_for_refused(database_url: str) -> None:
    take_writes(database_url, yes=False)
    with (
        Database(database_url, size=1) as database,
        pytest.raises(TransientError),
        database.transaction() as transaction,
        transaction.savepoint(),
    ):
        transaction.run("UPDATE device SET released_at = now()")
