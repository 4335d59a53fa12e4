"""The messages on the wire: CloudEvents 1.0 envelopes around readings, events, status and receipts.

Structs only; ``codec`` turns them into bytes and back. Instants are integers, milliseconds since the Unix
epoch, UTC; positions are WGS-84 degrees. Source: CloudEvents 1.0, JSON event format, structured mode.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

# `$` alone would let a trailing newline through in Python; `\Z` is not known to JSON Schema.
Name = Annotated[str, Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$(?!\n)")]
Metric = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$(?!\n)")]
CategoryCode = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*){1,3}$(?!\n)", max_length=64)
]
Millis = Annotated[int, Meta(ge=0, lt=1 << 47)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Text = Annotated[str, Meta(max_length=500)]
Epoch = Annotated[str, Meta(pattern=r"^[1-9a-f][0-9a-f]{0,15}$(?!\n)")]

READINGS_TYPE = "org.drumtower.readings.v1"
EVENTS_TYPE = "org.drumtower.events.v1"
ABANDONED_TYPE = "org.drumtower.abandoned.v1"
STATUS_TYPE = "org.drumtower.status.v1"
RECEIPT_TYPE = "org.drumtower.receipt.v1"

Phase = Literal["start", "update", "end", "act"]
PHASES: tuple[Phase, ...] = ("start", "update", "end", "act")


class Series(Struct, frozen=True, forbid_unknown_fields=True):
    """Readings of one metric of one sensor, in columns of equal length.

    ``at`` is when each was captured; ``value`` is in the metric's unit (docs/reference/metrics.md lists them).
    """

    sensor: Name
    metric: Metric
    at: Annotated[list[Millis], Meta(min_length=1, max_length=5000)]
    value: Annotated[list[float], Meta(min_length=1, max_length=5000)]


class Readings(Struct, frozen=True, forbid_unknown_fields=True):
    """The data of a readings packet."""

    series: Annotated[list[Series], Meta(min_length=1, max_length=1000)]


class Evidence(Struct, frozen=True, forbid_unknown_fields=True):
    """A picture that proves an observation; the file travels on its own, named by its SHA-256."""

    sha256: Sha256
    media_type: Annotated[str, Meta(pattern=r"^(?:image/jpeg|video/mp4)$(?!\n)")]
    size: Annotated[int, Meta(ge=1, le=64 * 1024 * 1024)]
    captured_at: Millis
    width: Annotated[int, Meta(ge=1, le=20000)]
    height: Annotated[int, Meta(ge=1, le=20000)]


class Observation(Struct, frozen=True, forbid_unknown_fields=True):
    """What a scene or a rule saw: a condition's start, update or end, or a passing act.

    Every phase carries the full state and a revision, so that any order of arrival can be applied.
    ``severity``: 1 notice, 2 ordinary, 3 serious, 4 critical.
    """

    observation_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$(?!\n)")]
    phase: Phase
    revision: Annotated[int, Meta(ge=0, lt=1 << 31)]
    category: CategoryCode
    source: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9:._-]{0,95}$(?!\n)")]
    sensor: Name
    started_at: Millis
    at: Millis
    severity: Annotated[int, Meta(ge=1, le=4)]
    ended_at: Millis | None = None
    count: Annotated[int, Meta(ge=0, lt=1 << 31)] = 1
    value: float | None = None
    unit: Annotated[str, Meta(max_length=16)] = ""
    evidence: Annotated[list[Evidence], Meta(max_length=16)] = []
    detail: Annotated[dict[str, str | float | int], Meta(max_length=32)] = {}


class Events(Struct, frozen=True, forbid_unknown_fields=True):
    """The data of an events packet."""

    observations: Annotated[list[Observation], Meta(min_length=1, max_length=100)]


class Abandoned(Struct, frozen=True, forbid_unknown_fields=True):
    """Sequence numbers that the box had to give up (a full disk): counted and alarmed, never waited for."""

    epoch: Epoch
    ranges: Annotated[list[tuple[int, int]], Meta(min_length=1, max_length=1000)]
    reason: Text


class Status(Struct, frozen=True, forbid_unknown_fields=True):
    """Retained on the status topic; the last will says ``offline``."""

    state: Literal["online", "offline"]
    at: Millis
    version: Annotated[str, Meta(max_length=64)] = ""
    epoch: Epoch | None = None
    counters: Annotated[dict[str, float | int | str], Meta(max_length=64)] = {}


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """What the store has committed of a device's packets.

    ``upto`` is the highest sequence number with nothing missing below it; ``gaps`` are the missing ranges
    (both ends included) older than ten seconds below ``highest``; ``incarnation`` names the store and
    changes when it is restored from a backup.
    """

    epoch: Epoch
    upto: Annotated[int, Meta(ge=0)]
    highest: Annotated[int, Meta(ge=0)]
    gaps: list[tuple[int, int]]
    incarnation: str
    at: Millis


class Envelope(Struct, frozen=True):
    """A CloudEvents 1.0 envelope; ``data`` stays raw until its type is known."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(max_length=40)]
    source: Annotated[str, Meta(max_length=100)]
    type: Annotated[str, Meta(max_length=64)]
    time: Annotated[str, Meta(max_length=40)]
    data: msgspec.Raw
    datacontenttype: Literal["application/json"] = "application/json"
