"""What devices saw of a ticket's matter, and how often they have looked since."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from cloud.db import Queries, Transaction
from cloud.tickets.domain import channel_of
from cloud.verify.domain import Sighting

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
