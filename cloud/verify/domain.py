"""Whether a claim of "resolved" is true, by what the devices saw after it. Pure.

Silence is never "resolved": a device that does not look leaves the ticket waiting, then blind. Then somebody goes there
and takes a photo, which another person accepts. Who reported the matter is asked as well: a no reopens it whatever the
devices saw, and a yes closes what no device can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from cloud.tickets.domain import Ground
from common.runtime.config import Settings

#: Why something is reopened, where looks say so.
A_DEVICE: Final = "a device sees it again"


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
    answer_within_h: Annotated[
        float, Field(gt=0, le=720, description="who reported it is waited for so long; silence is no yes")
    ] = 24.0
    photo_mb: Annotated[float, Field(gt=0, le=50, description="the largest photo that is taken")] = 10.0
    photo_ahead_s: Annotated[
        float, Field(ge=0, le=600, description="how far a telephone's clock may be ahead of ours")
    ] = 60.0


class Verdict(StrEnum):
    """What the looks say."""

    CLEAN = "clean"
    DIRTY = "dirty"
    BLIND = "blind"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who reported the matter and was asked whether it is done; ``satisfied`` is None until they answer."""

    reference: str
    expires_at: datetime
    satisfied: bool | None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What becomes of a claim.

    Attributes:
        verdict: clean closes, dirty reopens, blind calls for a person, wait does nothing.
        ground: of a clean one, by what.
        because: of a dirty one, who says so.
    """

    verdict: Verdict
    ground: Ground | None = None
    because: str = ""


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


def graver(one: Verdict, other: Verdict) -> Verdict:
    """What two looks at one ticket come to: clean only when both are."""
    return max(one, other, key=[Verdict.CLEAN, Verdict.WAIT, Verdict.BLIND, Verdict.DIRTY].index)


def conclude(verdict: Verdict, asked: Sequence[Asked], now: datetime, *, has_devices: bool) -> Conclusion:
    """What the devices' verdict and the reporters' answers come to together.

    A no reopens, whoever else says yes. Nothing closes while an answer is waited for. A clean look closes; a yes closes
    only what no device saw, or none can see now.
    """
    if any(one.satisfied is False for one in asked):
        return Conclusion(Verdict.DIRTY, because="the reporter says it is not done")
    if verdict is Verdict.DIRTY:
        return Conclusion(Verdict.DIRTY, because=A_DEVICE)
    if awaited(asked, now):
        return Conclusion(Verdict.WAIT if verdict is Verdict.CLEAN else verdict)
    if verdict is Verdict.CLEAN:
        return Conclusion(Verdict.CLEAN, Ground.LOOK)
    if any(one.satisfied for one in asked) and (verdict is Verdict.BLIND or not has_devices):
        return Conclusion(Verdict.CLEAN, Ground.CITIZEN)
    return Conclusion(verdict)


def awaited(asked: Sequence[Asked], now: datetime) -> list[Asked]:
    """Those whose answer may still come."""
    return [one for one in asked if one.satisfied is None and one.expires_at > now]


def _is_clean(sighting: Sighting, claimed_at: datetime, settings: VerifySettings) -> bool:
    if sighting.goes_on_at is not None or sighting.last_look is None or sighting.looks < settings.looks:
        return False
    return sighting.last_look >= sighting.since(claimed_at) + timedelta(seconds=settings.settle_s)
