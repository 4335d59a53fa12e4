"""What the console reads beside tickets: counts, places, the fleet's state."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cloud.db import Queries, Transaction

Row = dict[str, Any]
_SQL = Queries("cloud.console")


def queue(tx: Transaction) -> Row:
    """How many tickets are open, and of them critical, overdue, without owner."""
    return tx.one(_SQL["queue"])


def open_tickets(tx: Transaction, limit: int) -> list[Row]:
    """Open tickets with their places, the most severe first."""
    return tx.rows(_SQL["open_tickets"], limit=limit)


def counts_by_community(tx: Transaction) -> dict[str, Row]:
    """Open tickets and the worst severity among them, of each community that has any."""
    return {row["unit_code"]: row for row in tx.rows(_SQL["counts_by_community"])}


def devices(tx: Transaction, limit: int) -> list[Row]:
    """Devices with their places and whether they are online."""
    return tx.rows(_SQL["devices"], limit=limit)


def fleet(tx: Transaction) -> Row:
    """Devices, those online, and the age in seconds of the oldest packet without a receipt."""
    return tx.one(_SQL["fleet"])


def packets_last_minute(tx: Transaction, now: datetime) -> int | None:
    """Packets that boxes counted as receipted within a minute; None when none of them told."""
    packets = tx.one(_SQL["packets_last_minute"], now=now, since=now - timedelta(minutes=1))["packets"]
    return None if packets is None else int(packets)


def recent_incidents(tx: Transaction, limit: int) -> list[Row]:
    """The incidents last heard of."""
    return tx.rows(_SQL["recent_incidents"], limit=limit)


def observations(tx: Transaction, ticket_id: UUID, limit: int) -> list[Row]:
    """What was observed about a ticket's incidents, the latest first."""
    return tx.rows(_SQL["observations"], ticket_id=ticket_id, limit=limit)
