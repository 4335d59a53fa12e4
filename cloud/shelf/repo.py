"""Alarms on the shelf in the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cloud.db import Queries, Transaction

_Q = Queries("cloud.shelf")


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a box raises: a category by a sensor."""

    device_id: int
    site: str
    device: str
    category: str
    sensor: str
    device_zh: str
    device_en: str
    category_zh: str
    category_en: str

    @property
    def key(self) -> str:
        """What a form names it by."""
        return f"{self.device_id} {self.category} {self.sensor}"


@dataclass(frozen=True, slots=True)
class Shelved:
    """An alarm on the shelf; without a sensor it is the category's, whatever sensor of the box raises it."""

    quiet_id: int
    site: str
    device: str
    category: str
    sensor: str | None
    until_at: datetime
    reason: str
    who: str

    def holds(self, alarm: Alarm) -> bool:
        """Whether it is this alarm that lies there."""
        place = (alarm.site, alarm.device, alarm.category)
        return place == (self.site, self.device, self.category) and self.sensor in {None, alarm.sensor}


def whose(transaction: Transaction, ticket_id: UUID) -> tuple[str | None, str | None] | None:
    """A ticket's owner and the grid it lies in; None where there is no such ticket."""
    row = transaction.row(_Q["whose"], ticket_id=ticket_id)
    return None if row is None else (row["unit_code"], row["grid_code"])


def alarms(transaction: Transaction, ticket_id: UUID) -> list[Alarm]:
    """What was seen of a ticket, each alarm once."""
    return [Alarm(**row) for row in transaction.rows(_Q["alarms"], ticket_id=ticket_id)]


def on_the_shelf(transaction: Transaction, alarms: Collection[Alarm], now: datetime) -> list[Shelved]:
    """Which of these alarms are on the shelf, the soonest off first."""
    boxes = sorted({(alarm.site, alarm.device) for alarm in alarms})
    rows = transaction.rows(
        _Q["on_the_shelf"],
        sites=[site for site, _ in boxes],
        devices=[device for _, device in boxes],
        now=now,
    )
    found = [Shelved(**row) for row in rows]
    return [one for one in found if any(one.holds(alarm) for alarm in alarms)]


def put(
    transaction: Transaction, alarm: Alarm, now: datetime, until: datetime, *, reason: str, who: str
) -> int:
    """Put an alarm on the shelf; the number of it."""
    row = transaction.one(
        _Q["put"],
        site=alarm.site,
        device=alarm.device,
        category=alarm.category,
        sensor=alarm.sensor,
        now=now,
        until=until,
        reason=reason,
        who=who,
    )
    return int(row["quiet_id"])


def take_off(transaction: Transaction, quiet_id: int, who: str, now: datetime) -> bool:
    """End it; whether it was still there."""
    return bool(transaction.run(_Q["take_off"], quiet_id=quiet_id, who=who, now=now))
