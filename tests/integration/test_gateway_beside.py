"""What runs beside the intake and meets a bug ends the gateway, whether it takes messages in or stands by."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from gateway.lease import LeaseKeeper
from local.broker import Broker
from tests.conftest import Credential
from tests.integration.gateway_rig import PATIENCE, GatewayProcess, eventually, gateway_process, rows

pytestmark = pytest.mark.services


def break_the_sweep(gateway: GatewayProcess) -> int:
    """Take away what only the silence sweep asks for; the gateway's exit code."""
    rows(gateway.database_url, "ALTER TABLE device_presence RENAME silence_revision TO mislaid")
    assert gateway.process is not None
    return gateway.process.wait(PATIENCE)


def test_a_standby_whose_sweep_meets_a_bug_ends_and_says_so(
    broker: Broker, gateway_credential: Credential, database_url: str, tmp_path: Path
) -> None:
    holder = LeaseKeeper(database_url, "default", "holder").try_acquire()
    assert holder is not None
    name, password = gateway_credential.username, gateway_credential.password
    try:
        with gateway_process(tmp_path, database_url, broker, name, password) as standby:
            eventually(lambda: "waiting for the lease" in standby.log)
            assert break_the_sweep(standby) == 1
            assert "gateway.part_failed: the silence sweep failed: UndefinedColumn" in standby.log
            assert "lease taken" not in standby.log
    finally:
        holder.release()


def test_a_gateway_whose_sweep_meets_a_bug_gives_its_lease_back_and_says_so(
    broker: Broker, gateway_credential: Credential, database_url: str, tmp_path: Path
) -> None:
    name, password = gateway_credential.username, gateway_credential.password
    with gateway_process(tmp_path, database_url, broker, name, password) as gateway:
        gateway.await_connected()
        assert break_the_sweep(gateway) == 1
        assert "gateway.part_failed: the silence sweep failed: UndefinedColumn" in gateway.log
    assert rows(database_url, "SELECT holder FROM partition_lease") == [(None,)]


@pytest.mark.parametrize(
    ("table", "waits"),
    [("device_presence", "drumtower silence"), ("rollup_dirty", "drumtower keeping")],
)
def test_a_gateway_is_stopped_although_a_part_of_it_waits_for_a_locked_table(  # noqa: PLR0917 - fixtures
    broker: Broker,
    gateway_credential: Credential,
    database_url: str,
    tmp_path: Path,
    table: str,
    waits: str,
) -> None:
    waiting = (
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        f" AND application_name LIKE '{waits}' AND datname = current_database()"
    )
    name, password = gateway_credential.username, gateway_credential.password
    with psycopg.connect(database_url) as somebody:
        somebody.execute(psycopg.sql.SQL("LOCK TABLE {}").format(psycopg.sql.Identifier(table)))
        with gateway_process(tmp_path, database_url, broker, name, password) as gateway:
            eventually(lambda: rows(database_url, waiting) == [(True,)])
            assert gateway.stop() == 0
