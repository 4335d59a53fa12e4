"""The audit: what boxes numbered against what the store holds, taken from the files and tables themselves.

It asks no tier for its opinion: it opens each box's SQLite file and the database, and compares. Only how near two matters
are one is for the ticket centre to say.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import DictRow, dict_row

from cloud.config import read_settings
from cloud.db import Transaction
from cloud.summary.repo import matters_too_near
from common.runtime.clock import to_datetime
from common.wire.codec import Data, decode_packet
from common.wire.messages import Events, Readings
from common.wire.topics import Address
from edge.database import FILE_NAME
from local.demo.conditions import conditions, torn

_MOST_NAMED = 10
_K = TypeVar("_K", bound=tuple[object, ...])


@dataclass(frozen=True, slots=True)
class Life:
    """One epoch of one box: how many packets it numbered, and what those it still holds carry.

    ``held`` counts the packets that are still in the file, receipted or not; boxes keep them 48 hours.
    ``readings`` counts by (sensor, metric), ``observations`` by (id, phase, revision).
    """

    device: Address
    epoch: int
    began_at: int
    numbered: int
    held: int
    readings: Counter[tuple[str, str]]
    observations: Counter[tuple[str, str, int]]
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was compared, and every difference by name; ``faults`` is empty when nothing was lost or doubled.

    ``packets_committed`` are those whose content the store took in: not the rejected, not the abandoned ones.
    """

    packets_numbered: int = 0
    packets_committed: int = 0
    packets_rejected: int = 0
    packets_abandoned: int = 0
    packets_lost: int = 0
    readings_sent: int = 0
    readings_stored: int = 0
    observations_sent: int = 0
    observations_stored: int = 0
    evidence_sent: int = 0
    evidence_missing: int = 0
    incidents_ticket_worthy: int = 0
    incidents_without_one_ticket: int = 0
    matters_with_two_open_tickets: int = 0
    matters_too_near: int = 0
    rule_conditions: int = 0
    inbox_waiting: int = 0
    inbox_failed: int = 0
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data for the summary line."""
        return asdict(self)


def lives_of(address: Address, data: Path) -> list[Life]:
    """What one box numbered, read from its own file; none where it never opened one, or is opening it just now."""
    if not (data / FILE_NAME).exists():
        return []
    uri = f"{(data / FILE_NAME).absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
        connection.execute("BEGIN")  # lives and packets of one moment
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE name IN ('life', 'packet')"
        ).fetchall()
        if len(tables) < 2:
            return []
        lives = connection.execute("SELECT epoch, began_at, next_seq - 1 - withdrawn FROM life").fetchall()
        packets = connection.execute("SELECT epoch, payload FROM packet").fetchall()
    contents: dict[int, list[Data]] = {epoch: [] for epoch, _, _ in lives}
    for epoch, payload in packets:
        contents[epoch].append(decode_packet(payload, address).data)
    return [
        life_of(address, epoch, began_at, numbered, contents[epoch]) for epoch, began_at, numbered in lives
    ]


def life_of(address: Address, epoch: int, began_at: int, numbered: int, contents: Sequence[Data]) -> Life:
    """A life from the contents of its packets."""
    readings: Counter[tuple[str, str]] = Counter()
    observations: Counter[tuple[str, str, int]] = Counter()
    evidence: set[str] = set()
    for content in contents:
        if isinstance(content, Readings):
            for series in content.series:
                readings[series.sensor, series.metric] += len(series.at)
        elif isinstance(content, Events):
            for seen in content.observations:
                observations[seen.observation_id, seen.phase, seen.revision] += 1
                evidence.update(item.sha256 for item in seen.evidence)
    return Life(
        address, epoch, began_at, numbered, len(contents), readings, observations, frozenset(evidence)
    )


def audit(database_url: str, boxes: Mapping[Address, Path]) -> Audit:
    """Compare every box's file with the store.

    Args:
        database_url: the store.
        boxes: each box's address and data directory.
    """
    return audit_lives(database_url, [lives_of(address, data) for address, data in boxes.items()])


def audit_lives(database_url: str, boxes: Sequence[list[Life]], *, may_abandon: bool = False) -> Audit:
    """Compare what each box numbered with the store.

    Args:
        database_url: the store.
        boxes: the lives of each box.
        may_abandon: whether packets that a box gave up are no fault: its disk was full on purpose.
    """
    with psycopg.connect(database_url) as connection:
        compared = [_compare_box(connection, lives, may_abandon=may_abandon) for lives in boxes]
        found = _compare_work(connection, _sum(compared))
    with psycopg.connect(database_url, row_factory=dict_row) as connection_of_dicts:
        return _compare_matters(connection_of_dicts, found)


def _compare_box(connection: psycopg.Connection, lives: list[Life], *, may_abandon: bool) -> Audit:
    """One box: its numbers, then what they carried."""
    if not lives:
        return Audit()
    faults: list[str] = []
    device, began_at = lives[0].device, to_datetime(min(life.began_at for life in lives))
    in_store = rejected = abandoned = 0
    for life in lives:
        row = connection.execute(_STREAM, [life.numbered, device.site, device.device, life.epoch]).fetchone()
        stored, given_up, refused, beyond, missing = row or (0, 0, 0, 0, f"[1,{life.numbered}]")
        in_store, abandoned, rejected = (
            in_store + int(stored),
            abandoned + int(given_up),
            rejected + int(refused),
        )
        name = f"{device} epoch {life.epoch:x}"
        if stored != life.numbered:
            faults.append(f"{name}: packets {missing} of {life.numbered} are not in the store")
        if refused or (given_up and not may_abandon):
            faults.append(f"{name}: {given_up} packets were given up by the box, {refused} were rejected")
        if beyond:
            faults.append(f"{name}: the store has {beyond} packets that the box never numbered")
    if rejects := _one(connection, _REJECTS, [device.site, device.device, began_at]):
        faults.append(f"{device}: {rejects} messages were rejected; see `drumtower gateway rejects list`")
    # Where a box let go of packets after their time, the store may hold more than the box can still show.
    whole = all(life.held == life.numbered for life in lives)
    readings = sum((life.readings for life in lives), Counter[tuple[str, str]]())
    rows = connection.execute(_READINGS, [device.site, device.device, began_at]).fetchall()
    stored_readings = Counter({(sensor, metric): count for sensor, metric, count in rows})
    faults += _differences(f"{device} readings of", readings, stored_readings, whole=whole)
    observations = sum((life.observations for life in lives), Counter[tuple[str, str, int]]())
    rows = connection.execute(_OBSERVATIONS, [[life.epoch for life in lives]]).fetchall()
    stored_observations = Counter(
        {(str(known), phase, revision): count for known, phase, revision, count in rows}
    )
    faults += _differences(f"{device} observation", observations, stored_observations, whole=whole)
    evidence = frozenset[str]().union(*(life.evidence for life in lives))
    return Audit(
        packets_numbered=sum(life.numbered for life in lives),
        packets_committed=in_store - abandoned - rejected,
        packets_rejected=rejected,
        packets_abandoned=abandoned,
        packets_lost=sum(life.numbered for life in lives) - in_store,
        readings_sent=readings.total(),
        readings_stored=stored_readings.total(),
        observations_sent=observations.total(),
        observations_stored=stored_observations.total(),
        evidence_sent=len(evidence),
        evidence_missing=len(evidence) - _one(connection, _EVIDENCE, [list(evidence)]),
        faults=faults,
    )


def _differences(what: str, sent: Counter[_K], stored: Counter[_K], *, whole: bool) -> list[str]:
    """Each key whose counts differ; where the box no longer shows all it sent, the store may have more."""
    wrong = [key for key in sent | stored if stored[key] < sent[key] or (whole and stored[key] > sent[key])]
    return [
        f"{what} {' '.join(map(str, key))}: sent {sent[key]}, stored {stored[key]}"
        for key in wrong[:_MOST_NAMED]
    ]


def _sum(parts: Sequence[Audit]) -> Audit:
    total = Audit()
    for part in parts:
        total = Audit(
            **{item.name: getattr(total, item.name) + getattr(part, item.name) for item in fields(Audit)}
        )
    return total


def _compare_work(connection: psycopg.Connection, boxes: Audit) -> Audit:
    """What became of it at the ticket centre."""
    faults = [f"stored twice: {name}" for (name,) in connection.execute(_TWICE).fetchall()]
    unlinked, two_open = _names(connection, _UNLINKED), _names(connection, _TWO_OPEN)
    faults += [
        f"incident {name} is ticket-worthy and not in exactly one ticket" for name in unlinked[:_MOST_NAMED]
    ]
    faults += [f"matter {name} has more than one open ticket" for name in two_open[:_MOST_NAMED]]
    of_rules = conditions(connection)
    faults += torn(of_rules)[:_MOST_NAMED]
    if failed := _one(connection, _FAILED):
        faults.append(f"{failed} observations could not be applied; see inbox_failed")
    return replace(
        boxes,
        incidents_ticket_worthy=_one(connection, _WORTHY),
        incidents_without_one_ticket=len(unlinked),
        matters_with_two_open_tickets=len(two_open),
        rule_conditions=len(of_rules),
        inbox_waiting=_one(connection, _WAITING),
        inbox_failed=failed,
        faults=boxes.faults + faults,
    )


def _compare_matters(connection: psycopg.Connection[DictRow], found: Audit) -> Audit:
    """No index keeps two matters apart that are one: they stand too near to each other."""
    near = matters_too_near(Transaction(connection), read_settings(None).fusion)
    if not near:
        return found
    fault = (
        f"{near} matters with open tickets stand so near to others of their kind that they are one with them"
    )
    return replace(found, matters_too_near=near, faults=[*found.faults, fault])


def _one(connection: psycopg.Connection, query: bytes, arguments: list[object] | None = None) -> int:
    row = connection.execute(query, arguments).fetchone()
    return int(row[0]) if row else 0


def _names(connection: psycopg.Connection, query: bytes) -> list[str]:
    return [str(name) for (name,) in connection.execute(query).fetchall()]


# How many of 1..numbered are in the store, given up, rejected; how many lie beyond; which are missing.
_STREAM = b"""
WITH stream AS (
    SELECT s.received, s.abandoned, s.rejected, int8range(1, %s + 1) AS numbered
    FROM device_stream s JOIN device d USING (device_id)
    WHERE d.site = %s AND d.name = %s AND s.epoch = %s
)
SELECT
    (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(received * int8multirange(numbered)) r),
    (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(abandoned) r),
    rejected,
    (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(received - int8multirange(numbered)) r),
    (int8multirange(numbered) - received)::text
