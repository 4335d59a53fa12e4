"""The statements of rollups. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final, Literal

import numpy as np

from common.runtime.clock import to_datetime
from gateway.fleet.repo import Connection
from gateway.rollups.dirty import Range, Touched
from gateway.rollups.work import Area, Spans, union

_NOTES_AT_ONCE: Final = 20_000
_SPANS_AT_ONCE: Final = 100_000

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


@dataclass(frozen=True, slots=True)
class Notes:
    """Notes that are due: which they are, ranges of minutes for every series, and those of single ones."""

    taken: list[int]
    due_ms: int
    live: list[Range]
    late: Spans


def notes(connection: Connection, until: datetime | None) -> Notes:
    """The oldest notes that are due by then (None: all of them); many at once, not all of a backlog."""
    rows = connection.execute(
        "SELECT dirty_id, (extract(epoch FROM due_at) * 1000)::bigint, live_from, live_until, series, late_from,"
        " late_until FROM (SELECT *, sum(cardinality(series)) OVER (ORDER BY dirty_id) - cardinality(series) AS before"
        " FROM (SELECT * FROM rollup_dirty WHERE due_at <= coalesce(%s::timestamptz, 'infinity')"
        " ORDER BY dirty_id LIMIT %s) oldest) counted WHERE before < %s",
        [until, _NOTES_AT_ONCE, _SPANS_AT_ONCE],
    ).fetchall()
    live = union((row[2], row[3]) for row in rows if row[2] is not None)
    columns = [np.fromiter(chain.from_iterable(row[place] for row in rows), np.int64) for place in (4, 5, 6)]
    return Notes([row[0] for row in rows], min((row[1] for row in rows), default=0), live, Spans(*columns))


def forget_notes(connection: Connection, taken: Sequence[int]) -> None:
    """Take notes out whose minutes are computed."""
    connection.execute("DELETE FROM rollup_dirty WHERE dirty_id = ANY(%s)", [taken])


def series_end(connection: Connection) -> int:
    """A number above that of every series."""
    row = connection.execute("SELECT coalesce(max(series_id), 0) + 1 FROM series").fetchone()
    return int(row[0]) if row else 1


def raw_since(connection: Connection) -> int:
    """The first minute whose readings are all there."""
    row = connection.execute(
        "SELECT ceil(extract(epoch FROM greatest(raw_since, now() - make_interval(secs => readings_days * 86400),"
        " 'epoch')) / 60)::bigint FROM keeping"
    ).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class Rollup:
    """A table of rollups: how wide its buckets are, and the statements that compute them from what they are made of."""

    name: Literal["minutes", "hours"]
    seconds: int
    of_series: str
    of_spans: str


def _insert(table: str, source: str, width: str, at: str, aggregates: str) -> tuple[str, str]:
    """For all series whose numbers lie between two, and for ranges of single ones."""
    insert = f"INSERT INTO {table} (series_id, bucket, {_COLUMNS}) SELECT k.series_id, r.* FROM"
    make = (
        f" CROSS JOIN LATERAL (SELECT time_bucket('{width}', {at}), {aggregates} FROM {source}"  # noqa: S608
        f" WHERE series_id = k.series_id AND {at} >= %(low)s::timestamptz AND {at} < %(high)s::timestamptz"
    )
    of_series = " (SELECT series_id FROM series WHERE series_id >= %(from)s AND series_id < %(until)s) k"
    of_spans = (
        " unnest(%(series)s::integer[], %(starts)s::bigint[], %(ends)s::bigint[]) AS k (series_id, a, b)"
    )
    within = f" AND {at} >= to_timestamp(k.a) AND {at} < to_timestamp(k.b)"
    end = " GROUP BY 1) r" + _REPLACE
    return insert + of_series + make + end, insert + of_spans + make + within + end


MINUTES: Final = Rollup(
    "minutes", 60, *_insert("reading_minute", "reading", "1 minute", "captured_at", _AGGREGATES)
)
HOURS: Final = Rollup(
    "hours", 3600, *_insert("reading_hour", "reading_minute", "1 hour", "bucket", _OF_MINUTES)
)


def compute_area(connection: Connection, rollup: Rollup, area: Area) -> int:
    """Compute a rollup's buckets of many series anew; how many rows that came to."""
    first = max(area.first, _first(connection, rollup))
    return connection.execute(
        rollup.of_series,
        {
            "low": _at(first, rollup),
            "high": _at(area.until, rollup),
            "from": area.low,
            "until": area.high,
        },
        prepare=False,
    ).rowcount


def compute_spans(connection: Connection, rollup: Rollup, spans: Spans) -> int:
    """Compute a rollup's buckets of single series anew; how many rows that came to."""
    if not len(spans):
        return 0
    first = max(int(spans.first.min()), _first(connection, rollup))
    return connection.execute(
        rollup.of_spans,
        {
            "series": _array(spans.series.tolist()),
            "starts": _array((spans.first * rollup.seconds).tolist()),
            "ends": _array((spans.until * rollup.seconds).tolist()),
            "low": _at(first, rollup),
            "high": _at(int(spans.until.max()), rollup),
        },
        prepare=False,
    ).rowcount


def _first(connection: Connection, rollup: Rollup) -> int:
    """Before it nothing may be computed anew: retention may have taken readings since the notes were read."""
    return raw_since(connection) if rollup is MINUTES else 0


def _at(bucket: int, rollup: Rollup) -> datetime:
    return to_datetime(bucket * rollup.seconds * 1000)


def note_hours(connection: Connection, ranges: Sequence[Range]) -> None:
    """Have hours computed for every series once they are over."""
    connection.execute(
        "INSERT INTO rollup_hour_due SELECT generate_series(a, b - 1) FROM unnest(%s::integer[], %s::integer[])"
        " AS k (a, b) ON CONFLICT DO NOTHING",
        [_array([first for first, _ in ranges]), _array([until for _, until in ranges])],
    )


def hours_due(connection: Connection, before: int, limit: int) -> list[int]:
    """Some hours of every series that are to be computed and lie before that hour, the earliest first."""
    rows = connection.execute(
        "SELECT hour FROM rollup_hour_due WHERE hour < %s ORDER BY hour LIMIT %s", [before, limit]
    ).fetchall()
    return [row[0] for row in rows]


def forget_hours(connection: Connection, hours: Sequence[int]) -> None:
    """Take hours out that are computed."""
    connection.execute("DELETE FROM rollup_hour_due WHERE hour = ANY(%s)", [hours])


def lag_s(connection: Connection) -> float:
    """For how long the oldest note has been due, in seconds; 0 when none is."""
    row = connection.execute(
        "SELECT coalesce(extract(epoch FROM now() - greatest(min(due_at), 'epoch')), 0) FROM rollup_dirty"
    ).fetchone()
    return max(float(row[0]), 0.0) if row else 0.0
