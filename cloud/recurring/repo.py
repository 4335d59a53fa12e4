"""Stretches, bands, counts of acts and recurring places in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from cloud.db import Queries, Transaction
from cloud.incidents.domain import Device
from cloud.recurring.domain import Band, Rate, RecurringRule, Stretch
from cloud.verify.domain import Verdict

_Q = Queries("cloud.recurring")
#: A camera: its box and its name there.
Camera = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a district says of recurring places."""

    rules: tuple[RecurringRule, ...]
    bands: tuple[Band, ...]
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Counting:
    """What is counted: acts of a category within a band, between two instants."""

    category: str
    band: Band
    since: datetime
    until: datetime

    def values(self) -> dict[str, Any]:
        """As the statements take it."""
        return {
            "category": self.category,
            "since": self.since,
            "until": self.until,
            "days": list(self.band.days),
            "begins": [begin for begin, _ in self.band.hours],
            "ends": [end for _, end in self.band.hours],
        }


@dataclass(frozen=True, slots=True)
class Place:
    """A ticket's recurring place, as it was opened and as it was last measured."""

    ticket_id: UUID
    category: str
    stretch: Stretch
    band: Band
    rule: RecurringRule
    cameras: tuple[Camera, ...]
    worst: tuple[Mapping[str, Any], ...]
    opened_upon: Rate
    claimed_at: datetime | None = None
    measured_at: datetime | None = None
    before: Rate | None = None
    after: Rate | None = None
    verdict: Verdict | None = None


def store(transaction: Transaction, plan: Plan) -> None:
    """Write a district's stretches, bands and rules anew."""
    for name in ("clear_stretches", "clear_bands", "clear_rules"):
        transaction.run(_Q[name])
    transaction.run_all(
        _Q["store_stretch"],
        [
            asdict(one)
            | {
                "position": position,
                "points": Jsonb([list(point) for point in one.points]),
                "cameras": list(one.cameras),
            }
            for position, one in enumerate(plan.stretches, start=1)
        ],
    )
    transaction.run_all(
        _Q["store_band"],
        [
            asdict(one)
            | {
                "position": position,
                "days": list(one.days),
                "hours": Jsonb([list(span) for span in one.hours]),
            }
            for position, one in enumerate(plan.bands, start=1)
        ],
    )
    transaction.run_all(
        _Q["store_rule"],
        [
            asdict(one) | {"position": position, "bands": list(one.bands)}
            for position, one in enumerate(plan.rules, start=1)
        ],
    )


def plan(transaction: Transaction) -> Plan:
    """What the district says."""
    return Plan(
        tuple(_rule(row) for row in transaction.rows(_Q["rules"])),
        tuple(Band.from_snapshot(row) for row in transaction.rows(_Q["bands"])),
        tuple(
            Stretch(
                **row
                | {
                    "points": tuple((float(lon), float(lat)) for lon, lat in row["points"]),
                    "cameras": tuple(row["cameras"]),
                }
            )
            for row in transaction.rows(_Q["stretches"])
        ),
    )


def devices(transaction: Transaction, category: str, since: datetime) -> list[tuple[Device, tuple[str, str]]]:
    """The devices that saw acts of a category since then, each with its two titles."""
    return [
        (
            Device(row["device_id"], row["site"], row["name"], row["lon"], row["lat"]),
            (row["title_zh"], row["title_en"]),
        )
        for row in transaction.rows(_Q["devices"], category=category, since=since)
    ]


def acts(transaction: Transaction, counting: Counting, devices: Sequence[int]) -> dict[Camera, int]:
    """How many acts each camera of some devices saw; who saw none is not there."""
    rows = transaction.rows(_Q["acts"], devices=list(devices), **counting.values())
    return {(row["device_id"], row["sensor"]): int(row["acts"]) for row in rows}


