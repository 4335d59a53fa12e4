"""The statements of retention and rollups. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from common.runtime.clock import to_datetime
from gateway.fleet.repo import Connection
from gateway.keeping.dirty import MINUTE_MS, Range, Touched, Work, hours, rows_of, union

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
_NOTES_AT_ONCE: Final = 20_000
#: How long dropping may wait for whoever reads (a backup), since whoever writes waits behind it.
_PATIENCE: Final = "SET LOCAL lock_timeout = '3s'"

_AGGREGATES: Final = (
    "count(*) FILTER (WHERE flags & 2 = 0)::integer, count(*) FILTER (WHERE flags & 2 <> 0)::integer,"
    " sum(value) FILTER (WHERE flags & 2 = 0), min(value) FILTER (WHERE flags & 2 = 0),"
    " max(value) FILTER (WHERE flags & 2 = 0),"
    " first(value, captured_at) FILTER (WHERE flags & 2 = 0), min(captured_at) FILTER (WHERE flags & 2 = 0),"
    " last(value, captured_at) FILTER (WHERE flags & 2 = 0), max(captured_at) FILTER (WHERE flags & 2 = 0)"
)
_OF_MINUTES: Final = (
    "sum(count)::integer, sum(implausible)::integer, sum(sum), min(min), max(max),"
    " first(first, first_at) FILTER (WHERE count > 0), min(first_at),"
    " last(last, last_at) FILTER (WHERE count > 0), max(last_at)"
)
_COLUMNS: Final = "count, implausible, sum, min, max, first, first_at, last, last_at"
_REPLACE: Final = " ON CONFLICT (series_id, bucket) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in _COLUMNS.split(", ")
)


def note(connection: Connection, touched: Touched, due_ms: int) -> None:
    """Write down, in a batch's transaction, which minutes it wrote to."""
    live_from, live_until = touched.live or (None, None)
    connection.execute(
        "INSERT INTO rollup_dirty (due_at, live_from, live_until, series, late_from, late_until)"
        " VALUES (to_timestamp(%s / 1000.0), %s, %s, %s::integer[], %s::integer[], %s::integer[])",
        [
            due_ms,
            live_from,
            live_until,
            *map(_array, (touched.series, touched.late_from, touched.late_until)),
        ],
    )


