"""Every part is killed with SIGKILL in the middle of its work, and nothing is lost, doubled or opened twice."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from benchmarks.chaos.database_log import troubles_in
from local.demo.audit import Audit, audit
from local.demo.stack import CONFIGS, Plan, Stack
from local.footage import find_footage
from local.ports import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.timeout(1500),
    pytest.mark.xdist_group("whole-system"),
]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    footage = find_footage()
    plan = Plan(
        data=tmp_path / "run",
        boxes=tuple(sorted((CONFIGS / "devices").glob("*.yaml"))),
        port=free_port(),
        gateways=2,
        footage=footage.parent if footage else None,
    )
    with Stack(plan) as running:
        yield running
    for part in running.parts():
        assert part.pid is None
    if not os.environ.get("DRUMTOWER_KEEP_RUNS"):
        shutil.rmtree(plan.data)


#: How long a slow machine may take for what takes some seconds here; only what fails waits so long.
PATIENCE = 240.0
MISSING = b"SELECT coalesce(sum(missing), 0) FROM device_packets"


def count(stack: Stack, query: bytes) -> int:
    """What the store counts; -1 while it does not answer, which is neither none nor some."""
    try:
        with psycopg.connect(stack.database_url, connect_timeout=10) as connection:
            row = connection.execute(query).fetchone()
    except psycopg.OperationalError:
        return -1
    assert row is not None
    return int(row[0])


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.3)


def committed(stack: Stack) -> int:
    return count(stack, b"SELECT coalesce(sum(committed), 0) FROM device_packets")


def more_is_committed(stack: Stack) -> None:
    wait_for("the store to answer", lambda: committed(stack) >= 0)
    before = committed(stack)
    wait_for("more packets to be committed", lambda: committed(stack) > before + 5)


def compare(stack: Stack) -> Audit:
    assert stack.provision is not None
    boxes = {address: stack.plan.data / "boxes" / address.device for address in stack.provision.boxes}
    return audit(stack.database_url, boxes)


def settled(stack: Stack) -> Audit:
    deadline = time.monotonic() + PATIENCE
    while (found := compare(stack)).faults and time.monotonic() < deadline:
        time.sleep(1)
    return found


def test_each_packet_is_committed_once_and_each_matter_has_one_ticket_whatever_is_killed(
    stack: Stack,
) -> None:
    assert stack.postgres is not None
    assert stack.broker is not None
    lamp = stack.boxes["lamp-01"]
    wait_for(
        "the first ticket of a camera",
        lambda: count(stack, b"SELECT count(*) FROM ticket WHERE channel = 'camera'") > 0,
    )

    lamp.kill()
    time.sleep(1.5)
    lamp.start()
    more_is_committed(stack)

    # The first gateway started first and holds the lease; the second takes it over.
    stack.gateways[0].kill()
    more_is_committed(stack)

    stack.broker.kill(delete_persistence=True)
    time.sleep(1.5)
    stack.broker.start()
    more_is_committed(stack)

    stack.postgres.kill()
    time.sleep(1.5)
    stack.postgres.start()
    more_is_committed(stack)

    assert stack.cloud is not None
    stack.cloud.kill()
    stack.cloud.start()
    stack.await_page()
    wait_for(
        "tickets of sensors",
        lambda: count(stack, b"SELECT count(*) FROM ticket WHERE channel = 'sensor'") > 1,
    )

    # What was under way when something died is sent again after a while, not at once; evidence follows the alarms.
    wait_for("every gap to close", lambda: count(stack, MISSING) == 0)
    wait_for("all evidence to arrive", lambda: compare(stack).evidence_missing == 0)
    stack.stop_boxes()
    wait_for("the inbox to be empty", lambda: count(stack, b"SELECT count(*) FROM observation_inbox") == 0)
    result = settled(stack)
    assert result.faults == []
    assert result.packets_numbered == result.packets_committed > 0
    assert result.packets_abandoned == 0
    assert result.readings_sent == result.readings_stored > 0
    assert result.observations_sent == result.observations_stored > 0
    assert result.evidence_sent > 0
    assert result.incidents_ticket_worthy > 1
    assert result.incidents_without_one_ticket == 0
    assert result.matters_with_two_open_tickets == 0
    assert count(stack, b"SELECT count(*) FROM ticket WHERE dispatched_at IS NULL") == 0
    assert troubles_in(stack.postgres.log).total() == 0
