"""Every fault of the gateway's files and environment at once, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.runtime.config import InvalidConfigError, load_config, parse_config
from common.runtime.errors import ConfigError
from gateway.config import GatewaySettings, read_environment
from gateway.fleet.sites import Site, load_site, load_sites
from gateway.rule_settings import CombinationSettings, WindowSumSettings
from gateway.rules import ThresholdRule

REPOSITORY = Path(__file__).parents[2]


def test_the_shipped_files_are_right() -> None:
    settings = load_config(REPOSITORY / "firmware_configs/gateway.yaml", GatewaySettings)
    assert {rule.category for rule in settings.compiled_rules()} >= {"smoke.alarm", "flood.water_level"}
    assert load_sites(REPOSITORY / "firmware_configs/sites")


def test_whatever_our_own_sensors_alarm_by_has_a_shipped_rule() -> None:
    rules = load_config(REPOSITORY / "firmware_configs/gateway.yaml", GatewaySettings).rules
    watched = {(rule.metric, rule.category) for rule in rules if not isinstance(rule, CombinationSettings)}
    assert watched >= {
        ("smoke_density", "smoke.alarm"),
        ("smoke_alarm", "smoke.alarm"),
        ("cover_tilt", "manhole.open"),
        ("water_level", "manhole.water_high"),
        ("water_depth", "flood.water_level"),
        ("rain_intensity", "rain.intense"),
        ("rain_amount", "rain.intense"),
        ("pressed", "button.emergency"),
    }
    (hour,) = [rule for rule in rules if isinstance(rule, WindowSumSettings)]
    assert (hour.of, hour.window_s) == ("amounts", 3600)


def test_five_faults_are_told_at_once_with_line_and_nearest_name() -> None:
    text = """
intake: {batch_row: 5}
lease: {ttl_s: 0}
rules:
  - id: Smoke
    metric: smoke_density
    category: smoke
    raise_at: high
    clear_at: 0.1
    severity: [{at: 0.1, severity: 3}]
"""
    with pytest.raises(InvalidConfigError) as caught:
        parse_config(text, Path("gateway.yaml"), GatewaySettings)
    said = str(caught.value)
    assert len(caught.value.faults) == 5
    for part in (
        "gateway.yaml:2: intake.batch_row",
        "did you mean 'batch_rows'?",
        "gateway.yaml:3",
        "gateway.yaml:5",
        "gateway.yaml:7",
        "gateway.yaml:8",
    ):
        assert part in said


def test_a_rule_for_a_metric_that_nobody_declared_is_a_fault() -> None:
    text = """
rules:
  - {id: x, metric: phlogiston, category: smoke.alarm, raise_at: 2, clear_at: 1, severity: [{at: 2, severity: 3}]}
"""
    with pytest.raises(InvalidConfigError, match="phlogiston"):
        parse_config(text, Path("gateway.yaml"), GatewaySettings)
    declared = "metrics: [{name: phlogiston, unit: g, low: 0, high: 9}]" + text
    (rule,) = parse_config(declared, Path("gateway.yaml"), GatewaySettings).compiled_rules()
    assert isinstance(rule, ThresholdRule)
    assert (rule.unit, rule.above) == ("g", True)


def test_a_clear_threshold_above_the_raising_one_watches_for_too_little() -> None:
    text = """
rules:
  - id: battery
    metric: battery
    category: device.silent
    raise_at: 10
    clear_at: 20
    hold_s: 1.5
    severity: [{at: 10, severity: 1}, {at: 5, severity: 2}]
"""
    (rule,) = parse_config(text, Path("gateway.yaml"), GatewaySettings).compiled_rules()
    assert isinstance(rule, ThresholdRule)
    assert not rule.above
    assert rule.hold_ms == 1500
    assert [rule.severity_of(value) for value in (9.0, 5.0, 4.0)] == [1, 2, 2]


def test_a_site_names_each_device_once_and_is_named_as_its_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match=r"devices\.1\.name: 'x' already stands on line 2"):
        parse_config(
            "site: a\ndevices: [{name: x, lon: 1, lat: 2}, {name: x, lon: 1, lat: 2}]", Path("a.yaml"), Site
        )
    path = tmp_path / "kiln.yaml"
    path.write_text("site: oven\ndevices: [{name: x, lon: 1, lat: 2}]")
    with pytest.raises(InvalidConfigError, match="expected 'kiln'"):
        load_site(path)
    with pytest.raises(InvalidConfigError, match="at least one"):
        load_sites(tmp_path / "nowhere")


def test_the_environment_tells_all_that_is_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        read_environment(
            {
                "DRUMTOWER_BROKER_URL": "mqtss://user:s3cret@x",
                "DRUMTOWER_EVIDENCE_DIR": "/tmp/x",
                "DRUMTOWER_CREDENTIAL_FILE": "/nowhere/credential",
                "DRUMTOWER_CA_FILE": "/nowhere/ca.pem",
            }
        )
    assert caught.value.message.startswith("5 faults")
    for part in (
        "DRUMTOWER_DATABASE_URL",
        "DRUMTOWER_BROKER_URL: expected mqtts://host:port, found mqtss://x (did you mean 'mqtts'?)",
        "DRUMTOWER_CREDENTIAL_FILE",
        "DRUMTOWER_CA_FILE",
        "DRUMTOWER_TLS_CERT",
    ):
        assert part in caught.value.message
    assert "s3cret" not in caught.value.message


def test_the_broker_is_read_from_its_url_and_the_password_from_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "credential"
    secret.write_text("s3cret\n")
    environment = read_environment(
        {
            "DRUMTOWER_DATABASE_URL": "postgresql://x/y",
            "DRUMTOWER_BROKER_URL": "mqtts://broker.example",
            "DRUMTOWER_CREDENTIAL_FILE": str(secret),
        }
    )
    broker = environment.broker
    assert (broker.host, broker.port, broker.tls, broker.username, broker.password) == (
        "broker.example",
        8883,
        True,
        "gateway",
        "s3cret",
    )
    assert environment.evidence_directory is None
