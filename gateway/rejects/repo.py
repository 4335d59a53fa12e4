"""The statements about rejects: keeping them in a batch's transaction, looking at them and taking them out later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final

import psycopg

from common.wire.topics import Address
from gateway.batch import Told
from gateway.decode import Rejected
from gateway.fleet.audit import Actor
from gateway.fleet.repo import Connection
from gateway.quarantine import HELD
from gateway.rejects.flood import observed
from gateway.repo import DISTRICT, UNKNOWN_DEVICE

#: What the database says of a message that it cannot hold.
REFUSALS: Final = (psycopg.DataError, psycopg.IntegrityError)


@dataclass(frozen=True, slots=True)
class Reject:
    """A kept reject; ``sender`` is ``site/device`` or empty, ``series`` what of it is rejected when not all is."""

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
    series: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many rejects of one reason and sender are kept, with how many bytes."""

    reason: str
    sender: str
    count: int
    bytes: int
    newest_id: int
    newest_at: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rejects are meant: all that fit everything that is given."""

    reason: str | None = None
    sender: Address | None = None
    ids: tuple[int, ...] = ()

    def parameters(self) -> dict[str, object]:
        """For ``_CHOSEN``."""
        return {
            "reason": self.reason,
            "site": self.sender.site if self.sender else None,
            "name": self.sender.device if self.sender else None,
            "ids": list(self.ids) or None,
        }


_COLUMNS = (
    "r.reject_id, r.received_at, coalesce(d.site || '/' || d.name, ''), r.topic, r.reason, r.message, r.epoch,"
    " r.seq, r.size, r.payload, coalesce(r.series, '{}')"
)
_CHOSEN = (
    "(%(reason)s::text IS NULL OR r.reason = %(reason)s)"
    " AND (%(site)s::text IS NULL OR (d.site = %(site)s AND d.name = %(name)s))"
    " AND (%(ids)s::bigint[] IS NULL OR r.reject_id = ANY (%(ids)s))"
)


def counts(connection: Connection, choice: Choice = Choice()) -> list[ReasonCount]:
    """What is kept, by reason and sender."""
    rows = connection.execute(
        "SELECT r.reason, coalesce(d.site || '/' || d.name, '') AS sender, count(*),"  # noqa: S608
        " sum(octet_length(r.payload))::bigint, max(r.reject_id), max(r.received_at) FROM reject r"
        f" LEFT JOIN device d USING (device_id) WHERE {_CHOSEN} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
        choice.parameters(),
    ).fetchall()
    return [ReasonCount(*row) for row in rows]


def newest(connection: Connection, choice: Choice, limit: int) -> list[Reject]:
    """The newest rejects of a choice."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM reject r LEFT JOIN device d USING (device_id)"  # noqa: S608
        f" WHERE {_CHOSEN} ORDER BY r.reject_id DESC LIMIT %(limit)s",
        {**choice.parameters(), "limit": limit},
    ).fetchall()
    return [_reject(row) for row in rows]


