"""The promise of the covers, on the real way: told of within thirty seconds, whatever the sensor's turn is.

How long a rule may take by the clock of the readings is settled when the rules are read (test_gateway_rule_settings).
What is left of the thirty seconds is for the way: packing on the box, the broker, the gateway's batch and its commit.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.runtime.clock import to_ms
from common.runtime.config import load_config
from edge.sensors.batch import Batch
from edge.sensors.port import Reading
from gateway.config import GatewaySettings
from gateway.rule_settings import ALARM_WITHIN_S, WAY_S, ThresholdSettings
from local.broker import Broker
from tests.conftest import Credential
from tests.integration.gateway_rig import add_box, eventually, gateway_process, now_ms, register, rows

pytestmark = pytest.mark.services

SHIPPED = Path(__file__).parents[2] / "firmware_configs/gateway.yaml"


def test_an_opened_cover_is_handed_over_within_what_its_rule_leaves_for_the_way(
    database_url: str, broker: Broker, gateway_credential: Credential, tmp_path: Path
) -> None:
    (rule,) = [
        rule for rule in load_config(SHIPPED, GatewaySettings).rules if rule.category == "manhole.open"
    ]
    assert isinstance(rule, ThresholdSettings)
    by_the_rule_s = rule.alarm_s - WAY_S
    register(database_url, "gulou", "lamp-77")
    box = add_box(broker, "gulou", "lamp-77")
    with gateway_process(
        tmp_path,
        database_url,
        broker,
        gateway_credential.username,
        gateway_credential.password,
        settings=SHIPPED.read_text(encoding="utf-8"),
    ) as gateway:
        gateway.await_connected()
        batch = Batch()
        captured_at = now_ms()
        batch.add(Reading("manhole-1", "cover_tilt", 45.0, captured_at), time.monotonic())
        while not batch.due(time.monotonic()):
            time.sleep(0.02)
        box.send(batch.peek())
        told = "SELECT o.at, i.queued_at FROM observation o JOIN observation_inbox i USING (observation_id)"
        ((at, handed_at),) = eventually(lambda: rows(database_url, told))
        box.close()
    assert to_ms(at) == captured_at
    way_s = (to_ms(handed_at) - captured_at) / 1000
    assert by_the_rule_s + way_s <= ALARM_WITHIN_S["manhole.open"], f"the way took {way_s} s"
