"""By what was observed first, and not by what was heard first, a matter is given to its owner. Pure.

Packets may come in any order within the *lateness bound*. The opening of a ticket goes by the earliest observation heard
in time (by its start, then by the names of site and device) and by the gravest that was told of its first minute; both
are minima over sets, so no order of arrival shows in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final
from uuid import UUID

#: What is heard later than this after it was captured, or tells of a time later than this after the beginning,
#: changes nothing about who is called out: it only raises the severity.
LATENESS: Final = timedelta(seconds=60)
_SEVERITIES: Final = (1, 2, 3, 4)

#: For each severity from 1 up since when at least so much was told; empty: nothing of it was heard in time.
SevereSince = tuple[datetime | None, ...]


def severe_since(severity: int, at: datetime, received_at: datetime) -> SevereSince:
    """What one phase tells: captured ``at``, received by the gateway ``received_at``."""
    if received_at - at > LATENESS:
        return ()
    return tuple(at if one <= severity else None for one in _SEVERITIES)


def earliest(one: SevereSince, other: SevereSince) -> SevereSince:
    """What both tell together; commutative, associative and idempotent."""
    return tuple(min((at for at in both if at is not None), default=None) for both in zip_longest(one, other))


@dataclass(frozen=True, slots=True)
class Seen:
    """An observation, as far as the opening of a ticket asks for it; WGS-84 degrees of the device."""

    started_at: datetime
    site: str
    device: str
    observation_id: UUID
    lon: float
    lat: float
    severe_since: SevereSince


@dataclass(frozen=True, slots=True)
class Facts:
    """By what a ticket is given to its owner."""

    observed_at: datetime
    lon: float
    lat: float
    severity: int


def opening_by(seen: Iterable[Seen]) -> Facts | None:
    """The facts of an opening; None where nothing was heard in time."""
    timely = [one for one in seen if one.severe_since]
    if not timely:
        return None
    first = min(timely, key=lambda one: (one.started_at, one.site, one.device, one.observation_id))
    until = first.started_at + LATENESS
    told = [
        severity
        for one in timely
        for severity, at in zip(_SEVERITIES, one.severe_since, strict=True)
        if at is not None and at <= until
    ]
    # A start may be told of only after its first minute: then by what was told first.
    severity = max(told, default=0) or _first_told(timely)
    return Facts(first.started_at, first.lon, first.lat, severity)


def _first_told(timely: Iterable[Seen]) -> int:
    told = [
        (at, -severity)
        for one in timely
        for severity, at in zip(_SEVERITIES, one.severe_since, strict=True)
        if at is not None
    ]
    return -min(told)[1]
