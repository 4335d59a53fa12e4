"""Rules that a person applies while a gateway process is at work: they count from the next batch on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.wire.messages import Readings, Series
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.gateway_store import smoke
from tests.integration.gateway_rig import Box, add_box, gateway_process, now_ms, register, rows
from tests.integration.test_gateway_rules_cli import rules

pytestmark = pytest.mark.services

SETTINGS = """
lease: {ttl_s: 300}
receipts: {every_packets: 20, every_s: 0.2, gap_s: 1}
"""
FIRST = """
rules:
  - id: smoke
    metric: smoke_density
    category: smoke.alarm
    raise_at: 0.15
    clear_at: 0.08
    update_s: 0
    severity: [{at: 0.15, severity: 3}]
  - id: heat
    metric: temperature
    category: camera.fire
    raise_at: 50
    clear_at: 45
    update_s: 0
    severity: [{at: 50, severity: 4}]
"""
#: Smoke is judged by other thresholds, nobody asks for heat any more, but somebody for water.
SECOND = """
rules:
  - id: smoke
    metric: smoke_density
    category: smoke.alarm
    raise_at: 0.5
    clear_at: 0.2
    update_s: 0
    severity: [{at: 0.5, severity: 3}]
  - id: water
    metric: water_level
    category: flood.water_level
    raise_at: 1.0
    clear_at: 0.5
    update_s: 0
    severity: [{at: 1.0, severity: 3}]
"""


def says(box: Box, **values: float) -> None:
    """Send a reading of each metric and wait until they are committed."""
    at = now_ms()
    box.send(Readings([Series("one", metric, [at], [value]) for metric, value in values.items()]))
    box.settle()


def told(url: str, device: str, category: str) -> list[tuple[str, str]]:
    """What was observed of a box, in order: phase, and why it ended where that is no reading's doing."""
    return rows(
        url,
        "SELECT phase, coalesce(detail->>'reason', '') FROM observation JOIN device USING (device_id)"
        " WHERE name = %s AND category = %s ORDER BY started_at, revision",
        device,
        category,
    )


@contextmanager
def smoking(box: Box) -> Iterator[None]:
    """A box in whose smoke an incident runs all the time."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.01):
            box.send(smoke(0.6, at=now_ms()))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()


def test_rules_take_effect_under_a_running_gateway_and_no_incident_is_torn(
    database_url: str, broker: Broker, gateway_credential: Credential, tmp_path: Path
) -> None:
    site = f"kiln-{gateway_credential.username}"
    register(database_url, site, "box-0", "box-1")
    box, other = (add_box(broker, site, name) for name in ("box-0", "box-1"))
    config, second = tmp_path / "gateway" / "gateway.yaml", tmp_path / "rules.yaml"
    second.write_text(SECOND, encoding="utf-8")
    try:
        with gateway_process(
            tmp_path / "gateway",
            database_url,
            broker,
            gateway_credential.username,
            gateway_credential.password,
            settings=SETTINGS + FIRST,
        ) as gateway:
            gateway.await_connected()
            with smoking(other):
                says(box, smoke_density=0.3, temperature=60, water_level=2)
                applied = rules(database_url, "apply", second, "--config", config, "--note", "the flood")
                assert applied.returncode == 0, applied.stderr
                assert told(database_url, "box-0", "camera.fire") == [
                    ("start", ""),
                    ("end", "the rule was removed (version 2)"),
                ]
                says(box, smoke_density=0.3, temperature=70, water_level=2)
                assert told(database_url, "box-0", "smoke.alarm") == [("start", "")], "it goes on"
                assert len(told(database_url, "box-0", "camera.fire")) == 2
                assert told(database_url, "box-0", "flood.water_level") == [("start", "")]
                says(box, smoke_density=0.15)
                assert told(database_url, "box-0", "smoke.alarm") == [("start", ""), ("end", "")], (
                    "it is below the new threshold, not the old one"
                )
                back = rules(database_url, "rollback", "1", "--config", config)
                assert back.returncode == 0, back.stderr
                assert told(database_url, "box-0", "flood.water_level")[-1] == (
                    "end",
                    "the rule was removed (version 3)",
                )
                says(box, temperature=70, water_level=2)
                assert [phase for phase, _ in told(database_url, "box-0", "camera.fire")] == [
                    "start",
                    "end",
                    "start",
                ]
            other.settle()
            assert told(database_url, "box-1", "smoke.alarm") == [("start", "")], "through three versions"
            assert gateway.process is not None
            assert gateway.process.poll() is None
        numbered = box.numbered + other.numbered
        packets = "SELECT sum(committed)::int, sum(missing)::int FROM device_packets"
        assert rows(database_url, packets) == [(numbered, 0)]
        twice = "SELECT observation_id, phase, revision FROM observation GROUP BY 1, 2, 3 HAVING count(*) > 1"
        assert rows(database_url, twice) == []
        assert rows(database_url, "SELECT fencing FROM partition_lease") == [(1,)], "it never started again"
    finally:
        box.close()
        other.close()
