"""The statements of a batch's transaction. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta, timezone
from typing import Any, Final

import msgspec
import psycopg

from common.runtime.clock import to_datetime
from common.wire.categories import BY_CODE
from common.wire.codec import rfc3339
from common.wire.messages import Observation
from common.wire.topics import Address
from gateway.batch import Device, SeriesKey, Stream, StreamKey, Told
from gateway.box_clocks import OFFSET_COUNTER, behind_ms
from gateway.decode import DecodedStatus
from gateway.rows import hold_instant
from gateway.streams import SequenceSet

Connection = psycopg.Connection[Any]
#: "A day" is the district's.
DISTRICT: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
#: A reject's ``device_id`` in ``reject_day`` when nobody known sent it.
UNKNOWN_DEVICE: Final = 0

_OBSERVATION_ROW: Final = (
    "at timestamptz, device_id integer, observation_id uuid, phase text, revision integer, category text,"
    " source text, sensor text, severity smallint, started_at timestamptz, ended_at timestamptz, count integer,"
    " value double precision, unit text, evidence jsonb, detail jsonb, received_at timestamptz,"
    " claimed_at timestamptz, epoch bigint, seq bigint"
)
_OBSERVATION_NAMES: Final = ", ".join(column.split()[0] for column in _OBSERVATION_ROW.split(", "))
_INBOX_NAMES: Final = _OBSERVATION_NAMES.removesuffix(", claimed_at, epoch, seq")
#: What calls no one: seen (or, when it is over, begun) while its device is in maintenance, its site in a drill, or the
#: alarm itself on the shelf.
_MARK: Final = (
    "coalesce((SELECT q.kind FROM quiet_time q JOIN device d ON d.site = q.site AND coalesce(q.device, d.name) = d.name"
    " WHERE d.device_id = o.device_id AND (o.at >= q.from_at AND o.at < q.until_at"
    " OR o.phase = 'end' AND o.started_at >= q.from_at AND o.started_at < q.until_at)"
    " AND (q.category IS NULL OR q.category = o.category) AND (q.sensor IS NULL OR q.sensor = o.sensor)"
    " ORDER BY q.kind DESC LIMIT 1), '') AS mark"
)
_STATUS_ROW: Final = (
    "received_at timestamptz, device_id integer, state text, said_at timestamptz, version text, epoch bigint,"
    " counters jsonb, seen_at timestamptz"
)


def _numbers(values: Iterable[int]) -> str:
    """An array of whole numbers as PostgreSQL writes it: much less work than adapting a list."""
    return "{" + ",".join(map(str, values)) + "}"


def _texts(values: Iterable[object]) -> str:
    """An array of texts that hold neither quotes nor backslashes."""
    return '{"' + '","'.join(map(str, values)) + '"}'


def devices(connection: Connection) -> dict[Address, tuple[int, str, bool]]:
    """Every registered device: its id, its partition, whether it is quarantined."""
    rows = connection.execute(
        "SELECT site, name, device_id, partition, quarantined_at IS NOT NULL FROM device"
    ).fetchall()
    return {Address(site, name): (device, part, held) for site, name, device, part, held in rows}


def clocks(connection: Connection, partition: str) -> dict[int, int]:
    """How far behind ours (ms) each device's clock was when it last said its status, within 14 days.

    So long the broker keeps what comes while no gateway runs, and the first that is read then may have been said before
    the next status. A box that comes back says its status first, so an older clock than its own is never held to it.
    """
    rows = connection.execute(
        "SELECT d.device_id, (extract(epoch FROM s.received_at - s.said_at) * 1000)::bigint, s.counters -> %s"
        " FROM device d CROSS JOIN LATERAL (SELECT received_at, said_at, counters FROM device_status s"
        " WHERE s.device_id = d.device_id AND s.state = 'online' AND s.received_at > now() - interval '14 days'"
        " ORDER BY s.received_at DESC LIMIT 1) s WHERE d.partition = %s",
        [OFFSET_COUNTER, partition],
    ).fetchall()
    return {device: behind_ms(waited, offset) for device, waited, offset in rows}


def series_of(connection: Connection, partition: str) -> list[tuple[int, SeriesKey]]:
    """All series of a partition's devices: ``(series_id, (device_id, sensor, metric))``."""
    rows = connection.execute(
        "SELECT s.series_id, s.device_id, s.sensor, s.metric FROM series s JOIN device d USING (device_id)"
        " WHERE d.partition = %s",
        [partition],
    ).fetchall()
    return [(series, (device, sensor, metric)) for series, device, sensor, metric in rows]


