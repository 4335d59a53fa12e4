"""The settings of the box's parts, apart from what needs the vision path to check."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from common.runtime.config import Settings

Name = Annotated[
    str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$", description="a–z, 0–9 and inner hyphens")
]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class StormSettings(Settings):
    """The storm that simulated sensors measure: see ``edge/sensors/storm.py``."""

    seed: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    time_scale: Annotated[float, Field(gt=0, le=1000, description="storm seconds in one real second")] = 1.0


class SensorSettings(Settings):
    """One sensor on this box."""

    name: Name
    driver: Literal["simulated"] = "simulated"
    kind: Literal["smoke", "manhole", "flood", "rain", "button"]
    every_s: Annotated[float, Field(ge=0.05, le=3600)] = 1.0
    exposure: Annotated[
        float, Field(ge=0, le=3, description="how badly the place is hit; 1 is a low spot")
    ] = 1.0


class ReadingsSettings(Settings):
    """When gathered readings become a packet: whichever comes first; and when a sensor counts as silent."""

    flush_count: Annotated[int, Field(ge=1, le=2000)] = 50
    flush_s: Annotated[float, Field(ge=0, le=300)] = 2.0
    silent_after_s: Seconds = 15.0


class OutboxSettings(Settings):
    """What may be kept, and how long."""

    max_mb: Annotated[float, Field(ge=1, le=100_000)] = 256.0
    keep_receipted_h: Annotated[float, Field(ge=0, le=24 * 60)] = 48.0


class UplinkSettings(Settings):
    """Window, pace and patience of the line; see ``edge/flow.py``."""

    broker_url: str | None = None
    ca_file: Path | None = None
    credential_file: Path | None = None
    mqtt: Literal["5", "3.1.1"] = "5"
    keepalive_s: Annotated[int, Field(ge=5, le=600)] = 20
    window: Annotated[int, Field(ge=1, le=10_000, description="packets without a receipt")] = 1000
    resend_after_s: Seconds = 30.0
    replay_per_s: Annotated[float, Field(gt=0, le=10_000, description="old packets a second")] = 50.0
    fresh_s: Seconds = 60.0
    status_every_s: Seconds = 5.0
    drain_s: Annotated[float, Field(ge=0, le=60)] = 6.0
    reconnect_s: Seconds = 1.0
    longest_reconnect_s: Seconds = 30.0


class UploadSettings(Settings):
    """Evidence on its way to the district; see ``edge/evidence.py``."""

    url: Annotated[str, Field(description="the evidence door; several separated by commas")] | None = None
    max_mb: Annotated[float, Field(ge=1, le=100_000)] = 128.0
    keep_receipted_h: Annotated[float, Field(ge=0, le=24 * 60)] = 48.0
    part_kb: Annotated[
        int, Field(ge=16, le=65_536, description="sent at once, so that little is sent twice")
    ] = 256
    retry_s: Seconds = 2.0
    longest_retry_s: Seconds = 300.0
    timeout_s: Seconds = 15.0


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and what to show it."""

    host: str
    port: int
    tls: bool
    password: str = field(repr=False)
    ca_file: Path | None = None
