"""A gateway whose machine's clock is wrong, or is set while it works: times, rules and silence go by the database's."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.chaos.clock import set_offset
from common.runtime.clock import SystemClock
from common.wire.codec import encode_status
from common.wire.messages import Status
from gateway.clock import StoreClock
from gateway.lease import LeaseKeeper
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.gateway_moved import CLOCK, CONFIG
from tests.fixtures.gateway_store import smoke
from tests.fixtures.moved_database import set_ahead
from tests.integration.gateway_rig import (
    SETTINGS,
    Box,
    GatewayProcess,
    add_box,
    eventually,
    now_ms,
    readings,
    register,
    rows,
)

pytestmark = pytest.mark.services
HOUR_S = 3600.0
#: Longer than a busy machine stalls; a clock an hour off would show within seconds all the same.
SILENT_AFTER_S = 30
_WATCHED_S = 8.0
#: Once its silence is what is waited for.
_SOON_S = 3


@dataclass
class MovedGateway:
    """A gateway whose machine's clock a test sets, and a box whose clock is right."""

    url: str
    gateway: GatewayProcess
    box: Box
    clock: Path
    found: list[str] = field(default_factory=list)

    def set(self, seconds: float) -> None:
        """Set the machine's clock so far ahead of the truth (negative: behind)."""
        set_offset(self.clock, seconds)

    def measure(self, value: float) -> None:
        """The box measures smoke, and what it measured is committed."""
        self.box.send(smoke(value, at=now_ms()))
        self.box.settle()

    def told(self, category: str) -> list[str]:
        """The phases that were told of a category."""
        query = (
            "SELECT phase FROM observation_inbox WHERE category = %s AND phase <> 'update' ORDER BY inbox_id"
        )
        return [phase for (phase,) in rows(self.url, query, category)]

    def silent_after(self, seconds: int) -> None:
        """How long the box may say nothing."""
        rows(self.url, "UPDATE device SET silent_after_s = %s", seconds)

    def say(self) -> None:
        """The box says that it is well."""
        at = now_ms()
        self.box.publish_raw(
            "status", encode_status(self.box.address, at, Status("online", at, "0.1", "9", {}))
        )


@pytest.fixture
def moved(
    database_url: str, broker: Broker, gateway_credential: Credential, tmp_path: Path
) -> Iterator[MovedGateway]:
    """A gateway that hears its box; its machine's clock is right still."""
    clock = tmp_path / "clock"
    set_offset(clock, 0.0)
    name = f"box-{secrets.token_hex(4)}"
    register(database_url, "kiln", name, silent_after_s=SILENT_AFTER_S)
    url = broker.url.replace("mqtts://", f"mqtts://{gateway_credential.username}@")
    directory = tmp_path / "gateway"
    gateway = GatewayProcess(
        directory,
        database_url,
        url,
        broker.ca_file,
        gateway_credential.password,
        settings=SETTINGS,
        extra={CLOCK: str(clock), CONFIG: str(directory / "gateway.yaml")},
        command=(sys.executable, "-m", "tests.fixtures.gateway_moved"),
    )
    box = add_box(broker, "kiln", name)
    try:
        yield MovedGateway(database_url, gateway, box, clock)
    finally:
        box.close()
        broker.remove_client(f"kiln/{name}")
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.kill()


@pytest.mark.parametrize("step_s", [-HOUR_S, -30 * 86_400.0, 30 * 86_400.0])
def test_rules_go_on_while_the_machines_clock_is_set(moved: MovedGateway, step_s: float) -> None:
    moved.gateway.start().await_connected()
    moved.measure(0.0)
    moved.set(step_s)
    moved.measure(0.9)
    assert moved.told("smoke.alarm") == ["start"]
    moved.measure(0.0)
    assert moved.told("smoke.alarm") == ["start", "end"]
    moved.set(0.0)
    moved.measure(0.9)
    assert moved.told("smoke.alarm") == ["start", "end", "start"]
    right = "abs(extract(epoch FROM received_at - committed_at)) < 60 AND captured_at > now() - interval '10 minutes'"
    assert rows(moved.url, f"SELECT bool_and({right}), sum(flags)::int FROM reading") == [(True, 0)]


def test_a_rule_that_left_the_file_ends_by_the_databases_clock(moved: MovedGateway) -> None:
    half_ahead_ms = round(HOUR_S * 500)  # an end is never dated before its start
    moved.gateway.database_url = set_ahead(moved.url, round(HOUR_S))
    moved.gateway.start().await_connected()
    moved.box.send(smoke(0.9, at=now_ms() + half_ahead_ms))
    moved.box.settle()
    assert moved.told("smoke.alarm") == ["start"]
    assert moved.gateway.stop() == 0
    moved.gateway.settings = f"{SETTINGS.partition('rules:')[0]}rules: []\n"
    moved.gateway.start()
    eventually(lambda: moved.told("smoke.alarm") == ["start", "end"])
    query = "SELECT extract(epoch FROM ended_at - now())::float8 FROM observation WHERE phase = 'end'"
    assert rows(moved.url, query) == [(pytest.approx(HOUR_S, abs=60),)]


def test_a_gateway_whose_machine_is_slow_makes_no_box_silent(moved: MovedGateway) -> None:
    moved.set(-HOUR_S)
    moved.gateway.start().await_connected()
    assert "this machine's clock is not the database's" in moved.gateway.log
    until = time.monotonic() + _WATCHED_S
    while time.monotonic() < until:
        moved.say()
        moved.box.send(readings(1.0))
        time.sleep(0.3)
    assert moved.told("device.silent") == []
    moved.silent_after(_SOON_S)
    eventually(lambda: moved.told("device.silent") == ["start"])
    moved.silent_after(SILENT_AFTER_S)
    moved.say()
    eventually(lambda: moved.told("device.silent") == ["start", "end"])


def test_a_lease_keeps_the_clock_right_before_anything_is_taken_in_and_while_it_is_held(
    database_url: str,
) -> None:
    clock = StoreClock(SystemClock())
    told: list[tuple[float, float]] = []

    def hear(said_ms: float, asked_at: float) -> None:
        told.append((said_ms, asked_at))
        clock.told(said_ms, asked_at)

    keeper = LeaseKeeper(database_url, "default", "one", ttl_s=0.5, clock=clock, told=hear)
    lease = keeper.try_acquire()
    assert lease is not None
    try:
        assert told
        eventually(lambda: len(told) > 3)
        ((database_ms,),) = rows(
            database_url, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8"
        )
        assert abs(clock.now_ms() - database_ms) < 1000
        waiting = StoreClock(SystemClock())
        heard = len(told)
        assert LeaseKeeper(database_url, "default", "two", clock=waiting, told=hear).try_acquire() is None
        assert len(told) > heard, "whoever waits for the lease knows the time too"
    finally:
        lease.release()
