"""Whether a claim of "resolved" is true, by what the devices saw after it. Pure.

Silence is never "resolved": a device that does not look leaves the ticket waiting, then blind, which only a
supervisor's word can end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from common.runtime.config import Settings


class VerifySettings(Settings):
    """What counts as having looked again."""

    looks: Annotated[int, Field(ge=1, description="clean looks of each device that raised the ticket")] = 3
    settle_s: Annotated[
        float, Field(ge=0, description="so long after claim and end must the last look lie")
    ] = 20.0
    grace_s: Annotated[
        float, Field(ge=0, description="a condition may go on so long after the claim, to drain or clear")
    ] = 60.0
    blind_after_s: Annotated[float, Field(gt=0, description="no look for so long: a person must")] = 600.0


class Verdict(StrEnum):
    """What the looks say."""

    CLEAN = "clean"
    DIRTY = "dirty"
    BLIND = "blind"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one sensor or camera saw of the matter.

    Attributes:
        last_start: when its latest observation began.
        goes_on_at: the latest capture of an observation that has not ended; None when all have.
        ended_at: the latest end.
        looks: how many valid looks were captured after ``since``.
        last_look: the latest of them.
    """

    last_start: datetime
    goes_on_at: datetime | None
    ended_at: datetime | None
    looks: int
    last_look: datetime | None

    def since(self, claimed_at: datetime) -> datetime:
        """Looks count from the claim, and from the end of what was seen."""
        return max(claimed_at, self.ended_at or claimed_at)


def decide(
    sightings: Sequence[Sighting], claimed_at: datetime, now: datetime, settings: VerifySettings
) -> Verdict:
    """What to do with a claim.

    Dirty: something began after the claim, or still goes on after the grace by a capture or a look made after
    it. Clean: everything ended, and every device that saw the matter has since looked often and late enough.
    """
    grace_ends = claimed_at + timedelta(seconds=settings.grace_s)
    for sighting in sightings:
        if sighting.last_start > claimed_at:
            return Verdict.DIRTY
        if sighting.goes_on_at is not None:
            newest = max(sighting.goes_on_at, sighting.last_look or sighting.goes_on_at)
            if newest > grace_ends:
                return Verdict.DIRTY
    if sightings and all(_is_clean(sighting, claimed_at, settings) for sighting in sightings):
        return Verdict.CLEAN
    if now >= claimed_at + timedelta(seconds=settings.blind_after_s):
        return Verdict.BLIND
    return Verdict.WAIT


def _is_clean(sighting: Sighting, claimed_at: datetime, settings: VerifySettings) -> bool:
    if sighting.goes_on_at is not None or sighting.last_look is None or sighting.looks < settings.looks:
        return False
    return sighting.last_look >= sighting.since(claimed_at) + timedelta(seconds=settings.settle_s)
