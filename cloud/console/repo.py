"""What the console reads beside tickets: counts, places, the fleet's state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cloud.db import Queries, Transaction

Row = dict[str, Any]
_SQL = Queries("cloud.console")
_CRITICAL = 4


@dataclass(frozen=True, slots=True)
class Standing:
    """Open tickets, counted.

    Attributes:
        queue: how many are ``open``, and of them ``critical``, ``overdue``, ``unassigned``.
        communities: how many are ``open`` and the ``worst`` severity, of each community that has any.
    """

    queue: Row
    communities: dict[str, Row]


def standing(tx: Transaction) -> Standing:
    """How many tickets are open, and where."""
    queue: Row = dict.fromkeys(("open", "critical", "unassigned", "overdue"), 0)
    communities: dict[str, Row] = {}
    for row in tx.rows(_SQL["standing"]):
        for name in ("open", "unassigned", "overdue"):
            queue[name] += row[name]
        queue["critical"] += row["open"] if row["severity"] == _CRITICAL else 0
        if row["unit_code"] is not None:
            there = communities.setdefault(row["unit_code"], {"open": 0, "worst": 0})
            there["open"] += row["open"]
            there["worst"] = max(there["worst"], row["severity"])
    return Standing(queue, communities)


def drawn_from(tx: Transaction) -> str:
    """Changes with the units and what is drawn under them."""
    return str(tx.one(_SQL["drawn_from"])["it"])


def open_tickets(tx: Transaction, limit: int) -> list[Row]:
    """Open tickets with their places, the most severe first."""
    return tx.rows(_SQL["open_tickets"], limit=limit)


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