FROM stream
"""
# Since the box began: a store that stood before it may hold what its name sent in an earlier life.
_READINGS = b"""
SELECT s.sensor, s.metric, count(*) FROM reading r JOIN series s USING (series_id) JOIN device d USING (device_id)
WHERE d.site = %s AND d.name = %s AND r.received_at >= %s GROUP BY s.sensor, s.metric
"""
_REJECTS = b"""
SELECT count(*) FROM reject JOIN device d USING (device_id)
WHERE d.site = %s AND d.name = %s AND received_at >= %s
"""
# Those that came in a box's packet; the gateway's own rules add theirs, which no box sent: see local.demo.conditions.
_OBSERVATIONS = b"""
SELECT observation_id, phase, revision, count(*) FROM observation
WHERE epoch = ANY(%s) AND source NOT LIKE 'rule:%%' AND source <> 'outbox:abandoned'
GROUP BY observation_id, phase, revision
"""
_EVIDENCE = b"SELECT count(*) FROM evidence WHERE sha256 = ANY(%s)"
_TWICE = b"""
SELECT observation_id || ' revision ' || revision FROM observation GROUP BY observation_id, revision, phase
HAVING count(*) > 1 LIMIT 10
"""
_WORTHY = b"SELECT count(*) FROM incident WHERE ticket_worthy"
_UNLINKED = b"""
SELECT incident_id FROM incident i WHERE ticket_worthy
AND (SELECT count(*) FROM ticket_incident t WHERE t.incident_id = i.incident_id) <> 1
"""
_TWO_OPEN = b"""
SELECT matter_id FROM ticket WHERE state NOT IN ('closed', 'void', 'merged') GROUP BY matter_id HAVING count(*) > 1
"""
_WAITING = b"SELECT count(*) FROM observation_inbox"
_FAILED = b"SELECT count(*) FROM inbox_failed"
