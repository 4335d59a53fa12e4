"""Quarantine of a device that costs the district too much: how it is told, and what becomes of its messages. Pure.

Its bytes are kept as rejects within its quota, without a receipt, so the box keeps them as well; the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from common.wire.ids import observation_id
from common.wire.messages import Observation
from common.wire.topics import Address
from gateway.decode import DecodedPacket, ForeignReading, Rejected

CATEGORY: Final = "device.quarantined"
#: The reason of what a quarantined device says; the box keeps that as well.
HELD: Final = "quarantined"
_SOURCE: Final = "quarantine"
_SERIOUS: Final = 3


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a device may ask the store to remember: ranges of numbers in a stream, new epochs in 24 hours."""

    ranges_per_stream: int = 5000
    epochs_per_day: int = 200


BOUNDS: Final = Bounds()


def quarantine_id(address: Address, since_ms: int) -> str:
    """The id of the observation of a quarantine that began then (ms since the Unix epoch)."""
    return str(observation_id(str(address), _SOURCE, 0, since_ms))


def observed(address: Address, since_ms: int, why: str, *, released_ms: int | None = None) -> Observation:
    """The start of a quarantine, or its end when it was released."""
    return Observation(
        observation_id=quarantine_id(address, since_ms),
        phase="start" if released_ms is None else "end",
        revision=0 if released_ms is None else 1,
        category=CATEGORY,
        source=_SOURCE,
        sensor="box",
        started_at=since_ms,
        at=since_ms if released_ms is None else released_ms,
        ended_at=released_ms,
        severity=_SERIOUS,
        detail={"why": why},
    )


def held(item: DecodedPacket | ForeignReading | Rejected) -> Rejected:
    """A message of a quarantined device; without its number, so that it does not count as received."""
    message = f"{item.address} is quarantined; drumtower gateway quarantine release lets it go on"
    return Rejected(HELD, message, item.raw, item.address)
