"""The statements about the fleet outside the batches: registry, evidence ledger, silence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg

from common.runtime.errors import TransientError
from common.schema.outages import PASSING, notices_silence
from common.wire.categories import CATEGORIES
from common.wire.topics import Address
from gateway.fleet.sites import Site
from gateway.trouble import trouble_of

Connection = psycopg.Connection[Any]
_CONNECT_SECONDS: Final = 5
_PATIENCE: Final = "SET lock_timeout = '3s'"
_SWEEP_LOCK: Final = 7_119_417_010  # "Drumtower looks for silent devices"


def connect(url: str, name: str, *, patient: bool = True) -> Connection:
    """A connection of its own.

    Args:
        url: where the database is.
        name: what it is for, as the database's list of sessions shows it.
        patient: wait for what others have locked, however long; else some seconds, and whoever asks comes again.

    Raises:
        TransientError: when the database does not answer.
    """
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            application_name=f"drumtower {name}",
            **notices_silence(url),
        )
        if not patient:
            connection.execute(_PATIENCE)
        return connection
    except psycopg.OperationalError as error:
        raise TransientError(
            "gateway.no_database",
            f"the database does not answer: {error}".strip(),
            "is it started, and is DRUMTOWER_DATABASE_URL right?",
        ) from error


@contextmanager
def transaction(connection: Connection) -> Iterator[Connection]:
    """A transaction on a connection.

    Raises:
        TransientError: when the database went away or cannot do it now; the connection is of no use then.
    """
    try:
        with connection.transaction():
            yield connection
    except PASSING as error:
        trouble = trouble_of(error.sqlstate)
        raise TransientError(trouble.code, f"{trouble.said}: {error}".strip(), trouble.hint) from error


def seed_categories(connection: Connection) -> None:
    """Bring the table of categories to what this release declares."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO category (code, en, zh, kind, severity, gbt_30428) VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (code) DO UPDATE SET en = excluded.en, zh = excluded.zh, kind = excluded.kind,"
            " severity = excluded.severity, gbt_30428 = excluded.gbt_30428, known = true",
            [(c.code, c.en, c.zh, c.kind, c.severity, c.gbt_30428) for c in CATEGORIES],
        )


def upsert_devices(connection: Connection, sites: Iterable[Site]) -> dict[Address, str | None]:
    """Bring the registry to what the files say; the credential hash of each device that they name."""
    hashes: dict[Address, str | None] = {}
    for site in sites:
        for device in site.devices:
            row = connection.execute(
                "INSERT INTO device (site, name, partition, title_zh, title_en, lon, lat, silent_after_s)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (site, name) DO UPDATE SET partition = excluded.partition,"
                " title_zh = excluded.title_zh, title_en = excluded.title_en, lon = excluded.lon,"
                " lat = excluded.lat, silent_after_s = excluded.silent_after_s RETURNING credential_hash",
                [
                    site.site,
                    device.name,
                    device.partition or site.partition,
                    device.title_zh,
                    device.title_en,
                    device.lon,
                    device.lat,
                    device.silent_after_s or site.silent_after_s,
                ],
            ).fetchone()
            hashes[Address(site.site, device.name)] = row[0] if row else None
    return hashes


def set_credential_hash(connection: Connection, address: Address, credential_hash: str) -> None:
    """Keep what is kept of a device's credential."""
    connection.execute(
        "UPDATE device SET credential_hash = %s WHERE site = %s AND name = %s",
        [credential_hash, address.site, address.device],
    )


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A device kept out since then; ``rejects`` of its messages are kept."""

    device_id: int
    address: Address
    since: datetime
    rejects: int


def quarantined(connection: Connection) -> list[Quarantined]:
    """Every device that is kept out, with how many of its messages were kept meanwhile."""
    rows = connection.execute(
        "SELECT d.device_id, d.site, d.name, d.quarantined_at, (SELECT count(*) FROM reject r"
        " WHERE r.device_id = d.device_id AND r.reason = 'quarantined') FROM device d"
        " WHERE d.quarantined_at IS NOT NULL ORDER BY d.quarantined_at"
    ).fetchall()
    return [Quarantined(row[0], Address(row[1], row[2]), row[3], row[4]) for row in rows]


def let_go(connection: Connection, device_id: int) -> datetime:
    """Take a device in again; when that is."""
    row = connection.execute(
        "UPDATE device SET quarantined_at = NULL, released_at = clock_timestamp() WHERE device_id = %s"
        " RETURNING released_at",
        [device_id],
    ).fetchone()
    assert row is not None
    released: datetime = row[0]
    return released


def was_told(connection: Connection, observation_id: str) -> bool:
    """Whether something was observed under this id."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM observation WHERE observation_id = %s)", [observation_id]
    ).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True, slots=True)
