"""What the benchmarks take from the shipped configuration still fits it, what they count, call missed, and tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import __main__ as table
from benchmarks import ingest, outage
from benchmarks.ingest_judge import LIMIT_GAIN_HELD, LIMIT_RATIO, counting, told
from benchmarks.ingest_judge import missed as missed_by_intake
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


def measured(gain_held: float | None = 1.2, **worse: float) -> dict[str, Any]:
    """What ``benchmarks.ingest`` comes to where all is just met; without a gain, two gateways were not measured."""
    figures = {"ratio": 0.6, "publish_to_commit_ms_p99": 120.0, "rules_share": 0.25} | worse
    ratio = figures.pop("ratio")
    beside = {} if gain_held is None else {"split": {"gain_frames": 0.9, "gain_held": gain_held}}
    return {
        "name": "ingest",
        "value": 400_000,
        "unit": "rows/s",
        "limit": 600_000,
        "ratio": ratio,
        "detail": figures | beside,
    }


@pytest.mark.parametrize("gain_held", [1.2, 1.59, None])
def test_an_intake_that_meets_what_is_asked_misses_nothing_whether_or_not_it_was_split(
    gain_held: float | None,
) -> None:
    assert missed_by_intake(measured(gain_held)) == []


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        ({"ratio": 0.59}, "ratio 0.59, asked >= 0.6"),
        ({"publish_to_commit_ms_p99": 120.1}, "p99 120.1 ms, asked <= 120"),
        ({"rules_share": 0.251}, "rules_share 0.251, asked <= 0.25"),
        ({"gain_held": 1.19}, "gain_held 1.19, asked >= 1.2"),
    ],
)
def test_whatever_of_the_intake_is_worse_than_asked_is_missed(worse: dict[str, float], said: str) -> None:
    assert missed_by_intake(measured(**worse)) == [said]


def test_what_the_intake_came_to_is_told_with_every_minute_and_what_was_missed() -> None:
    minute = {"p99": 130.0, "stolen": 0.02, "stolen_before": 0.1, "counted": 0}
    quiet = {"p99": 90.0, "stolen": 0.0, "stolen_before": 0.001, "counted": 1}
    alone = {"p50": 70.0, "p99": 150.0}
    gateways = {"rows_per_s": 100, "cores": 1.9}
    result = measured(1.1)
    result["detail"] |= {
        "ratio_to_one_transaction_copy": 0.5,
        "sustained_rows_per_s": 300_000,
        "sustained_ratio": 0.7,
        "publish_to_commit_ms_p50": 60.0,
        "publish_to_commit_ms": [minute, quiet],
        "singly_ms": alone,
        "split": {"gain_held": 1.1}
        | {
            f"{n}_{how}": gateways
            for n in ("one_gateway", "two_gateways")
            for how in ("frames", "paho", "held")
        },
        "missed": missed_by_intake(result),
    }
    lines = list(told(result))
    assert lines[0] == "400,000 rows/s of 600,000 by psql \\copy: 0.6 (0.5 of one transaction)"
    assert "130.0 ms (10.0% stolen, not counted), 90.0 ms (0.1% stolen)" in lines[1]
    assert [line.split()[4] for line in lines[2:5]] == ["(frames):", "(paho):", "(held):"]
    assert lines[5] == "missed: gain_held 1.1, asked >= 1.2"


def test_the_table_asks_of_intake_and_outage_what_they_ask_of_themselves() -> None:
    assert table.ASKED["ingest"] == ("ratio", ">=", LIMIT_RATIO)
    assert table.ASKED["outage"] == ("value", "<=", outage.LIMIT_MB)


@pytest.mark.parametrize(
    ("short", "code", "missed"),
    [([], 0, 0), (None, 0, 0), (["gain_held 1"], 1, 1), (["gain_held 1"], 0, 1), ([], 1, 1)],
)
def test_the_table_counts_a_benchmark_as_missed_that_falls_short_in_a_part_of_it_or_ends_so(
    short: list[str] | None,
    code: int,
    missed: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = measured()
    result["detail"] |= {} if short is None else {"missed": short}
    line = json.dumps(result)
    monkeypatch.setattr(table, "ASKED", {"ingest": table.ASKED["ingest"]})
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code, f"{line}\n")
    )
    monkeypatch.setenv("COLUMNS", "200")
    assert table.main() == missed
    assert ("no; gain_held 1" in capsys.readouterr().out) is bool(short)


@pytest.mark.parametrize(("gain_held", "code"), [(LIMIT_GAIN_HELD, 0), (LIMIT_GAIN_HELD - 0.01, 1)])
def test_the_intake_measured_alone_ends_with_what_it_missed(
    gain_held: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ingest", "--json", "--beside", "split"])
    monkeypatch.setattr(ingest, "measure_main", lambda *_: measured(None))
    monkeypatch.setattr(ingest, "measure_split", lambda *_: {"gain_held": gain_held})
    assert ingest.main() == code
    assert len(json.loads(capsys.readouterr().out)["detail"]["missed"]) == code


def away(value: float = outage.LIMIT_MB, **other: float) -> dict[str, Any]:
    """What ten minutes without the store come to where all is just met."""
    detail = {
        "boxes": 100,
        "boxes_online_at_return": 100,
        "outage_s": 600.0,
        "readings_per_s": outage.LEAST_READINGS_PER_S,
    }
    return {"name": "outage", "value": value, "unit": "MB", "detail": detail | other}


@pytest.mark.parametrize(
    ("result", "missed"),
    [
        (away(), []),
        (away(250.1), ["the gateway had 250.1 MB, at most 250 are allowed"]),
        (
            away(readings_per_s=4899.9),
            ["expected 4900 readings/s during the outage, found 4899.9"],
        ),
        (
            away(outage_s=outage.PACED_FROM_S, readings_per_s=2500.0),
            ["expected 4900 readings/s during the outage, found 2500.0"],
        ),
        (away(outage_s=outage.PACED_FROM_S - 1, readings_per_s=2500.0), []),
        (
            away(outage_s=15.0, boxes_online_at_return=99),
            ["expected all 100 boxes to be sending when the store returned, found 99"],
        ),
    ],
)
def test_an_outage_is_missed_by_memory_by_what_did_not_come_in_and_by_boxes_that_were_gone(
    result: dict[str, Any],
    missed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["outage", "--json"])
    monkeypatch.setattr(outage, "measure", lambda *_: result)
    assert outage.main() == int(bool(missed))
    assert json.loads(capsys.readouterr().out)["detail"]["missed"] == missed


@pytest.mark.parametrize(("options", "seconds"), [([], 600.0), (["--seconds", "15"], 15.0)])
def test_the_store_is_away_for_ten_minutes_or_as_long_as_asked_also_in_ci(
    options: list[str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def measure(seconds: float, _: object) -> dict[str, Any]:
        asked.append(seconds)
        return away()

    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(sys, "argv", ["outage", "--json", *options])
    monkeypatch.setattr(outage, "measure", measure)
    outage.main()
    assert asked == [seconds]
