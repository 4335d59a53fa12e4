"""Finding recurring places and opening their tickets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from cloud.db import Database, Transaction
from cloud.db.database import take_locks
from cloud.incidents import repo as incident_repo
from cloud.incidents.domain import Device, lock_names
from cloud.recurring import repo
from cloud.recurring.domain import Band, Rate, RecurringRule, Stretch, bands_of, exceeds, scope_of, stretch_of
from cloud.recurring.repo import Camera, Counting, Place
from cloud.tickets.domain import channel_of
from cloud.tickets.opening import Opening, lock_open_ticket, open_ticket
from common.wire.categories import BY_CODE

_WORST: Final = 6
_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Stands:
    """A stretch and the devices on it that saw something."""

    stretch: Stretch
    devices: list[Device] = field(default_factory=list)


class RecurringWatch:
    """The sweeper's part: counts now and then, and opens what passes its limit.

    Args:
        database: where acts, books and tickets are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next: datetime | None = None

    def look(self, now: datetime) -> int:
        """Count, if it is time; how many tickets were opened.

        Raises:
            TransientError: when the database is away.
        """
        if self._next is not None and now < self._next:
            return 0
        self._next = now + timedelta(seconds=_EVERY_S)
        return open_recurring(self._database, now)


def open_recurring(database: Database, now: datetime) -> int:
    """Open a ticket for each stretch and band whose rate passes its limit and that has none; how many.

    Raises:
        TransientError: when the database is away.
    """
    with database.transaction() as transaction:
        plan = repo.plan(transaction)
        seen = {
            rule.category: repo.devices(transaction, rule.category, now - timedelta(seconds=rule.over_s))
            for rule in plan.rules
        }
    opened = 0
    for rule in plan.rules:
        stands: dict[str, _Stands] = {}
        for device, names in seen[rule.category]:
            stretch = stretch_of(device, names, plan.stretches)
            stands.setdefault(stretch.code, _Stands(stretch)).devices.append(device)
        for one in stands.values():
            for band in bands_of(rule, plan.bands):
                with database.transaction() as transaction:
                    opened += _look(transaction, rule, one, band, now)
    return opened


def _look(transaction: Transaction, rule: RecurringRule, stands: _Stands, band: Band, now: datetime) -> bool:
    """Look at one stretch in one band, behind the lock of its matter."""
    scope = scope_of(stands.stretch, band)
    since = now - timedelta(seconds=rule.over_s)
    take_locks(transaction, lock_names(rule.category, scope, 0.0, 0.0, 0.0))
    matter = incident_repo.matter_of_scope(transaction, rule.category, scope)
    if matter is not None:
        if lock_open_ticket(transaction, matter.matter_id) is not None:
            return False
        # What was before the last ticket's end was that ticket's matter.
        since = max(since, repo.last_closed(transaction, matter.matter_id) or since)
    counting = Counting(rule.category, band, since, now)
    by_camera = repo.acts(transaction, counting, [device.device_id for device in stands.devices])
    if sum(by_camera.values()) < rule.least_acts:
        return False
    cameras = tuple(sorted(by_camera))
    rate = repo.rate(transaction, counting, cameras)
    if not exceeds(rule, rate):
        return False
    busiest = _busiest(by_camera, stands)
    if matter is None:
        at = busiest.lon, busiest.lat
        matter = incident_repo.new_matter(transaction, rule.category, scope, at, now)
    opening = Opening(
        matter.matter_id,
        rule.category,
        channel_of(rule.category),
        BY_CODE[rule.category].severity,
        busiest.lon,
        busiest.lat,
        _told(stands.stretch, band, rate, rule),
    )
    ticket = open_ticket(transaction, opening, now)
    place = Place(ticket.ticket_id, rule.category, stands.stretch, band, rule, cameras, (), rate)
    _attach(transaction, place, counting)
    return True


def _busiest(by_camera: Mapping[Camera, int], stands: _Stands) -> Device:
    """Where most was seen: there somebody goes first."""
    by_device: dict[int, int] = {}
    for (device_id, _), acts in by_camera.items():
        by_device[device_id] = by_device.get(device_id, 0) + acts
    return max(stands.devices, key=lambda device: (by_device.get(device.device_id, 0), -device.device_id))


def _attach(transaction: Transaction, place: Place, counting: Counting) -> None:
    """The evidence of the worst acts, and what the ticket was opened upon."""
    found = repo.worst(transaction, counting, sorted({device_id for device_id, _ in place.cameras}), _WORST)
    repo.link(transaction, place.ticket_id, [row["incident_id"] for row in found], counting.until)
    worst = tuple(
        {name: row[name] for name in ("device", "device_zh", "device_en", "sensor", "severity", "count")}
        | {"at": row["started_at"].isoformat(), "evidence": row["evidence"]}
        for row in found
    )
    repo.insert(transaction, replace(place, worst=worst))


def _told(stretch: Stretch, band: Band, rate: Rate, rule: RecurringRule) -> dict[str, Any]:
    """What the history says of the reason."""
    return {
        "recurring": {
            "stretch": stretch.code,
            "stretch_zh": stretch.name_zh,
            "stretch_en": stretch.name_en,
            "band": band.name,
            "limit_per_h": rule.per_h,
            **rate.snapshot(),
        }
    }