class Holder:
    """A device at the evidence door."""

    device_id: int
    credential_hash: str | None
    quarantined: bool


def holder(connection: Connection, address: Address) -> Holder | None:
    """The device of this name."""
    row = connection.execute(
        "SELECT device_id, credential_hash, quarantined_at IS NOT NULL FROM device WHERE site = %s AND name = %s",
        [address.site, address.device],
    ).fetchone()
    return None if row is None else Holder(*row)


def evidence(connection: Connection, sha256: str) -> tuple[int, str] | None:
    """Size and media type of a stored file, None when it is not stored."""
    row = connection.execute("SELECT size, media_type FROM evidence WHERE sha256 = %s", [sha256]).fetchone()
    return None if row is None else (int(row[0]), str(row[1]))


def evidence_bytes_today(connection: Connection, device_id: int) -> int:
    """How much a device has stored on the district's day that it is by the clock that dates what is stored."""
    row = connection.execute(
        "SELECT coalesce(sum(size), 0)::bigint FROM evidence"
        " CROSS JOIN date_trunc('day', now(), 'Asia/Shanghai') AS midnight"
        " WHERE device_id = %s AND stored_at >= midnight AND stored_at < midnight + interval '1 day'",
        [device_id],
    ).fetchone()
    return int(row[0]) if row else 0


def add_evidence(connection: Connection, sha256: str, media_type: str, size: int, device_id: int) -> None:
    """The row that makes a file count as stored."""
    connection.execute(
        "INSERT INTO evidence (sha256, media_type, size, device_id) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        [sha256, media_type, size, device_id],
    )


@dataclass(frozen=True, slots=True)
class Quiet:
    """A device whose silence begins or ends now."""

    device_id: int
    address: Address
    heard_at: datetime
    silent_since: datetime | None
    silence_id: UUID | None
    revision: int
    silent_after_s: int
    now: datetime


def lock_sweep(connection: Connection) -> bool:
    """Whether this transaction may look for silent devices: one at a time may."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_SWEEP_LOCK]).fetchone()
    return bool(row and row[0])


def silence_changes(connection: Connection) -> list[Quiet]:
    """Devices that fell silent or came back.

    A device counts from when it was last heard, or from when somebody began to listen to its partition, whichever
    is later: nobody is silent because the gateway was away. Devices never heard of are not silent, only awaited.
    """
    rows = connection.execute(
        "SELECT d.device_id, d.site, d.name, h.heard_at, p.silent_since, p.silence_id,"
        " coalesce(p.silence_revision, 0), d.silent_after_s, clock_timestamp()"
        " FROM device d JOIN partition_lease l ON l.partition = d.partition"
        " AND l.expires_at > clock_timestamp() AND l.listening_since IS NOT NULL"
        " LEFT JOIN device_presence p ON p.device_id = d.device_id"
        " CROSS JOIN LATERAL (SELECT greatest(p.seen_at, (SELECT max(s.received_at) FROM device_stream s"
        " WHERE s.device_id = d.device_id)) AS heard_at) h"
        " WHERE h.heard_at IS NOT NULL AND d.quarantined_at IS NULL"
        " AND (p.silent_since IS NULL) = (greatest(h.heard_at, CASE WHEN p.silent_since IS NULL"
        " THEN l.listening_since END) + make_interval(secs => d.silent_after_s) < clock_timestamp())"
        " ORDER BY d.device_id"
    ).fetchall()
    return [Quiet(row[0], Address(row[1], row[2]), *row[3:]) for row in rows]


def silences_outlasting(connection: Connection) -> list[Quiet]:
    """Devices whose silence was last told in a maintenance or a drill that is over, and that are silent still."""
    rows = connection.execute(
        "SELECT d.device_id, d.site, d.name, p.silent_since, p.silent_since, p.silence_id, p.silence_revision,"
        " d.silent_after_s, clock_timestamp() FROM device_presence p JOIN device d USING (device_id)"
        " WHERE p.silent_since IS NOT NULL AND EXISTS (SELECT FROM quiet_time q WHERE q.site = d.site"
        " AND coalesce(q.device, d.name) = d.name AND coalesce(q.category, 'device.silent') = 'device.silent'"
        " AND q.until_at > p.silent_since"
        " AND q.until_at <= clock_timestamp()) AND NOT EXISTS (SELECT FROM quiet_time q WHERE q.site = d.site"
        " AND coalesce(q.device, d.name) = d.name AND coalesce(q.category, 'device.silent') = 'device.silent'"
        " AND q.until_at > clock_timestamp()"
        " AND q.from_at <= clock_timestamp()) AND (SELECT o.mark FROM observation o"
        " WHERE o.observation_id = p.silence_id ORDER BY o.at DESC LIMIT 1) <> '' ORDER BY d.device_id"
    ).fetchall()
    return [Quiet(row[0], Address(row[1], row[2]), *row[3:]) for row in rows]


def hold_presence(connection: Connection, device_ids: list[int]) -> set[int]:
    """Hold what is known of devices' presence without waiting for anybody; of which devices it may be written now."""
    held = connection.execute(
        "SELECT device_id FROM device_presence WHERE device_id = ANY(%s) FOR NO KEY UPDATE SKIP LOCKED",
        [device_ids],
    ).fetchall()
    unknown = connection.execute(
        "SELECT wanted FROM unnest(%s::bigint[]) wanted"
        " WHERE NOT EXISTS (SELECT FROM device_presence p WHERE p.device_id = wanted)",
        [device_ids],
    ).fetchall()
    return {row[0] for row in held + unknown}


