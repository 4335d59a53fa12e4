"""What devices saw of a ticket's matter, and how often they have looked since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import DictRow

from cloud.db import Queries, Transaction
from cloud.tickets.domain import channel_of
from cloud.verify.domain import Asked, Sighting

_Q = Queries("cloud.verify")
_LOOKS = {"sensor": "sensor_looks", "camera": "camera_looks", "device": "device_looks"}


def sightings(transaction: Transaction, ticket_id: UUID, claimed_at: datetime) -> list[Sighting]:
    """One for each sensor or camera whose observations stand in the ticket."""
    found = []
    for row in transaction.rows(_Q["sightings"], ticket_id=ticket_id):
        seen = Sighting(row["last_start"], row["goes_on_at"], row["ended_at"], 0, None)
        looks = transaction.one(
            _Q[_LOOKS[channel_of(row["category"])]],
            device_id=row["device_id"],
            sensor=row["sensor"],
            since=seen.since(claimed_at),
        )
        found.append(
            Sighting(seen.last_start, seen.goes_on_at, seen.ended_at, looks["looks"], looks["last_look"])
        )
    return found


def dirty_looks(transaction: Transaction, ticket_id: UUID, claimed_at: datetime, limit: int) -> list[DictRow]:
    """What devices saw of the matter after the claim, the newest first, with its pictures."""
    return transaction.rows(_Q["dirty_looks"], ticket_id=ticket_id, claimed_at=claimed_at, limit=limit)


def is_seen_by_devices(transaction: Transaction, ticket_id: UUID) -> bool:
    """Whether any device saw the matter."""
    return bool(transaction.one(_Q["is_seen_by_devices"], ticket_id=ticket_id)["it"])


def reporters(transaction: Transaction, ticket_id: UUID) -> list[str]:
    """Whom to ask whether it is done, by their reports."""
    return [row["reference"] for row in transaction.rows(_Q["reporters"], ticket_id=ticket_id)]


def asked(transaction: Transaction, ticket_id: UUID, claimed_at: datetime) -> list[Asked]:
    """Who was asked since a claim, and what they said."""
    return [Asked(**row) for row in transaction.rows(_Q["asked"], ticket_id=ticket_id, claimed_at=claimed_at)]


def ask(
    transaction: Transaction,
    ticket_id: UUID,
    claimed_at: datetime,
    references: Sequence[str],
    during: tuple[datetime, datetime],
) -> None:
    """Write down that they are asked now, and until when they are waited for."""
    now, expires_at = during
    common = {"ticket_id": ticket_id, "claimed_at": claimed_at, "now": now, "expires_at": expires_at}
    transaction.run_all(_Q["ask"], [common | {"reference": reference} for reference in references])


def answer(
    transaction: Transaction,
    ticket_id: UUID,
    claimed_at: datetime,
    reference: str,
    *,
    satisfied: bool,
    now: datetime,
) -> None:
    """Write down what one of them said."""
    transaction.run(
        _Q["answer"],
        ticket_id=ticket_id,
        claimed_at=claimed_at,
        reference=reference,
        answer="satisfied" if satisfied else "refused",
        now=now,
    )


@dataclass(frozen=True, slots=True)
class NewPhoto:
    """A photo that was checked: ``lon`` and ``lat`` in WGS-84, ``given_…`` as they came."""

    photo_id: UUID
    ticket_id: UUID
    claimed_at: datetime
    sha256: str
    width: int
    height: int
    lon: float
    lat: float
    given_lon: float
    given_lat: float
    coordinate_system: str
    distance_m: float
    taken_at: datetime
    uploaded_at: datetime
    account_id: UUID
    account_name: str
    note: str


def add_photo(transaction: Transaction, photo: NewPhoto) -> bool:
    """Write a photo down; False: the very same one stands somewhere already."""
    return bool(transaction.run(_Q["insert_photo"], **asdict(photo)))


def photos(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """A ticket's photos, the oldest first."""
    return transaction.rows(_Q["photos"], ticket_id=ticket_id)


def photos_to_accept(
    transaction: Transaction, ticket_id: UUID, claimed_at: datetime, account_id: UUID
) -> list[tuple[UUID, str]]:
    """Photos of a claim that this account may accept, with their hashes."""
    rows = transaction.rows(
        _Q["photos_to_accept"], ticket_id=ticket_id, claimed_at=claimed_at, account_id=account_id
    )
    return [(row["photo_id"], row["sha256"]) for row in rows]


def accept_photos(transaction: Transaction, photo_ids: Sequence[UUID], by: str, now: datetime) -> None:
    """Write down who accepted them."""
    transaction.run(_Q["accept_photos"], photo_ids=list(photo_ids), by=by, now=now)
