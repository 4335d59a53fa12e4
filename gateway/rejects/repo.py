"""The statements about rejects outside the batches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.fleet.repo import Connection


@dataclass(frozen=True, slots=True)
class Reject:
    """A kept reject; ``sender`` is ``site/device`` or empty."""

    reject_id: int
    received_at: datetime
    sender: str
    topic: str
    reason: str
    message: str
    epoch: int | None
    seq: int | None
    size: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many rejects of one reason and sender are kept."""

    reason: str
    sender: str
    count: int
    newest_id: int
    newest_at: datetime


_COLUMNS = (
    "r.reject_id, r.received_at, coalesce(d.site || '/' || d.name, ''), r.topic, r.reason, r.message, r.epoch,"
    " r.seq, r.size, r.payload"
)


def counts(connection: Connection) -> list[ReasonCount]:
    """What is kept, by reason and sender."""
    rows = connection.execute(
        "SELECT r.reason, coalesce(d.site || '/' || d.name, '') AS sender, count(*), max(r.reject_id),"
        " max(r.received_at) FROM reject r LEFT JOIN device d USING (device_id) GROUP BY 1, 2 ORDER BY 3 DESC"
    ).fetchall()
    return [ReasonCount(*row) for row in rows]


def newest(connection: Connection, reason: str | None, limit: int) -> list[Reject]:
    """The newest rejects, of one reason or of all."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM reject r LEFT JOIN device d USING (device_id)"  # noqa: S608
        " WHERE %s::text IS NULL OR r.reason = %s ORDER BY r.reject_id DESC LIMIT %s",
        [reason, reason, limit],
    ).fetchall()
    return [Reject(*row) for row in rows]


def find(connection: Connection, reject_id: int) -> Reject | None:
    """One reject."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM reject r LEFT JOIN device d USING (device_id) WHERE r.reject_id = %s",  # noqa: S608
        [reject_id],
    ).fetchone()
    return None if row is None else Reject(*row)


def ids(connection: Connection, reason: str | None) -> list[int]:
    """The ids of what is kept, oldest first."""
    rows = connection.execute(
        "SELECT reject_id FROM reject WHERE %s::text IS NULL OR reason = %s ORDER BY reject_id",
        [reason, reason],
    ).fetchall()
    return [row[0] for row in rows]


def take(connection: Connection, reject_id: int) -> Reject | None:
    """A reject, taken out for good if the caller's transaction commits; None when another took it."""
    reject = find(connection, reject_id)
    gone = connection.execute("DELETE FROM reject WHERE reject_id = %s RETURNING 1", [reject_id]).fetchone()
    return reject if gone else None


def partition_of(connection: Connection, site: str, device: str) -> str | None:
    """The partition of a registered device."""
    row = connection.execute(
        "SELECT partition FROM device WHERE site = %s AND name = %s", [site, device]
    ).fetchone()
    return None if row is None else str(row[0])
