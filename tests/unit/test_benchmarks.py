"""What the benchmarks take from the shipped configuration still fits it."""

from __future__ import annotations

from pathlib import Path

import yaml

from benchmarks.rules import every_kind
from common.runtime.config import parse_config
from gateway.config import GatewaySettings

SHIPPED = Path(__file__).parents[2] / "firmware_configs/gateway.yaml"


def test_the_rules_of_every_kind_that_are_measured_can_stand_beside_the_shipped_ones() -> None:
    shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["rules"]
    together = yaml.safe_dump({"rules": [*shipped, *every_kind()]}, allow_unicode=True)
    settings = parse_config(together, Path("gateway.yaml"), GatewaySettings)
    assert len(settings.rules) == len(shipped) + len(every_kind())