def _array(values: Sequence[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def lock_worker(connection: Connection) -> bool:
    """Whether this session keeps house from now on; another gateway's session may."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [WORKER_LOCK]).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True, slots=True)
class Notes:
    """Notes that were taken out: ranges of minutes for every series, and (series, from, until)."""

    due_ms: int
    live: list[Range]
    late: list[tuple[int, int, int]]


def take_notes(connection: Connection, until: datetime | None) -> Notes:
    """Take the oldest notes that are due by then (None: all) out; many at once, not all of a backlog."""
    rows = connection.execute(
        "DELETE FROM rollup_dirty WHERE dirty_id IN (SELECT dirty_id FROM rollup_dirty"
        " WHERE due_at <= coalesce(%s::timestamptz, 'infinity') ORDER BY dirty_id LIMIT %s FOR UPDATE SKIP LOCKED)"
        " RETURNING (extract(epoch FROM due_at) * 1000)::bigint, live_from, live_until, series, late_from, late_until",
        [until, _NOTES_AT_ONCE],
    ).fetchall()
    live = union((row[1], row[2]) for row in rows if row[1] is not None)
    late = {entry for row in rows for entry in zip(*row[3:], strict=True)}
    return Notes(min((row[0] for row in rows), default=0), live, list(late))


def put_back(connection: Connection, work: Work, due_ms: int) -> None:
    """Leave for later what does not go into one transaction."""
    columns = rows_of(work.single)
    for live in work.everything:
        note(connection, Touched(live), due_ms)
    if columns[0]:
        note(connection, Touched(None, *columns), due_ms)


def raw_since(connection: Connection) -> int:
    """The first minute whose readings are all there."""
    row = connection.execute(
        "SELECT ceil(extract(epoch FROM greatest(raw_since, now() - make_interval(secs => readings_days * 86400),"
        " 'epoch')) / 60)::bigint FROM keeping"
    ).fetchone()
    return int(row[0]) if row else 0


def compute_minutes(connection: Connection, work: Work) -> int:
    """Compute minutes of readings anew; how many rows that came to."""
    written = 0
    for first, until in work.everything:
        written += connection.execute(
            f"INSERT INTO reading_minute (series_id, bucket, {_COLUMNS}) SELECT s.series_id, r.* FROM series s"  # noqa: S608
            f" CROSS JOIN LATERAL (SELECT time_bucket('1 minute', captured_at), {_AGGREGATES} FROM reading"
            " WHERE series_id = s.series_id AND captured_at >= %(low)s::timestamptz"
            " AND captured_at < %(high)s::timestamptz GROUP BY 1) r" + _REPLACE,
            {"low": _at(first), "high": _at(until)},
            prepare=False,
        ).rowcount
    series, starts, ends = rows_of(work.single)
    if series:
        written += connection.execute(
            f"INSERT INTO reading_minute (series_id, bucket, {_COLUMNS}) SELECT k.series_id, r.* FROM"  # noqa: S608
            " unnest(%(series)s::integer[], %(starts)s::bigint[], %(ends)s::bigint[]) AS k (series_id, a, b)"
            f" CROSS JOIN LATERAL (SELECT time_bucket('1 minute', captured_at), {_AGGREGATES} FROM reading"
            " WHERE series_id = k.series_id AND captured_at >= to_timestamp(k.a * 60)"
            " AND captured_at < to_timestamp(k.b * 60) AND captured_at >= %(low)s::timestamptz"
            " AND captured_at < %(high)s::timestamptz GROUP BY 1) r" + _REPLACE,
            {
                "series": _array(series),
                "starts": _array(starts),
                "ends": _array(ends),
                "low": _at(min(starts)),
                "high": _at(max(ends)),
            },
            prepare=False,
        ).rowcount
    return written


def note_hours(connection: Connection, ranges: Sequence[Range]) -> None:
    """Have hours computed for every series once they are over."""
    connection.execute(
        "INSERT INTO rollup_hour_due SELECT generate_series(a, b - 1) FROM unnest(%s::integer[], %s::integer[])"
        " AS k (a, b) ON CONFLICT DO NOTHING",
        [_array([first for first, _ in ranges]), _array([until for _, until in ranges])],
    )


def take_hours(connection: Connection, before: int | None, limit: int) -> list[int]:
    """Take hours that are over (before that hour; None: all) out."""
    rows = connection.execute(
        "DELETE FROM rollup_hour_due WHERE hour IN (SELECT hour FROM rollup_hour_due"
        " WHERE hour < coalesce(%s::integer, 2147483647) ORDER BY hour LIMIT %s) RETURNING hour",
        [before, limit],
    ).fetchall()
    return sorted(row[0] for row in rows)


def compute_hours(connection: Connection, every: Sequence[int], single: dict[int, list[Range]]) -> int:
    """Make hours of their minutes, for every series and for single ones; how many rows that came to."""
    written = 0
    for hour in every:
        written += connection.execute(
            f"INSERT INTO reading_hour (series_id, bucket, {_COLUMNS}) SELECT s.series_id, r.* FROM series s"  # noqa: S608
            f" CROSS JOIN LATERAL (SELECT time_bucket('1 hour', bucket), {_OF_MINUTES} FROM reading_minute"
            " WHERE series_id = s.series_id AND bucket >= %(low)s::timestamptz"
            " AND bucket < %(high)s::timestamptz GROUP BY 1) r" + _REPLACE,
            {"low": _at(hour * 60), "high": _at(hour * 60 + 60)},
            prepare=False,
        ).rowcount
    series, starts, ends = rows_of({one: hours(ranges) for one, ranges in single.items()})
    if series:
        written += connection.execute(
            f"INSERT INTO reading_hour (series_id, bucket, {_COLUMNS}) SELECT k.series_id, r.* FROM"  # noqa: S608
            " unnest(%(series)s::integer[], %(starts)s::bigint[], %(ends)s::bigint[]) AS k (series_id, a, b)"
            f" CROSS JOIN LATERAL (SELECT time_bucket('1 hour', bucket), {_OF_MINUTES} FROM reading_minute"
            " WHERE series_id = k.series_id AND bucket >= to_timestamp(k.a * 3600)"
            " AND bucket < to_timestamp(k.b * 3600) AND bucket >= %(low)s::timestamptz"
            " AND bucket < %(high)s::timestamptz GROUP BY 1) r" + _REPLACE,
            {
                "series": _array(series),
                "starts": _array(starts),
                "ends": _array(ends),
                "low": _at(min(starts) * 60),
                "high": _at(max(ends) * 60),
            },
            prepare=False,
        ).rowcount
    return written


def _at(minute: int) -> datetime:
    return to_datetime(minute * MINUTE_MS)


def lag_s(connection: Connection) -> float:
    """For how long the oldest note has been due, in seconds; 0 when none is."""
    row = connection.execute(
        "SELECT coalesce(extract(epoch FROM now() - greatest(min(due_at), 'epoch')), 0) FROM rollup_dirty"
    ).fetchone()
    return max(float(row[0]), 0.0) if row else 0.0


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
