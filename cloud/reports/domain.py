"""What a report is, when it is about a matter that is known already, and how sure that is. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, get_args
from uuid import UUID

from pydantic import Field

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.geometry import distance_m
from common.runtime.config import Settings
from common.runtime.errors import InvalidError
from common.wire.categories import BY_CODE

ReportChannel = Literal["hotline", "citizen", "grid", "leader", "other"]
REPORT_CHANNELS: Final[tuple[ReportChannel, ...]] = get_args(ReportChannel)

#: Clocks of phones and of other systems are off by a little; more is a mistake.
_AHEAD: Final = timedelta(minutes=5)


class ReportSettings(Settings):
    """How reports are taken in, joined and kept."""

    attach_within_h: Annotated[
        float,
        Field(gt=0, description="a ticket of one device's view is joined when it was opened within so long"),
    ] = 24.0
    suggest_radius_m: Annotated[
        float, Field(gt=0, le=5000, description="how far to look for kin tickets")
    ] = 300.0
    suggest_within_h: Annotated[
        float, Field(gt=0, description="how far apart in time a report and a ticket may be to be suggested")
    ] = 72.0
    suggest_from: Annotated[float, Field(ge=0, le=1, description="the score from which one is suggested")] = (
        0.4
    )
    personal_days: Annotated[
        float, Field(ge=0, description="name, phone and e-mail are deleted so long after the closing")
    ] = 30.0
    repeats_h: Annotated[float, Field(gt=0, description="how long an Idempotency-Key is remembered")] = 72.0
    public_per_minute: Annotated[
        int, Field(ge=1, description="requests that an address may send to the public pages in a minute")
    ] = 30
    photo_mb: Annotated[float, Field(gt=0, le=50, description="the largest photo that is taken")] = 10.0
    photos: Annotated[int, Field(ge=0, le=10, description="so many with one report")] = 3


#: Matters that people tell apart less well than devices do: a report of one may be about another of its group.
KIN: Final[tuple[frozenset[str], ...]] = (
    frozenset(
        {"flood.water_level", "camera.standing_water", "manhole.water_high", "rain.intense", "water.burst"}
    ),
    frozenset({"smoke.alarm", "camera.smoke", "camera.fire"}),
    frozenset({"camera.fire_lane_blocked", "camera.zone_occupied", "street.parking", "street.stall"}),
    frozenset({"camera.zone_crowded", "street.stall"}),
    frozenset({"camera.rubbish_overflow", "street.rubbish"}),
    frozenset({"manhole.open", "road.damaged"}),
    frozenset({"building.tilt", "building.crack"}),
    frozenset({"road.blocked", "green.tree_down", "street.parking"}),
)


def is_reportable(code: str) -> bool:
    """Whether people report matters of a category: something that lasts, and none of our own devices' troubles."""
    category = BY_CODE.get(code)
    return category is not None and category.kind == "condition" and not code.startswith("device.")


def kinship(one: str, other: str) -> float:
    """How near two categories are: 1 the same, 0.7 of one group, 0.4 of one family, 0 strangers."""
    if one == other:
        return 1.0
    if any(one in group and other in group for group in KIN):
        return 0.7
    family = one.partition(".")[0]
    # What a camera or a box sees has nothing in common but the eye.
    same = family == other.partition(".")[0] and family not in {"camera", "device"}
    return 0.4 if same else 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """Where, when and of what a report is; WGS-84 degrees."""

    category: str
    lon: float
    lat: float
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class OpenTicket:
    """An open ticket near a report.

    ``last_at`` is when something was last told or seen of it.
    """

    ticket_id: UUID
    category: str
    lon: float
    lat: float
    opened_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An open ticket that a report may be about, and why it looks so."""

    ticket_id: UUID
    score: float
    distance_m: float
    apart_s: float
    kinship: float


def suggestion(told: Told, ticket: OpenTicket, settings: ReportSettings) -> Suggestion:
    """How likely a report is about an open ticket's matter: nearness in place, in time, and in kind, multiplied.

    Each falls in a straight line: place from 1 where it is to 0.2 at the radius, time from 1 while the ticket
    goes on to 0.2 at the longest time apart; a score of 1 is the same kind of matter, there, then.
    """
    away = distance_m(told.lon, told.lat, ticket.lon, ticket.lat)
    apart = max(
        (ticket.opened_at - told.occurred_at).total_seconds(),
        (told.occurred_at - ticket.last_at).total_seconds(),
        0.0,
    )
    kin = kinship(told.category, ticket.category)
    near = _falling(away, settings.suggest_radius_m)
    soon = _falling(apart, settings.suggest_within_h * 3600)
    return Suggestion(ticket.ticket_id, round(near * soon * kin, 4), away, apart, kin)


def suggestions(told: Told, tickets: Iterable[OpenTicket], settings: ReportSettings) -> list[Suggestion]:
    """Those worth a look, the likeliest first."""
    found = (suggestion(told, ticket, settings) for ticket in tickets)
    worth = [one for one in found if one.score >= settings.suggest_from]
    return sorted(worth, key=lambda one: (-one.score, one.ticket_id))


def certain(
    told: Told, tickets: Sequence[OpenTicket], radius_m: float, settings: ReportSettings
) -> UUID | None:
    """The open ticket that a report is about for certain: of the same category, within its radius and in time.

    The nearest; of two equally near the older one.
    """
    longest_s = settings.attach_within_h * 3600
    fitting = [
        (one.distance_m, ticket.opened_at, ticket.ticket_id)
        for ticket in tickets
        if ticket.category == told.category
        and (one := suggestion(told, ticket, settings)).distance_m <= radius_m
        and one.apart_s <= longest_s
    ]
    return min(fitting)[2] if fitting else None


def _falling(value: float, longest: float) -> float:
    return 0.0 if value > longest else 1.0 - 0.8 * value / longest


def check_time(occurred_at: datetime, now: datetime) -> datetime:
    """When it happened; what lies a little ahead of our clock is taken for now.

    Raises:
        InvalidError: when it lies in the future.
    """
    if occurred_at > now + _AHEAD:
        raise InvalidError(
            "report.in_the_future",
            f"expected a time that has come, got {occurred_at.isoformat()}; here it is {now.isoformat()}",
            "set the clock of the sender, and say the zone",
        )
    return min(occurred_at, now)


def receipt_number(received_at: datetime, random: bytes) -> str:
    """``R-YYYYMMDD-XXXXXXXX`` by the district's day, of five random bytes: not to be counted or guessed."""
    tail = base64.b32encode(random[:5]).decode()
    return f"R-{received_at.astimezone(DISTRICT_ZONE):%Y%m%d}-{tail}"


def secret_for(key: str, salt: bytes) -> str:
    """The secret that a reporter is given: the same again for a request that comes again, unknown without its key."""
    digest = hmac.digest(salt, b"receipt\0" + key.encode(), "sha256")
    return base64.b32encode(digest[:15]).decode()


def hash_of(secret: str) -> bytes:
    """What of a secret or a key is kept."""
    return hashlib.sha256(secret.encode()).digest()


def mac_of(key: str, body: bytes) -> bytes:
    """What of a body is kept, so that another one under the same key is noticed and none can be guessed from it."""
    return hmac.digest(key.encode(), b"body\0" + body, "sha256")
