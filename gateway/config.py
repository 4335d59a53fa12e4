"""The gateway's settings: ``firmware_configs/gateway.yaml`` for rules and limits, the environment for places and secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, model_validator

from common.runtime.config import Settings
from common.runtime.errors import ConfigError
from gateway import rule_settings
from gateway.metrics_catalogue import Metric, catalogue
from gateway.rules import Rule

DEFAULT_USERNAME = "gateway"
Name = rule_settings.Name


class MetricSettings(Settings):
    """A metric beyond the built-in ones, or one of those with another range."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
    unit: Annotated[str, Field(max_length=16)] = ""
    low: float
    high: float


class IntakeSettings(Settings):
    """Who speaks MQTT, how much may wait, and how much goes into one transaction."""

    client: Literal["paho", "frames"] = "paho"
    receive_maximum: Annotated[int, Field(ge=10, le=65_535)] = 8000
    queue_mb: Annotated[int, Field(ge=1, le=4096)] = 64
    batch_rows: Annotated[int, Field(ge=1, le=200_000)] = 40_000
    batch_packets: Annotated[int, Field(ge=1, le=65_535)] = 8000
    linger_ms: Annotated[int, Field(ge=0, le=50)] = 10
    committers: Annotated[int, Field(ge=1, le=16)] = 2


class LimitSettings(Settings):
    """What one device may cost, and how far its clock may be off."""

    clock_ahead_h: Annotated[float, Field(gt=0, le=24 * 30)] = 24.0
    clock_behind_h: Annotated[float, Field(gt=0, le=24 * 30)] = 48.0
    replay_days: Annotated[float, Field(ge=0, le=366)] = 30.0
    reject_mb_per_device_day: Annotated[float, Field(ge=0, le=1024)] = 4.0
    series_per_device: Annotated[int, Field(ge=1, le=100_000)] = 2000
    ranges_per_stream: Annotated[int, Field(ge=10, le=1_000_000)] = 5000
    epochs_per_device_day: Annotated[int, Field(ge=1, le=100_000)] = 200


Days = Annotated[float, Field(ge=1, le=36_600)]


class KeepSettings(Settings):
    """How many days what is kept; tickets and their history are kept for ever."""

    readings_days: Days = 92.0
    minutes_days: Days = 400.0
    hours_days: Days = 3660.0
    observations_days: Days = 400.0
    status_days: Days = 7.0
    rejects_days: Days = 30.0
    rejects_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 2048
    streams_days: Days = 100.0
    compress_after_days: Days = 35.0
    refresh_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    sweep_s: Annotated[float, Field(ge=0.1, le=86_400)] = 3600.0

    @model_validator(mode="after")
    def _coarse_outlasts_fine(self) -> Self:
        if not self.readings_days <= self.minutes_days <= self.hours_days:
            raise ValueError(
                "expected readings_days <= minutes_days <= hours_days: hours are made of minutes"
            )
        return self


class ReceiptSettings(Settings):
    """When a device is told what is committed."""

    every_packets: Annotated[int, Field(ge=1, le=100_000)] = 100
    every_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    gap_s: Annotated[float, Field(ge=0, le=600)] = 10.0


class LeaseSettings(Settings):
    """How long a gateway that fell silent keeps its partition, in seconds of the database's clock."""

    ttl_s: Annotated[float, Field(ge=0.5, le=300)] = 10.0


class SilenceSettings(Settings):
    """How often devices are looked through for silent ones; how long is each device's own ``silent_after_s``."""

    sweep_s: Annotated[float, Field(ge=0.1, le=600)] = 5.0


