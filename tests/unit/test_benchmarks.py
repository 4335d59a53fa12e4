"""What the benchmarks take from the shipped configuration still fits it, and which of their measurements count."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.ingest import counting
from benchmarks.rules import every_kind
from common.runtime.config import parse_config
from gateway.config import GatewaySettings

SHIPPED = Path(__file__).parents[2] / "firmware_configs/gateway.yaml"


def test_the_rules_of_every_kind_that_are_measured_can_stand_beside_the_shipped_ones() -> None:
    shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["rules"]
    together = yaml.safe_dump({"rules": [*shipped, *every_kind()]}, allow_unicode=True)
    settings = parse_config(together, Path("gateway.yaml"), GatewaySettings)
    assert len(settings.rules) == len(shipped) + len(every_kind())


@pytest.mark.parametrize(
    ("stolen", "before", "counted"),
    [
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1, 1, 1]),
        ([0.3, 0.0, 0.005, 0.01], [0.0, 0.0, 0.0, 0.0], [0, 1, 1, 1]),
        ([0.0, 0.0, 0.0, 0.0], [0.0, 0.2, 0.0, 0.0], [1, 0, 1, 1]),
        ([0.3, 0.2, 0.1, 0.2, 0.5, 0.6], [0.0] * 6, [0, 1, 1, 1, 0, 0]),
    ],
)
def test_those_minutes_count_of_which_and_of_whose_round_the_host_took_least(
    stolen: list[float], before: list[float], counted: list[int]
) -> None:
    minutes = [{"stolen": one, "stolen_before": other} for one, other in zip(stolen, before, strict=True)]
    assert [one["counted"] for one in counting(minutes)] == counted
