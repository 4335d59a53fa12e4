"""Which channels take a notification, when it may disturb somebody, and when it is tried again. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from cloud.calendar.domain import DISTRICT_ZONE

_MOST_WINDOWS: Final = 50


@dataclass(frozen=True, slots=True)
class Notification:
    """A row of what people are to be told.

    Attributes:
        channel: the one channel it is for; empty: all that reach its unit.
        person: who is named; empty: nobody, the unit itself.
        dedupe_key: its reason; the same reason is one notification for ever.
    """

    notification_id: int
    kind: str
    unit_code: str
    person: str
    channel: str
    payload: Mapping[str, Any]
    dedupe_key: str
    created_at: datetime
    due_at: datetime

    @property
    def message_id(self) -> str:
        """What receivers know it by: the same at every try, another for every other reason."""
        return "msg_" + hashlib.sha256(self.dedupe_key.encode()).hexdigest()[:32]

    @property
    def severity(self) -> int | None:
        """How grave its matter is; None where it is about none."""
        found = self.payload.get("severity")
        return found if isinstance(found, int) else None

    @property
    def phone(self) -> str:
        """The callee's."""
        return _text(self.payload.get("phone"))

    @property
    def email(self) -> str:
        """The callee's."""
        return _text(self.payload.get("email"))


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


class ChannelRule(Protocol):
    """What of a channel's settings decides whether a notification goes there."""

    @property
    def name(self) -> str: ...
    @property
    def units(self) -> tuple[str, ...]: ...
    @property
    def kinds(self) -> tuple[str, ...]: ...
    @property
    def min_severity(self) -> int: ...
    def reaches(self, notification: Notification) -> bool:
        """Whether it knows an address for it."""


def takes(channel: ChannelRule, notification: Notification, above: Collection[str]) -> bool:
    """Whether a channel is for a notification.

    Args:
        channel: which.
        notification: what is to be told.
        above: the codes of its unit and of all above it.
    """
    if notification.channel:
        return channel.name == notification.channel and channel.reaches(notification)
    severity = notification.severity
    return (
        (not channel.units or not set(channel.units).isdisjoint(above))
        and (not channel.kinds or notification.kind in channel.kinds)
        and (severity is None or severity >= channel.min_severity)
        and channel.reaches(notification)
    )


class QuietRule(Protocol):
    """A quiet time."""

    @property
    def units(self) -> tuple[str, ...]: ...
    @property
    def persons(self) -> tuple[str, ...]: ...
    @property
    def begins_s(self) -> int: ...
    @property
    def ends_s(self) -> int: ...
    @property
    def except_severity(self) -> int: ...
    @property
    def except_kinds(self) -> tuple[str, ...]: ...


def quiet_until(
    rules: Sequence[QuietRule], notification: Notification, above: Collection[str], now: datetime
) -> datetime | None:
    """When a notification may be sent, where it has to wait; None: at once.

    Quiet times that follow on each other count as one. Those that never leave a minute of the day free would hold
    a notification for ever; after some weeks of them it is let through.
    """
    holding = [rule for rule in rules if _concerns(rule, notification, above)]
    at = now
    for _ in range(_MOST_WINDOWS):
        ends = [end for rule in holding if (end := _end_of_quiet(rule, at)) is not None]
        if not ends:
            break
        at = max(ends)
    return at if at > now else None


def _concerns(rule: QuietRule, notification: Notification, above: Collection[str]) -> bool:
    severity = notification.severity
    if notification.kind in rule.except_kinds or (severity is not None and severity >= rule.except_severity):
        return False
    if rule.persons and notification.person not in rule.persons:
        return False
    return not rule.units or not set(rule.units).isdisjoint(above)


def _end_of_quiet(rule: QuietRule, at: datetime) -> datetime | None:
    local = at.astimezone(DISTRICT_ZONE)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    second = (local - midnight).total_seconds()
    if rule.begins_s < rule.ends_s:
        is_quiet, ends = rule.begins_s <= second < rule.ends_s, midnight
    else:  # over midnight
        is_quiet = second >= rule.begins_s or second < rule.ends_s
        ends = midnight + timedelta(days=1 if second >= rule.begins_s else 0)
    return ends + timedelta(seconds=rule.ends_s) if is_quiet else None


def retry_after_s(attempts: int, first_s: float, longest_s: float, chance: float) -> float:
    """Seconds to wait after so many tries in vain: doubling up to a cap, and by chance somewhat less.

    ``chance`` lies in [0, 1). Receivers that were away are not all knocked at in one moment when they are back.
    """
    return float(min(longest_s, first_s * 2 ** min(attempts - 1, 30)) * (1.0 - chance / 2))


def is_stale(notification: Notification, now: datetime, expire_after_s: float) -> bool:
    """Whether it is too late to tell anybody."""
    since = max(notification.created_at, notification.due_at)
    return now > since + timedelta(seconds=expire_after_s)