class EvidenceSettings(Settings):
    """The evidence door."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8443
    max_file_mb: Annotated[int, Field(ge=1, le=64)] = 16
    per_device_day_mb: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    keep_free_mb: Annotated[int, Field(ge=0)] = 512
    partial_hours: Annotated[float, Field(gt=0)] = 72.0
    chunk_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    failures_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 10


class GatewaySettings(Settings):
    """``gateway.yaml``."""

    intake: IntakeSettings = IntakeSettings()
    limits: LimitSettings = LimitSettings()
    keep: KeepSettings = KeepSettings()
    receipts: ReceiptSettings = ReceiptSettings()
    lease: LeaseSettings = LeaseSettings()
    silence: SilenceSettings = SilenceSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    metrics: tuple[MetricSettings, ...] = ()
    rules: tuple[rule_settings.RuleSettings, ...] = ()

    @model_validator(mode="after")
    def _rules_are_right_together(self) -> Self:
        rule_settings.check(self.rules, self.catalogue(), "rules")
        return self

    def catalogue(self) -> dict[str, Metric]:
        """Built-in metrics and those declared here, by name."""
        return catalogue(Metric(m.name, m.unit, m.low, m.high) for m in self.metrics)

    def compiled_rules(self) -> tuple[Rule, ...]:
        """The rules as they are stepped, with the units of their metrics."""
        return rule_settings.compile_rules(self.rules, self.catalogue())


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and as whom to come: ``mqtt://`` or ``mqtts://[user@]host[:port]``."""

    host: str
    port: int
    tls: bool
    username: str
    password: str
    ca_file: Path | None


@dataclass(frozen=True, slots=True)
class Environment:
    """What differs from machine to machine."""

    database_url: str
    broker: BrokerAddress
    evidence_directory: Path | None
    tls_certificate: Path | None
    tls_key: Path | None


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """The environment variables of docs/operations: database, broker, credential, certificates.

    Raises:
        ConfigError: naming every variable that is missing or wrong.
    """
    env = os.environ if variables is None else variables
    faults: list[str] = []
    database = env.get("DRUMTOWER_DATABASE_URL", "")
    if not database:
        faults.append(
            "DRUMTOWER_DATABASE_URL: expected postgresql://user:password@host:port/name, found nothing"
        )
    broker = _broker(env, faults)
    evidence = _path(env, "DRUMTOWER_EVIDENCE_DIR")
    certificate, key = _path(env, "DRUMTOWER_TLS_CERT"), _path(env, "DRUMTOWER_TLS_KEY")
    if evidence and not (certificate and key):
        faults.append(
            "DRUMTOWER_TLS_CERT and DRUMTOWER_TLS_KEY: expected both with DRUMTOWER_EVIDENCE_DIR,"
            " since the evidence door is HTTPS only"
        )
    for name, path in (("DRUMTOWER_TLS_CERT", certificate), ("DRUMTOWER_TLS_KEY", key)):
        if path and not path.is_file():
            faults.append(f"{name}: {path} is not a file")
    if faults or broker is None:
        raise ConfigError(
            "config.environment",
            f"{len(faults)} fault{'s' if len(faults) != 1 else ''} in the environment:\n"
            + "\n".join(f"  {fault}" for fault in faults),
            "set these variables and start again",
        )
    return Environment(database, broker, evidence, certificate, key)


def _broker(env: Mapping[str, str], faults: list[str]) -> BrokerAddress | None:
    text = env.get("DRUMTOWER_BROKER_URL", "")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in {"mqtt", "mqtts"} or not url.hostname:
        faults.append(f"DRUMTOWER_BROKER_URL: expected mqtts://host:port, found {url.hostname or 'nothing'}")
        return None
    tls = url.scheme == "mqtts"
    credential = _path(env, "DRUMTOWER_CREDENTIAL_FILE")
    password = unquote(url.password or "")
    if credential:
        try:
            password = credential.read_text(encoding="utf-8").strip()
        except OSError as error:
            faults.append(f"DRUMTOWER_CREDENTIAL_FILE: {credential} cannot be read: {error.strerror}")
    ca_file = _path(env, "DRUMTOWER_CA_FILE")
    if ca_file and not ca_file.is_file():
        faults.append(f"DRUMTOWER_CA_FILE: {ca_file} is not a file")
        ca_file = None
    username = unquote(url.username or "") or DEFAULT_USERNAME
    return BrokerAddress(url.hostname, port or (8883 if tls else 1883), tls, username, password, ca_file)


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "")
    return Path(text) if text else None
