"""The statements with which the doctor looks at leases, boxes and rejects."""

from __future__ import annotations

from dataclasses import dataclass

from common.schema.doctor import Connection


@dataclass(frozen=True, slots=True)
class LeaseState:
    """One partition: who has it, since when, and for how many seconds nothing was taken in (None: never told)."""

    partition: str
    holder: str | None
    is_held: bool
    held_s: float | None
    listening_s: float | None
    silent_s: float | None
    devices: int


def is_of_release(connection: Connection) -> bool:
    """Whether the tables that are looked at are there."""
    row = connection.execute("SELECT to_regclass('worker_heartbeat') IS NOT NULL").fetchone()
    return bool(row and row[0])


def leases(connection: Connection) -> list[LeaseState]:
    """Every partition that has a lease, or devices."""
    rows = connection.execute(
        "SELECT p.partition, l.holder, coalesce(l.expires_at > clock_timestamp(), false),"
        " extract(epoch FROM clock_timestamp() - l.acquired_at)::float8,"
        " extract(epoch FROM clock_timestamp() - l.listening_since)::float8,"
        " extract(epoch FROM clock_timestamp() - l.working_at)::float8,"
        " (SELECT count(*) FROM device d WHERE d.partition = p.partition)"
        " FROM (SELECT partition FROM partition_lease UNION SELECT partition FROM device) p"
        " LEFT JOIN partition_lease l USING (partition) ORDER BY 1"
    ).fetchall()
    return [LeaseState(*row) for row in rows]


def rejects_of_day(connection: Connection) -> list[tuple[str, int]]:
    """Why messages of the last 24 hours could not be taken in, and how many, the most frequent first."""
    return connection.execute(
        "SELECT reason, count(*) FROM reject WHERE received_at > now() - interval '24 hours' GROUP BY 1 ORDER BY 2 DESC"
    ).fetchall()


def rejects_not_kept(connection: Connection) -> list[str]:
    """``site/box`` of each device of which more was rejected today or yesterday than its quota keeps, the worst first."""
    rows = connection.execute(
        "SELECT d.site || '/' || d.name FROM reject_day r JOIN device d USING (device_id)"
        " WHERE r.dropped > 0 AND r.day >= (now() AT TIME ZONE 'Asia/Shanghai')::date - 1"
        " GROUP BY 1 ORDER BY sum(r.dropped) DESC, 1"
    ).fetchall()
    return [row[0] for row in rows]