def find(connection: Connection, reject_id: int) -> Reject | None:
    """One reject."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM reject r LEFT JOIN device d USING (device_id) WHERE r.reject_id = %s",  # noqa: S608
        [reject_id],
    ).fetchone()
    return None if row is None else _reject(row)


def _reject(row: tuple[Any, ...]) -> Reject:
    return replace(Reject(*row), series=tuple(row[-1]))


def ids(connection: Connection, choice: Choice = Choice()) -> list[int]:
    """The ids of what is kept of a choice, oldest first."""
    rows = connection.execute(
        f"SELECT r.reject_id FROM reject r LEFT JOIN device d USING (device_id) WHERE {_CHOSEN} ORDER BY 1",  # noqa: S608
        choice.parameters(),
    ).fetchall()
    return [row[0] for row in rows]


def drop(connection: Connection, choice: Choice, actor: Actor, why: str) -> list[int]:
    """Throw rejects away for good, each with a line in the audit; their ids."""
    rows = connection.execute(
        "WITH gone AS (DELETE FROM reject WHERE reject_id IN (SELECT r.reject_id FROM reject r"  # noqa: S608
        f" LEFT JOIN device d USING (device_id) WHERE {_CHOSEN}) RETURNING *),"
        " told AS (INSERT INTO audit (at, actor, action, address, detail)"
        " SELECT clock_timestamp(), %(actor)s, 'reject.dropped', %(address)s, jsonb_build_object("
        "'reject_id', reject_id, 'reason', reason, 'topic', topic, 'received_at', received_at, 'size', size,"
        " 'epoch', to_hex(epoch), 'seq', seq, 'sha256', encode(sha256(payload), 'hex'), 'why', %(why)s::text)"
        " FROM gone) SELECT reject_id FROM gone ORDER BY 1",
        {**choice.parameters(), "actor": actor.name, "address": actor.host, "why": why},
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


@dataclass(frozen=True, slots=True)
class Kept:
    """How many rejects of a batch were only counted, and what is told of devices that came to that today."""

    dropped: int = 0
    told: tuple[Told, ...] = ()


#: A device's id and the district's day.
_Key = tuple[int, date]


def keep_rejects(
    connection: Connection, rejects: Sequence[tuple[int | None, Rejected]], quota_bytes: int
) -> Kept:
    """Keep rejects with their bytes, up to a device's quota a day; beyond it they are counted."""
    if not rejects:
        return Kept()
    day_of = [datetime.fromtimestamp(reject.raw.received_at / 1000, DISTRICT).date() for _, reject in rejects]
    days = sorted({(device or UNKNOWN_DEVICE, day) for (device, _), day in zip(rejects, day_of, strict=True)})
    used, full = _lock_reject_days(connection, days)
    kept_bytes: Counter[_Key] = Counter()
    kept_count: Counter[_Key] = Counter()
    dropped: Counter[_Key] = Counter()
    told: dict[_Key, Told] = {}
    rows = []
    for (device, reject), day in zip(rejects, day_of, strict=True):
        key = (device or UNKNOWN_DEVICE, day)
        size = len(reject.raw.payload)
        if used[key] + kept_bytes[key] + size > quota_bytes:
            dropped[key] += 1
            if device is not None and key not in full and key not in told and reject.reason != HELD:
                told[key] = _told_of(device, reject, day, quota_bytes)
            continue
        kept_bytes[key] += size
        kept_count[key] += 1
        rows.append(_reject_row(device, reject))
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO reject (received_at, device_id, topic, reason, message, epoch, seq, size, payload,"
                " series) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                rows,
            )
    connection.execute(
        "UPDATE reject_day r SET kept = r.kept + k.kept, kept_bytes = r.kept_bytes + k.bytes,"
        " dropped = r.dropped + k.dropped"
        " FROM unnest(%s::integer[], %s::date[], %s::bigint[], %s::bigint[], %s::bigint[])"
        " AS k (device_id, day, kept, bytes, dropped) WHERE r.device_id = k.device_id AND r.day = k.day",
        [
            [device for device, _ in days],
            [day for _, day in days],
            [kept_count[key] for key in days],
            [kept_bytes[key] for key in days],
            [dropped[key] for key in days],
        ],
    )
    return Kept(dropped.total(), tuple(told.values()))


def _told_of(device: int, reject: Rejected, day: date, quota_bytes: int) -> Told:
    assert reject.address is not None, "a reject of a known device has its address"
    at = reject.raw.received_at
    return Told(device, observed(reject.address, day, at, reject.reason, quota_bytes), at, None, None)


def _lock_reject_days(connection: Connection, days: Sequence[_Key]) -> tuple[dict[_Key, int], set[_Key]]:
    """Bytes kept so far, by device and day; and of which some were beyond the quota already."""
    columns = [[device for device, _ in days], [day for _, day in days]]
    rows = connection.execute(
        "INSERT INTO reject_day AS r (device_id, day) SELECT d, t FROM unnest(%s::integer[], %s::date[])"
        " AS k (d, t) ORDER BY d, t ON CONFLICT (device_id, day) DO UPDATE SET kept = r.kept"
        " RETURNING device_id, day, kept_bytes, dropped > 0",
        columns,
    ).fetchall()
    used = {(device, day): kept for device, day, kept, _ in rows}
    return used, {(device, day) for device, day, _, full in rows if full}


def _reject_row(device: int | None, reject: Rejected) -> tuple[object, ...]:
    raw = reject.raw
    return (
        datetime.fromtimestamp(raw.received_at / 1000, UTC),
        device,
        storable(raw.topic)[:300],
        reject.reason,
        storable(reject.message)[:1000],
        reject.epoch,
        reject.seq,
        raw.size,
        raw.payload,
        list(reject.series) or None,
    )


def storable(text: str) -> str:
    """Text as the store can hold it: U+0000 and halves of surrogate pairs replaced."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
