"""The statements about rules: their states and records in a batch's transaction, and their versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np
import psycopg
from numpy.typing import NDArray

from common.runtime.clock import to_datetime
from common.runtime.errors import TransientError
from gateway.rules.machine import RuleState
from gateway.rules.stepping import Member

Connection = psycopg.Connection[Any]
#: Of a series no more than so many readings are gone through again after a takeover.
MOST_RECALLED: Final = 20_000
_LOCK_SECONDS: Final = 10
#: A record of PostgreSQL's binary COPY, as wide as every other: its fields with their lengths, big-endian.
_READING: Final = np.dtype(
    [
        ("fields", ">i2"),
        *(("series_length", ">i4"), ("series", ">i4")),
        *(("at_length", ">i4"), ("at", ">i8")),
        *(("value_length", ">i4"), ("value", ">f8")),
    ]
)
_COPY_HEADER: Final = 19
_COPY_TRAILER: Final = 2


def series_states(connection: Connection, partition: str) -> dict[int, dict[str, RuleState]]:
    """The states of series that are more than quiet, by series and rule."""
    rows = connection.execute(
        "SELECT r.series_id, r.rule_id, r.state::text FROM rule_state r JOIN series USING (series_id)"
        " JOIN device d USING (device_id) WHERE d.partition = %s",
        [partition],
    ).fetchall()
    return _states(rows)


def device_states(connection: Connection, partition: str) -> dict[int, dict[str, RuleState]]:
    """The states of devices that are more than quiet, by device and rule."""
    rows = connection.execute(
        "SELECT r.device_id, r.rule_id, r.state::text FROM rule_device_state r JOIN device d USING (device_id)"
        " WHERE d.partition = %s",
        [partition],
    ).fetchall()
    return _states(rows)


def save_series_states(connection: Connection, states: Mapping[int, Mapping[str, RuleState]]) -> None:
    """Write the states of series (by ``series_id``); quiet ones need no row."""
    _save(connection, "rule_state", "series_id", states)


def save_device_states(connection: Connection, states: Mapping[int, Mapping[str, RuleState]]) -> None:
    """Write the states of devices (by ``device_id``); quiet ones need no row."""
    _save(connection, "rule_device_state", "device_id", states)


def records(connection: Connection, series: Iterable[int]) -> dict[int, dict[str, tuple[str, bytes]]]:
    """What measured rules remember of some series: shape and content, by series and rule."""
    found: dict[int, dict[str, tuple[str, bytes]]] = defaultdict(dict)
    rows = connection.execute(
        "SELECT series_id, rule_id, shape, content FROM rule_record WHERE series_id = ANY (%s)",
        [list(series)],
        binary=True,
    ).fetchall()
    for series_id, rule_id, shape, content in rows:
        found[series_id][rule_id] = shape, content
    return dict(found)


def save_records(connection: Connection, kept: Sequence[tuple[int, str, str, bytes]]) -> None:
    """Write what measured rules remember: series, rule, shape, content; an older one is replaced."""
    columns = [list(column) for column in zip(*kept, strict=True)]
    connection.execute(
        "INSERT INTO rule_record (series_id, rule_id, shape, content)"
        " SELECT * FROM unnest(%b::integer[], %b::text[], %b::text[], %b::bytea[])"
        " ON CONFLICT (series_id, rule_id) DO UPDATE SET shape = excluded.shape, content = excluded.content",
        columns,
    )


def newest_captures(connection: Connection, series: Sequence[int], until_ms: int) -> dict[int, int]:
    """Capture time (ms) of the newest stored reading of each series, up to an instant; 0 where there is none."""
    rows = connection.execute(
        "SELECT k.series_id, coalesce((extract(epoch FROM (SELECT r.captured_at FROM reading r"
        " WHERE r.series_id = k.series_id AND r.captured_at <= %s ORDER BY r.captured_at DESC LIMIT 1))"
        " * 1000)::bigint, 0) FROM unnest(%s::integer[]) AS k (series_id)",
        [to_datetime(until_ms), list(series)],
    ).fetchall()
    return dict(rows)


def history(
    connection: Connection, since_ms: Mapping[int, int], ahead_ms: int
) -> list[tuple[int, list[int], list[float]]]:
    """The readings of series after an instant of each, as the rules saw them: in time, and held to their receipt.

    Returns:
        (series id, capture times in ms, values), oldest first; series without any are left out.
    """
    return connection.execute(
        "SELECT k.series_id, r.at, r.value FROM unnest(%s::integer[], %s::bigint[]) AS k (series_id, since)"
        " CROSS JOIN LATERAL (SELECT array_agg(n.at ORDER BY n.at) AS at, array_agg(n.value ORDER BY n.at) AS value"
        " FROM (SELECT least((extract(epoch FROM x.captured_at) * 1000)::bigint,"
        " (extract(epoch FROM x.received_at) * 1000)::bigint + %s) AS at, x.value FROM reading x"
        " WHERE x.series_id = k.series_id AND x.captured_at > to_timestamp(k.since / 1000.0)"
        " AND x.flags & 4 = 0 ORDER BY x.captured_at DESC LIMIT %s) n) r WHERE r.at IS NOT NULL",
        [list(since_ms), list(since_ms.values()), ahead_ms, MOST_RECALLED],
        binary=True,
    ).fetchall()


def only_read(connection: Connection) -> None:
    """Let nothing be written over this connection from now on."""
    connection.execute("SET default_transaction_read_only = on")


def all_series(connection: Connection) -> list[Member]:
    """Every series of every device, device by device."""
    rows = connection.execute(
        "SELECT d.device_id, d.site || '/' || d.name, s.series_id, s.sensor, s.metric FROM series s"
        " JOIN device d USING (device_id) ORDER BY d.site, d.name, s.sensor, s.metric"
    ).fetchall()
    return [Member(*row) for row in rows]


def readings_between(
    connection: Connection, series: Sequence[int], since_ms: int, until_ms: int, ahead_ms: int
) -> NDArray[Any]:
    """The readings of series captured in a span, as rules see them: records of series, at (ms) and value, in no order."""
    query = (
        f"COPY (SELECT series_id, least((extract(epoch FROM captured_at) * 1000)::bigint,"  # noqa: S608
        f" (extract(epoch FROM received_at) * 1000)::bigint + {ahead_ms:d}), value FROM reading"
        f" WHERE series_id = ANY ('{{{','.join(map(str, series))}}}'::integer[])"
        f" AND captured_at >= to_timestamp({since_ms / 1000!r}) AND captured_at < to_timestamp({until_ms / 1000!r})"
        " AND flags & 4 = 0) TO STDOUT (FORMAT binary)"
    )
    with connection.cursor().copy(query.encode()) as copy:
        content = b"".join(copy)
    body = content[_COPY_HEADER:-_COPY_TRAILER]
    return np.frombuffer(body, _READING)


def statuses_between(
    connection: Connection, devices: Sequence[int], since_ms: int, until_ms: int, ahead_ms: int
) -> list[tuple[int, int]]:
    """Device and instant (ms) of what boxes said of themselves in a span, oldest first."""
    return connection.execute(
        "SELECT device_id, least((extract(epoch FROM said_at) * 1000)::bigint,"
        " (extract(epoch FROM received_at) * 1000)::bigint + %s) FROM device_status"
        " WHERE device_id = ANY (%s) AND state = 'online' AND received_at >= %s AND received_at < %s"
        " ORDER BY received_at",
        [ahead_ms, list(devices), to_datetime(since_ms), to_datetime(until_ms)],
    ).fetchall()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """One version of the rules."""

    version: int
    at: datetime
    author: str
    note: str
    content: str


_COLUMNS: Final = "version, at, author, note, content"


def newest(connection: Connection) -> RuleSet | None:
    """The version in force, None when there is none yet."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM rule_set ORDER BY version DESC LIMIT 1").fetchone()  # noqa: S608
    return None if row is None else RuleSet(*row)


