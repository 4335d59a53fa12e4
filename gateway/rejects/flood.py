"""A device of which more was rejected in a day than is kept: how it is told. Pure. Why it goes on: docs/adr/0019."""

from __future__ import annotations

from datetime import date
from typing import Final

from common.wire.ids import observation_id
from common.wire.messages import Observation
from common.wire.topics import Address

CATEGORY: Final = "device.rejects_not_kept"
_SOURCE: Final = "rejects"


def observed(address: Address, day: date, at_ms: int, reason: str, quota_bytes: int) -> Observation:
    """That from now on this day's rejects of a device are only counted; one id a device and day.

    Args:
        address: whose messages they are.
        day: the district's.
        at_ms: when the first one came that is not kept, ms since the Unix epoch.
        reason: why that one could not be taken in.
        quota_bytes: what is kept of a day.
    """
    return Observation(
        observation_id=str(observation_id(str(address), _SOURCE, 0, day.toordinal())),
        phase="act",
        revision=0,
        category=CATEGORY,
        source=_SOURCE,
        sensor="box",
        started_at=at_ms,
        at=at_ms,
        ended_at=at_ms,
        severity=2,
        detail={"reason": reason, "kept_bytes": quota_bytes},
    )