def rate(transaction: Transaction, counting: Counting, cameras: Sequence[Camera]) -> Rate:
    """How often the acts were done before some cameras, by the hour looked."""
    seen = acts(transaction, counting, sorted({device_id for device_id, _ in cameras}))
    values = counting.values()
    del values["category"]
    looked = transaction.one(
        _Q["looked"],
        **values,
        devices=[device_id for device_id, _ in cameras],
        sensors=[sensor for _, sensor in cameras],
    )
    return Rate(
        counting.since,
        counting.until,
        sum(seen.get(camera, 0) for camera in cameras),
        float(looked["looked_s"]),
        counting.band.seconds(counting.since, counting.until) * len(cameras),
    )


def worst(transaction: Transaction, counting: Counting, devices: Sequence[int], limit: int) -> list[DictRow]:
    """The worst acts, those with pictures first."""
    return transaction.rows(_Q["worst"], devices=list(devices), limit=limit, **counting.values())


def link(transaction: Transaction, ticket_id: UUID, incidents: Sequence[UUID], now: datetime) -> None:
    """Put the hours of the worst acts into the ticket, those that stand in none."""
    transaction.run(_Q["link"], ticket_id=ticket_id, incidents=list(incidents), now=now)


def last_closed(transaction: Transaction, matter_id: int) -> datetime | None:
    """When the last ticket of a matter ended."""
    at: datetime | None = transaction.one(_Q["last_closed"], matter_id=matter_id)["closed_at"]
    return at


def insert(transaction: Transaction, place: Place) -> None:
    """Write what a ticket was opened upon."""
    stretch = place.stretch
    transaction.run(
        _Q["insert"],
        ticket_id=place.ticket_id,
        category=place.category,
        stretch=stretch.code,
        stretch_zh=stretch.name_zh,
        stretch_en=stretch.name_en,
        band=Jsonb(place.band.snapshot()),
        rule=Jsonb(asdict(place.rule)),
        cameras=Jsonb([list(camera) for camera in place.cameras]),
        worst=Jsonb(list(place.worst)),
        opened_upon=Jsonb(place.opened_upon.snapshot()),
    )


def measured(
    transaction: Transaction, ticket_id: UUID, rates: tuple[Rate, Rate], verdict: Verdict, now: datetime
) -> None:
    """Write what was measured of a claim: before it and after it."""
    before, after = rates
    transaction.run(
        _Q["measured"],
        ticket_id=ticket_id,
        claimed_at=after.since,
        before=Jsonb(before.snapshot()),
        after=Jsonb(after.snapshot()),
        verdict=verdict.value,
        now=now,
    )


def place(transaction: Transaction, ticket_id: UUID) -> Place | None:
    """A ticket's recurring place; None where it is about something else."""
    row = transaction.row(_Q["place"], ticket_id=ticket_id)
    return None if row is None else _place(row)


def places(
    transaction: Transaction,
    *,
    is_open: bool | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[tuple[Place, DictRow]]:
    """Recurring places with their tickets, the newest first."""
    before_at, before_id = before or (None, None)
    rows = transaction.rows(_Q["list"], open=is_open, before_at=before_at, before_id=before_id, limit=limit)
    return [(_place(row), row) for row in rows]


def _place(row: Mapping[str, Any]) -> Place:
    return Place(
        row["ticket_id"],
        row["category"],
        Stretch(row["stretch"], row["stretch_zh"], row["stretch_en"]),
        Band.from_snapshot(row["band"]),
        _rule(row["rule"]),
        tuple((int(device_id), str(sensor)) for device_id, sensor in row["cameras"]),
        tuple(row["worst"]),
        Rate.from_snapshot(row["opened_upon"]),
        row["claimed_at"],
        row["measured_at"],
        None if row["before"] is None else Rate.from_snapshot(row["before"]),
        None if row["after"] is None else Rate.from_snapshot(row["after"]),
        None if row["verdict"] is None else Verdict(row["verdict"]),
    )


def _rule(row: Mapping[str, Any]) -> RecurringRule:
    return RecurringRule(**{**row, "bands": tuple(row["bands"])})