def find(connection: Connection, version: int) -> RuleSet | None:
    """A version."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM rule_set WHERE version = %s", [version]).fetchone()  # noqa: S608
    return None if row is None else RuleSet(*row)


def versions(connection: Connection, limit: int) -> list[RuleSet]:
    """The newest versions, newest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM rule_set ORDER BY version DESC LIMIT %s",  # noqa: S608
        [limit],
    ).fetchall()
    return [RuleSet(*row) for row in rows]


def now_ms(connection: Connection) -> int:
    """The database's clock: milliseconds since the Unix epoch."""
    row = connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").fetchone()
    assert row is not None
    return int(row[0])


def hold_batches(connection: Connection) -> None:
    """Wait until no batch is under way, and let none begin before this transaction ends.

    Raises:
        TransientError: when one goes on for longer than anybody should wait.
    """
    connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
    try:
        connection.execute("LOCK TABLE partition_lease IN EXCLUSIVE MODE")
    except psycopg.errors.LockNotAvailable as error:
        raise TransientError(
            "rules.batch_under_way",
            f"a gateway's batch has been under way for {_LOCK_SECONDS} s, and the rules change only between batches",
            "try again; if it stays so, look at the gateway's log",
        ) from error


def add(connection: Connection, version: int, author: str, note: str, content: str) -> None:
    """A new version; batches are held."""
    connection.execute(
        "INSERT INTO rule_set (version, author, note, content) VALUES (%s, %s, %s, %s)",
        [version, author, note, content],
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a series (or, without a sensor, a device) stands under a rule."""

    rule_id: str
    device_id: int
    series_id: int | None
    site: str
    sensor: str
    metric: str
    state: RuleState


def standings(connection: Connection) -> list[Standing]:
    """All that is more than quiet; batches are held."""
    rows = connection.execute(
        "SELECT r.rule_id, d.device_id, s.series_id, d.site, s.sensor, s.metric, r.state::text FROM rule_state r"
        " JOIN series s USING (series_id) JOIN device d USING (device_id)"
        " UNION ALL SELECT r.rule_id, d.device_id, NULL, d.site, '', '', r.state::text FROM rule_device_state r"
        " JOIN device d USING (device_id) ORDER BY 1, 2, 3"
    ).fetchall()
    return [
        Standing(rule, device, series, site, sensor, metric, msgspec.json.decode(state, type=RuleState))
        for rule, device, series, site, sensor, metric, state in rows
    ]


def forget(connection: Connection, over: Sequence[Standing]) -> None:
    """Put series and devices back to quiet; batches are held."""
    for one in over:
        table, key = (
            ("rule_state", "series_id") if one.series_id is not None else ("rule_device_state", "device_id")
        )
        connection.execute(
            f"DELETE FROM {table} WHERE rule_id = %s AND {key} = %s",  # noqa: S608
            [one.rule_id, one.device_id if one.series_id is None else one.series_id],
        )


def forget_records(connection: Connection, rules: Sequence[str]) -> None:
    """Throw away what was remembered for rules that are no more: all but these."""
    connection.execute("DELETE FROM rule_record WHERE NOT rule_id = ANY (%s)", [list(rules)])


def last_told(connection: Connection, observation_id: str) -> dict[str, Any] | None:
    """The newest phase of an observation, as its row says; None when nothing of it was told."""
    row = connection.execute(
        "SELECT to_jsonb(o) FROM observation o WHERE observation_id = %s ORDER BY at DESC, revision DESC LIMIT 1",
        [observation_id],
    ).fetchone()
    return None if row is None else dict(row[0])


def _states(rows: Iterable[tuple[int, str, str]]) -> dict[int, dict[str, RuleState]]:
    found: dict[int, dict[str, RuleState]] = defaultdict(dict)
    for owner, rule, state in rows:
        found[owner][rule] = msgspec.json.decode(state, type=RuleState)
    return dict(found)


def _save(
    connection: Connection, table: str, key: str, states: Mapping[int, Mapping[str, RuleState]]
) -> None:
    flat = [(owner, rule, state) for owner, by_rule in states.items() for rule, state in by_rule.items()]
    if quiet := [(owner, rule) for owner, rule, state in flat if state.position == "quiet"]:
        connection.execute(
            f"DELETE FROM {table} r USING unnest(%s::integer[], %s::text[]) AS k (owner, rule_id)"  # noqa: S608
            f" WHERE r.{key} = k.owner AND r.rule_id = k.rule_id",
            [[owner for owner, _ in quiet], [rule for _, rule in quiet]],
        )
    kept = [
        {"owner": owner, "rule_id": rule, "state": state}
        for owner, rule, state in flat
        if state.position != "quiet"
    ]
    if kept:
        connection.execute(
            f"INSERT INTO {table} ({key}, rule_id, state) SELECT owner, rule_id, state"  # noqa: S608
            " FROM jsonb_to_recordset(%s::jsonb) AS k (owner integer, rule_id text, state jsonb)"
            f" ON CONFLICT (rule_id, {key}) DO UPDATE SET state = excluded.state",
            [msgspec.json.encode(kept).decode()],
        )
