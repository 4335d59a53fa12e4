"""The statements about rules: their states and records in a batch's transaction, and their versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg

from common.runtime.clock import to_datetime
from common.runtime.errors import TransientError
from gateway.rules.machine import RuleState

Connection = psycopg.Connection[Any]
#: Of a series no more than so many readings are gone through again after a takeover.
MOST_RECALLED: Final = 20_000
_LOCK_SECONDS: Final = 10


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
