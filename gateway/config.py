"""The gateway's settings: ``firmware_configs/gateway.yaml`` for rules and limits, the environment for places and secrets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field

from common.runtime.config import Settings, Wrong
from common.runtime.errors import ConfigError
from common.runtime.places import database_url
from common.runtime.redaction import hide_address, read_secret
from common.runtime.settings import nearest, texts, twice
from common.runtime.watchdog_settings import WatchdogSettings
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

    def cross_faults(self) -> Iterator[Wrong]:
        """There are believable values."""
        if self.right("low", "high") and self.low >= self.high:
            yield Wrong(("high",), f"expected more than low, {self.low}, got {self.high}")


class IntakeSettings(Settings):
    """Who speaks MQTT, how much may wait, and how much goes into one transaction."""

    client: Literal["paho", "frames"] = "paho"
    receive_maximum: Annotated[int, Field(ge=10, le=65_535)] = 8000
    queue_mb: Annotated[int, Field(ge=1, le=4096)] = 64
    batch_rows: Annotated[int, Field(ge=1, le=200_000)] = 40_000
    batch_packets: Annotated[int, Field(ge=1, le=65_535)] = 8000
    linger_ms: Annotated[int, Field(ge=0, le=50)] = 25
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

    def cross_faults(self) -> Iterator[Wrong]:
        """Hours are made of minutes, and minutes of readings: the coarser is kept longer."""
        for fine, coarse in pairwise(("readings_days", "minutes_days", "hours_days")):
            if self.right(fine, coarse) and getattr(self, fine) > getattr(self, coarse):
                yield Wrong(
                    (coarse,),
                    f"expected at least {fine}, {getattr(self, fine):g}, got {getattr(self, coarse):g}",
                )


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


class WatchSettings(WatchdogSettings):
    """How often the gateway looks about, and after how many seconds a ticket centre that does nothing is told of."""

    every_s: Annotated[float, Field(ge=0.1, le=600)] = 5.0
    cloud_silent_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0


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
    watch: WatchSettings = WatchSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    metrics: tuple[MetricSettings, ...] = ()
    rules: tuple[rule_settings.RuleSettings, ...] = ()

    def cross_faults(self) -> Iterator[Wrong]:
        """Each rule and metric stands once, and rules name metrics and categories that there are."""
        named = list(texts(metric.name for metric in self.metrics))
        yield from twice((("metrics", number, "name"), name) for number, name in named)
        known = {**catalogue(), **{name: Metric(name, "", 0.0, 0.0) for _, name in named}}
        yield from rule_settings.rule_faults(self.rules, known)

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
    password: str = field(repr=False)
    ca_file: Path | None


@dataclass(frozen=True, slots=True)
class Environment:
    """What differs from machine to machine."""

    database_url: str = field(repr=False)
    broker: BrokerAddress
    evidence_directory: Path | None
    tls_certificate: Path | None
    tls_key: Path | None
    broker_data: Path | None = None


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """The environment variables of docs/operations: database, broker, credential, certificates.

    Raises:
        ConfigError: naming every variable that is missing or wrong.
    """
    env = os.environ if variables is None else variables
    faults: list[str] = []
    database = ""
    try:
        database = database_url(env)
    except ConfigError as error:
        faults.append(error.message)
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
    if faults:
        raise ConfigError(
            "config.environment",
            f"{len(faults)} fault{'s' if len(faults) != 1 else ''} in the environment:\n"
            + "\n".join(f"  {fault}" for fault in faults),
            "set these variables and start again",
        )
    return Environment(
        database, broker, evidence, certificate, key, broker_data=_path(env, "DRUMTOWER_BROKER_DATA")
    )


def _broker(env: Mapping[str, str], faults: list[str]) -> BrokerAddress:
    hide_address(env.get("DRUMTOWER_BROKER_URL", ""))
    try:
        url = urlsplit(env.get("DRUMTOWER_BROKER_URL", ""))
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in {"mqtt", "mqtts"} or not url.hostname:
        found = f"{url.scheme}://{url.hostname or ''}" if url.scheme else "nothing"  # no password in a log
        meant = "" if url.scheme in {"mqtt", "mqtts"} else nearest(url.scheme, ("mqtts", "mqtt"))
        faults.append(f"DRUMTOWER_BROKER_URL: expected mqtts://host:port, found {found}{meant}")
    tls = url.scheme == "mqtts"
    password = unquote(url.password or "")
    if credential := _path(env, "DRUMTOWER_CREDENTIAL_FILE"):
        try:
            password = read_secret(credential)
        except OSError as error:
            faults.append(f"DRUMTOWER_CREDENTIAL_FILE: {credential} cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            faults.append(f"DRUMTOWER_CREDENTIAL_FILE: expected one line, the password, in {credential}")
    ca_file = _path(env, "DRUMTOWER_CA_FILE")
    if ca_file and not ca_file.is_file():
        faults.append(f"DRUMTOWER_CA_FILE: {ca_file} is not a file")
    username = unquote(url.username or "") or DEFAULT_USERNAME
    port = port or (8883 if tls else 1883)
    return BrokerAddress(url.hostname or "", port, tls, username, password, ca_file)


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "")
    return Path(text) if text else None