def note_revision(connection: Connection, device_id: int, revision: int) -> None:
    """Write down that a silence was told again."""
    connection.execute(
        "UPDATE device_presence SET silence_revision = %s WHERE device_id = %s", [revision, device_id]
    )


def note_silence(connection: Connection, quiet: Quiet, silence_id: UUID | None, revision: int) -> None:
    """Write down that a silence began (with its id) or ended (None)."""
    connection.execute(
        "INSERT INTO device_presence AS p (device_id, silent_since, silence_id, silence_revision)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (device_id) DO UPDATE SET silent_since = excluded.silent_since,"
        " silence_id = excluded.silence_id, silence_revision = excluded.silence_revision",
        [quiet.device_id, quiet.heard_at if silence_id else None, silence_id, revision],
    )


def add_audit(connection: Connection, actor: str, host: str, action: str, detail: str) -> None:
    """Write down what somebody did; ``detail`` is JSON."""
    connection.execute(
        "INSERT INTO audit (at, actor, action, address, detail) VALUES (clock_timestamp(), %s, %s, %s, %s::jsonb)",
        [actor, action, host, detail],
    )


def newest_audit(
    connection: Connection, subjects: Sequence[str], left_out: Sequence[str], limit: int
) -> list[tuple[Any, ...]]:
    """When, who, what, where and the details of the newest lines about some subjects (an action's first word).

    Lines whose action ends with one of ``left_out`` are left out.
    """
    return connection.execute(
        "SELECT at, actor, action, address, detail FROM audit WHERE split_part(action, '.', 1) = ANY (%s)"
        " AND NOT split_part(action, '.', 2) = ANY (%s) ORDER BY audit_id DESC LIMIT %s",
        [list(subjects), list(left_out), limit],
    ).fetchall()


def put_in_quarantine(connection: Connection, address: Address) -> tuple[int, datetime] | None:
    """Keep a device out from now on: its id and since when; None when nobody knows it, or it is out already."""
    row = connection.execute(
        "UPDATE device SET quarantined_at = date_trunc('milliseconds', clock_timestamp())"
        " WHERE site = %s AND name = %s AND quarantined_at IS NULL RETURNING device_id, quarantined_at",
        [address.site, address.device],
    ).fetchone()
    return None if row is None else (row[0], row[1])


@dataclass(frozen=True, slots=True)
class Cost:
    """What a device has the store remember."""

    since: datetime | None
    released_at: datetime | None
    why: str
    streams: int
    streams_of_day: int
    most_ranges: int
    kept: int
    kept_bytes: int
    dropped: int


def cost(connection: Connection, address: Address) -> Cost | None:
    """What a device costs the store, and why it is in quarantine if it is; None when nobody knows it."""
    row = connection.execute(
        "SELECT d.quarantined_at, d.released_at, coalesce((SELECT o.detail ->> 'why' FROM observation o"
        " WHERE o.device_id = d.device_id AND o.source = 'quarantine' AND o.phase = 'start'"
        " AND o.started_at = date_trunc('milliseconds', d.quarantined_at) ORDER BY o.at DESC LIMIT 1), ''),"
        " s.streams, s.of_day, s.most_ranges, r.kept, r.bytes, r.dropped FROM device d"
        " CROSS JOIN LATERAL (SELECT count(*) AS streams, count(*) FILTER (WHERE first_at >"
        " greatest(now() - interval '24 hours', d.released_at)) AS of_day,"
        " coalesce(max((SELECT count(*) FROM unnest(received))), 0) AS most_ranges"
        " FROM device_stream s WHERE s.device_id = d.device_id) s"
        " CROSS JOIN LATERAL (SELECT coalesce(sum(kept), 0)::bigint AS kept,"
        " coalesce(sum(kept_bytes), 0)::bigint AS bytes, coalesce(sum(dropped), 0)::bigint AS dropped"
        " FROM reject_day r WHERE r.device_id = d.device_id) r WHERE d.site = %s AND d.name = %s",
        [address.site, address.device],
    ).fetchone()
    return None if row is None else Cost(*row)
