"""The statements about what boxes said of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from common.wire.topics import Address

Connection = psycopg.Connection[Any]
#: Counters come from boxes: what is no number, or no number of anything real, is not shown as one.
_FIGURES = ("clock_offset_ms", "unreceipted", "sensors_silent", "cameras_blind")


@dataclass(frozen=True, slots=True)
class Presence:
    """What is known of one box; None for what it never said.

    ``clock_offset_ms`` is what would have to be added to the box's clock, as the box measured it.
    """

    address: Address
    state: str | None
    seen_at: datetime | None
    silent: bool
    quarantined: bool
    version: str
    clock_offset_ms: float | None
    unreceipted: float | None
    sensors_silent: float | None
    cameras_blind: float | None


def presences(connection: Connection) -> list[Presence]:
    """Every registered box."""
    figures = ", ".join(
        f"CASE WHEN jsonb_typeof(p.counters -> '{name}') = 'number'"
        f" AND abs((p.counters ->> '{name}')::numeric) < 1e15 THEN (p.counters ->> '{name}')::float8 END"
        for name in _FIGURES
    )
    rows = connection.execute(
        "SELECT d.site, d.name, p.state, p.seen_at, p.silent_since IS NOT NULL, d.quarantined_at IS NOT NULL,"  # noqa: S608
        f" coalesce(p.version, ''), {figures}"
        " FROM device d LEFT JOIN device_presence p USING (device_id) ORDER BY d.site, d.name"
    ).fetchall()
    return [Presence(Address(site, name), *rest) for site, name, *rest in rows]
