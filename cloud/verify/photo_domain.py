"""Whether a person's photo can prove that a matter is done: by its place and its time. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from cloud.geometry import distance_m
from common.runtime.errors import InvalidError


def check_place(ticket_at: tuple[float, float], photo_at: tuple[float, float], radius_m: float) -> float:
    """How far from its matter a photo was taken, in metres.

    Args:
        ticket_at: longitude and latitude, WGS-84 degrees.
        photo_at: the same.
        radius_m: how far a matter of this category reaches.

    Raises:
        InvalidError: it was taken somewhere else.
    """
    distance = distance_m(*ticket_at, *photo_at)
    if not distance <= radius_m:
        raise InvalidError(
            "photo.elsewhere",
            f"expected a photo taken within {radius_m:.0f} m of the matter, got one {distance:.0f} m away",
            "take it there; if the telephone gives GCJ-02 positions, say so in coordinate_system",
        )
    return distance


def check_time(taken_at: datetime, claimed_at: datetime, now: datetime, ahead_s: float) -> None:
    """Whether a photo was taken after it was claimed that the matter is done.

    Raises:
        InvalidError: before the claim, or in the future.
    """
    if taken_at > now + timedelta(seconds=ahead_s):
        raise InvalidError(
            "photo.in_future",
            f"expected a photo that was taken already, got one of {taken_at.isoformat()}",
            "set the telephone's clock, and give its zone with the time",
        )
    if taken_at < claimed_at:
        raise InvalidError(
            "photo.before_claim",
            f"expected a photo taken after {claimed_at.isoformat()}, when it was said to be done, got one of"
            f" {taken_at.isoformat()}",
            "what was so before proves nothing: take another one now",
        )
