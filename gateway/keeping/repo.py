"""The statements of retention. Every function works in the caller's transaction."""

from __future__ import annotations

from typing import Final

from gateway.fleet.repo import Connection
from gateway.rollups.dirty import Range

#: Hypertables whose chunks are dropped when they are too old, with what is kept in them.
HYPERTABLES: Final = {
    "readings": "reading",
    "minutes": "reading_minute",
    "hours": "reading_hour",
    "observations": "observation",
    "statuses": "device_status",
}
WORKER_LOCK: Final = (
    7_119_417_020  # "Drumtower keeps house"; held by the session of the one gateway that does
)
#: How long dropping may wait for whoever reads (a backup), since whoever writes waits behind it.
_PATIENCE: Final = "SET LOCAL lock_timeout = '3s'"


def lock_worker(connection: Connection) -> bool:
    """Whether this session keeps house from now on; another gateway's session may."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [WORKER_LOCK]).fetchone()
    return bool(row and row[0])


def note_retention(connection: Connection, readings_days: float) -> None:
    """Write down how long readings are kept from now on, and since when none can be missing by the old answer."""
    connection.execute(
        "UPDATE keeping SET readings_days = %s, raw_since ="
        " greatest(raw_since, now() - make_interval(secs => readings_days * 86400))",
        [readings_days],
    )


def keep_for(connection: Connection, hypertable: str, days: float) -> int:
    """Keep a hypertable for so many days; how many chunks were dropped now (where no policy does it)."""
    connection.execute(_PATIENCE)
    row = connection.execute("SELECT keep_for(%s::regclass, %s)", [hypertable, days]).fetchone()
    return int(row[0]) if row else 0


def compress_after(connection: Connection, days: float) -> bool:
    """Have readings compressed after so many days, where the licence has it; whether it has."""
    connection.execute(_PATIENCE)
    row = connection.execute("SELECT compress_after(%s)", [days]).fetchone()
    return bool(row and row[0])


def forget_rejects(connection: Connection, days: float, most_bytes: int) -> int:
    """Throw rejects away that are too old, and the oldest beyond so many bytes; how many."""
    old = connection.execute(
        "DELETE FROM reject WHERE received_at < now() - make_interval(secs => %s)", [days * 86_400]
    ).rowcount
    beyond = connection.execute(
        "DELETE FROM reject r USING (SELECT reject_id, sum(octet_length(payload)) OVER (ORDER BY reject_id DESC)"
        " AS bytes FROM reject) k WHERE k.reject_id = r.reject_id AND k.bytes > %s",
        [most_bytes],
    ).rowcount
    connection.execute(
        "DELETE FROM reject_day WHERE day < (now() - make_interval(secs => %s))::date - 1", [days * 86_400]
    )
    return old + beyond


def forget_streams(connection: Connection, days: float) -> int:
    """Forget which numbers former lives of boxes used, where nothing came of them for so long; how many lives.

    Never the newest of a box, nor the one that it says it is in. ``device.streams_forgotten_until`` keeps what was
    numbered then from being taken in twice.
    """
    row = connection.execute(
        "WITH old AS (SELECT s.device_id, s.epoch FROM device_stream s"
        " WHERE s.received_at < now() - make_interval(secs => %s)"
        " AND EXISTS (SELECT FROM device_stream n WHERE n.device_id = s.device_id AND n.received_at > s.received_at)"
        " AND NOT EXISTS (SELECT FROM device_presence p WHERE p.device_id = s.device_id AND p.epoch = s.epoch)"
        " ORDER BY 1, 2 LIMIT 10000 FOR UPDATE SKIP LOCKED),"
        " gone AS (DELETE FROM device_stream s USING old WHERE s.device_id = old.device_id AND s.epoch = old.epoch"
        " RETURNING s.device_id, s.received_at),"
        " told AS (UPDATE device d SET streams_forgotten_until = greatest(d.streams_forgotten_until, g.at)"
        " FROM (SELECT device_id, max(received_at) AS at FROM gone GROUP BY 1) g WHERE d.device_id = g.device_id)"
        " SELECT count(*) FROM gone",
        [days * 86_400],
    ).fetchone()
    return int(row[0]) if row else 0


def forgotten_streams(connection: Connection) -> dict[int, Range]:
    """Devices of which streams were forgotten: when each was registered, and until when those streams went on (ms)."""
    rows = connection.execute(
        "SELECT device_id, (extract(epoch FROM registered_at) * 1000)::bigint,"
        " (extract(epoch FROM streams_forgotten_until) * 1000)::bigint FROM device"
        " WHERE streams_forgotten_until IS NOT NULL"
    ).fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


def doubted_until(connection: Connection, device_id: int, epoch: int) -> int:
    """Up to when (ms) what was numbered may have been taken in before this stream began anew; 0 when not at all."""
    row = connection.execute(
        "SELECT coalesce((extract(epoch FROM doubted_until) * 1000)::bigint, 0) FROM device_stream"
        " WHERE device_id = %s AND epoch = %s",
        [device_id, epoch],
    ).fetchone()
    return int(row[0]) if row else 0


def was_restored(connection: Connection) -> bool:
    """Whether the store was restored from a backup so lately that boxes may still hold what it lacks."""
    row = connection.execute("SELECT restored_at > now() - interval '60 days' FROM store").fetchone()
    return bool(row and row[0])
