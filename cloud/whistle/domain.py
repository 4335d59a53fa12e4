"""Whether somebody is really there, and what may be agreed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import Field

from cloud.geometry import distance_m
from common.runtime.config import Settings
from common.runtime.errors import InvalidError

#: What a conference agrees is due within this time; later than that is a plan, not a promise.
LONGEST: Final = timedelta(days=366)


class WhistleSettings(Settings):
    """What counts as being there, and how often somebody is told that nobody came."""

    arrive_within_m: Annotated[
        float, Field(ge=10, le=5000, description="how near the ticket's place is there")
    ] = 150.0
    ahead_s: Annotated[
        float, Field(ge=0, le=600, description="how far a telephone's clock may be ahead of ours")
    ] = 60.0
    told_within_s: Annotated[
        float, Field(ge=0, le=86_400, description="so long after it an arrival may still be reported")
    ] = 900.0
    again_h: Annotated[
        float, Field(ge=0.1, le=720, description="what was missed goes one step further up so much later")
    ] = 24.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A unit says that it is there: where, in WGS-84 degrees, and since when."""

    lon: float
    lat: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Promise:
    """Who owes what by when."""

    unit_code: str
    what: str
    due_at: datetime


def check_arrival(
    arrival: Arrival,
    ticket_at: tuple[float, float],
    called_at: datetime,
    now: datetime,
    settings: WhistleSettings,
) -> float:
    """How far from the ticket's place somebody is who says to be there, in metres.

    Raises:
        InvalidError: too far away, before it was called, in the future, or told too late to be believed.
    """
    if arrival.at > now + timedelta(seconds=settings.ahead_s):
        raise InvalidError(
            "whistle.in_future",
            f"expected an arrival that has been, got one at {arrival.at.isoformat()}",
            "set the telephone's clock, and give its zone with the time",
        )
    if arrival.at < called_at:
        raise InvalidError(
            "whistle.before_call",
            f"expected an arrival after the call at {called_at.isoformat()}, got {arrival.at.isoformat()}",
            "leave the time out to report an arrival now",
        )
    if arrival.at < now - timedelta(seconds=settings.told_within_s):
        raise InvalidError(
            "whistle.told_late",
            f"expected an arrival of the last {settings.told_within_s / 60:.0f} minutes, got one at"
            f" {arrival.at.isoformat()}",
            "an arrival is reported there and then; leave the time out to report it now",
        )
    distance = distance_m(*ticket_at, arrival.lon, arrival.lat)
    if not distance <= settings.arrive_within_m:
        raise InvalidError(
            "whistle.elsewhere",
            f"expected to be within {settings.arrive_within_m:.0f} m of the ticket, got {distance:.0f} m",
            "report it there; if the telephone gives GCJ-02 positions, say so in coordinate_system",
        )
    return distance


def check_conference(
    held_at: datetime,
    present: Sequence[str],
    promises: Sequence[Promise],
    units: Collection[str],
    now: datetime,
) -> None:
    """Whether a conference can have been held so, and whether each promise can be kept.

    Raises:
        InvalidError: held in the future, with or by units that there are not, or a promise that is due before it was
            made or beyond a year.
    """
    if held_at > now:
        raise InvalidError(
            "whistle.conference_in_future",
            f"expected a conference that was held, got one at {held_at.isoformat()}",
            "write it down once it was held",
        )
    for code in (*present, *(promise.unit_code for promise in promises)):
        if code not in units:
            raise InvalidError(
                "ticket.unknown_unit", f"expected the code of a unit, got {code!r}, which is none"
            )
    for promise in promises:
        if not now < promise.due_at <= now + LONGEST:
            raise InvalidError(
                "whistle.bad_date",
                f"expected a date to come within a year for {promise.what[:60]!r}, got {promise.due_at.isoformat()}",
                "say by when it is owed",
            )