def create_series(connection: Connection, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    """Rows for series, made where missing; ids by key. Right under several gateways: the row decides."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    connection.execute(
        "INSERT INTO series (device_id, sensor, metric)"
        " SELECT * FROM unnest(%s::integer[], %s::text[], %s::text[]) ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING",
        columns,
    )
    rows = connection.execute(
        "SELECT s.device_id, s.sensor, s.metric, s.series_id FROM series s"
        " JOIN unnest(%s::integer[], %s::text[], %s::text[]) AS k (device_id, sensor, metric)"
        " USING (device_id, sensor, metric)",
        columns,
    ).fetchall()
    return {(device, sensor, metric): series for device, sensor, metric, series in rows}


def create_streams(connection: Connection, keys: Iterable[StreamKey]) -> None:
    """Rows for streams seen for the first time."""
    ordered = sorted(keys)
    connection.execute(
        "INSERT INTO device_stream (device_id, epoch, received_at, doubted_until)"
        " SELECT d, e, now(), streams_forgotten_until FROM unnest(%s::integer[], %s::bigint[]) AS k (d, e)"
        " JOIN device ON device_id = d ORDER BY d, e"
        " ON CONFLICT DO NOTHING",
        [_numbers(device for device, _ in ordered), _numbers(epoch for _, epoch in ordered)],
    )


def devices_of_many_epochs(connection: Connection, keys: Iterable[StreamKey], most: int) -> list[int]:
    """Devices that would have begun more than ``most`` streams in 24 hours, or since they were released."""
    ordered = sorted(keys)
    rows = connection.execute(
        "SELECT n.device_id FROM (SELECT k.device_id, count(*) AS streams"
        " FROM unnest(%s::integer[], %s::bigint[]) AS k (device_id, epoch)"
        " WHERE NOT EXISTS (SELECT FROM device_stream s WHERE s.device_id = k.device_id AND s.epoch = k.epoch)"
        " GROUP BY 1) n JOIN device d USING (device_id)"
        " WHERE n.streams + (SELECT count(*) FROM device_stream s WHERE s.device_id = n.device_id"
        " AND s.first_at > greatest(now() - interval '24 hours', d.released_at)) > %s ORDER BY 1",
        [_numbers(device for device, _ in ordered), _numbers(epoch for _, epoch in ordered), most],
    ).fetchall()
    return [row[0] for row in rows]


def quarantine(connection: Connection, device_id: int, since_ms: int) -> None:
    """Keep a device out from now on."""
    connection.execute(
        "UPDATE device SET quarantined_at = %s WHERE device_id = %s AND quarantined_at IS NULL",
        [to_datetime(since_ms), device_id],
    )


def lock_streams(connection: Connection, wanted: Mapping[StreamKey, Device]) -> dict[StreamKey, Stream]:
    """Lock streams in the order of their keys, so that two transactions never wait for each other in a ring."""
    keys = sorted(wanted)
    rows = connection.execute(
        "SELECT s.device_id, s.epoch, s.received::text, s.abandoned::text FROM device_stream s"
        " JOIN unnest(%s::integer[], %s::bigint[]) AS k (device_id, epoch) USING (device_id, epoch)"
        " ORDER BY s.device_id, s.epoch FOR UPDATE OF s",
        [_numbers(device for device, _ in keys), _numbers(epoch for _, epoch in keys)],
    ).fetchall()
    return {
        (device, epoch): Stream(
            wanted[device, epoch], epoch, SequenceSet.parse(received), SequenceSet.parse(abandoned)
        )
        for device, epoch, received, abandoned in rows
    }


def widen_streams(connection: Connection, streams: Mapping[StreamKey, Stream]) -> None:
    """Write back what the batch added."""
    touched = sorted((key, stream) for key, stream in streams.items() if stream.changed)
    if not touched:
        return
    connection.execute(
        "UPDATE device_stream s SET received = k.received::int8multirange,"
        " abandoned = k.abandoned::int8multirange, duplicates = s.duplicates + k.duplicates,"
        " rejected = s.rejected + k.rejected,"
        # Nothing was heard later than now, or a gateway whose clock was ahead once would hide a silence until then.
        " received_at = greatest(s.received_at, least(to_timestamp(k.at / 1000.0), clock_timestamp()))"
        " FROM unnest(%s::integer[], %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],"
        " %s::bigint[]) AS k (device_id, epoch, received, abandoned, duplicates, rejected, at)"
        " WHERE s.device_id = k.device_id AND s.epoch = k.epoch",
        [
            _numbers(key[0] for key, _ in touched),
            _numbers(key[1] for key, _ in touched),
            _texts(stream.received for _, stream in touched),
            _texts(stream.abandoned for _, stream in touched),
            _numbers(stream.duplicates for _, stream in touched),
            _numbers(stream.rejected for _, stream in touched),
            _numbers(stream.received_at for _, stream in touched),
        ],
    )


def insert_observations(
    connection: Connection, told: Sequence[Told], *, future_ms: int, past_ms: int, known: set[str]
) -> set[str]:
    """Keep observations, hand them to the ticket centre's inbox and wake it.

    Args:
        connection: the batch's.
        told: what was observed.
        future_ms: how far ahead of its receipt an observation may be.
        past_ms: how far behind.
        known: category codes that have a row already.

    Returns:
        Category codes that got a row now.
    """
    if not told:
        return set()
    fresh = {item.observation.category: item.observation for item in told} if told else {}
    unknown = {code: seen for code, seen in fresh.items() if code not in known}
    if unknown:
        _declare_categories(connection, unknown)
    rows = [
        _observation_row(item, future_ms, past_ms if item.past_ms is None else item.past_ms) for item in told
    ]
    connection.execute(
        f"WITH told AS MATERIALIZED (SELECT o.*, {_MARK} FROM jsonb_to_recordset(%s::jsonb) AS o ({_OBSERVATION_ROW})),"  # noqa: S608
        f" kept AS (INSERT INTO observation ({_OBSERVATION_NAMES}, mark)"
        f" SELECT {_OBSERVATION_NAMES}, mark FROM told),"
        f" handed AS (INSERT INTO observation_inbox ({_INBOX_NAMES}, mark) SELECT {_INBOX_NAMES}, mark FROM told)"
        " SELECT pg_notify('observation_inbox', '')",
        [msgspec.json.encode(rows).decode()],
    )
    return set(unknown)


def _declare_categories(connection: Connection, unknown: Mapping[str, Observation]) -> None:
    for code, seen in sorted(unknown.items()):
        declared = BY_CODE.get(code)
        kind = declared.kind if declared else ("act" if seen.phase == "act" else "condition")
        connection.execute(
            "INSERT INTO category (code, en, zh, kind, severity, known) VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [
                code,
                declared.en if declared else code,
                declared.zh if declared else code,
                kind,
                declared.severity if declared else seen.severity,
                declared is not None,
            ],
        )


def _observation_row(item: Told, future_ms: int, past_ms: int) -> dict[str, object]:
    seen = item.observation
    at = hold_instant(seen.at, item.received_at, future_ms=future_ms, past_ms=past_ms)
    shift = at - seen.at  # a wild clock is wild for the whole observation: its lengths stay right
    ended = None if seen.ended_at is None else rfc3339(max(seen.ended_at + shift, 0))
    return {
        "at": rfc3339(at),
        "device_id": item.device_id,
        "observation_id": seen.observation_id,
        "phase": seen.phase,
        "revision": seen.revision,
        "category": seen.category,
        "source": seen.source,
        "sensor": seen.sensor,
        "severity": seen.severity,
        "started_at": rfc3339(max(seen.started_at + shift, 0)),
        "ended_at": ended,
        "count": seen.count,
        "value": seen.value,
        "unit": seen.unit,
        "evidence": seen.evidence,
        "detail": seen.detail,
        "received_at": rfc3339(item.received_at),
        "claimed_at": rfc3339(seen.at) if shift else None,
        "epoch": item.epoch,
        "seq": item.seq,
    }


def insert_statuses(connection: Connection, statuses: Sequence[tuple[int, DecodedStatus]]) -> None:
    """Keep statuses and each device's newest; a replayed (retained) one counts only when it is news."""
    for live in (True, False):
        rows = [_status_row(device, status) for device, status in statuses if status.raw.retain is not live]
        if not rows:
            continue
        newest = list({row["device_id"]: row for row in rows}.values())
        taken = connection.execute(
            "INSERT INTO device_presence AS p (device_id, state, said_at, seen_at, version, epoch, counters)"  # noqa: S608
            " SELECT device_id, state, said_at,"
            " CASE WHEN seen_at > clock_timestamp() THEN clock_timestamp() ELSE seen_at END, version, epoch, counters"
            f" FROM jsonb_to_recordset(%s::jsonb) AS s ({_STATUS_ROW}) ORDER BY device_id"
            " ON CONFLICT (device_id) DO UPDATE SET state = excluded.state, said_at = excluded.said_at,"
            " seen_at = greatest(p.seen_at, excluded.seen_at), "
            # A last will knows no figures: the last ones that the box itself said stay to be looked at.
            " version = CASE WHEN excluded.version = '' THEN p.version ELSE excluded.version END,"
            " epoch = coalesce(excluded.epoch, p.epoch),"
            " counters = CASE WHEN excluded.state = 'offline' AND excluded.counters = '{}' THEN p.counters"
            " ELSE excluded.counters END"
            " WHERE %s OR p.said_at IS NULL OR excluded.said_at > p.said_at RETURNING device_id",
            [msgspec.json.encode(newest).decode(), live],
        ).fetchall()
        news = rows if live else [row for row in newest if (row["device_id"],) in taken]
        connection.execute(
            "INSERT INTO device_status (received_at, device_id, state, said_at, version, epoch, counters)"  # noqa: S608
            " SELECT received_at, device_id, state, said_at, version, epoch, counters"
            f" FROM jsonb_to_recordset(%s::jsonb) AS s ({_STATUS_ROW})",
            [msgspec.json.encode(news).decode()],
        )


def _status_row(device_id: int, decoded: DecodedStatus) -> dict[str, object]:
    status, received = decoded.status, decoded.raw.received_at
    seen: int | None = min(status.at, received) if decoded.raw.retain else received
    if status.state == "offline":
        seen = None  # the broker says it, as the last will of a box that is gone
    return {
        "received_at": rfc3339(received),
        "device_id": device_id,
        "state": status.state,
        "said_at": rfc3339(status.at),
        "version": status.version,
        "epoch": None if status.epoch is None else int(status.epoch, 16),
        "counters": status.counters,
        "seen_at": None if seen is None else rfc3339(seen),
    }
