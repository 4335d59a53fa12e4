"""The audit: what boxes numbered against what the store holds, taken from the files and tables themselves.

It asks no tier for its opinion: it opens each box's SQLite file and the database, and compares.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from common.wire.codec import decode_packet
from common.wire.messages import Events, Readings
from common.wire.topics import Address
from edge.database import FILE_NAME

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Life:
    """One epoch of one box: how many packets it numbered, and what those it still holds carry.

    ``held`` counts the packets that are still in the file, receipted or not; boxes keep them 48 hours.
    """

    device: Address
    epoch: int
    numbered: int
    held: int
    readings: int
    observations: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What was compared, and every difference by name; ``faults`` is empty when nothing was lost or doubled."""

    packets_numbered: int = 0
    packets_committed: int = 0
    packets_abandoned: int = 0
    packets_lost: int = 0
    readings_sent: int = 0
    readings_stored: int = 0
    observations_sent: int = 0
    observations_stored: int = 0
    incidents_ticket_worthy: int = 0
    incidents_without_one_ticket: int = 0
    matters_with_two_open_tickets: int = 0
    inbox_waiting: int = 0
    inbox_failed: int = 0
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data for the summary line."""
        return asdict(self)


def lives_of(address: Address, data: Path) -> list[Life]:
    """What one box numbered, read from its own file."""
    with sqlite3.connect(
        f"{(data / FILE_NAME).absolute().as_uri()}?mode=ro", uri=True, timeout=10
    ) as connection:
        lives = connection.execute("SELECT epoch, next_seq - 1 - withdrawn FROM life").fetchall()
        held: dict[int, list[int]] = {epoch: [0, 0, 0] for epoch, _ in lives}
        for epoch, payload in connection.execute("SELECT epoch, payload FROM packet"):
            content = decode_packet(payload, address).data
            held[epoch][0] += 1
            if isinstance(content, Readings):
                held[epoch][1] += sum(len(series.at) for series in content.series)
            elif isinstance(content, Events):
                held[epoch][2] += len(content.observations)
    return [Life(address, epoch, numbered, *held[epoch]) for epoch, numbered in lives]


def audit(database_url: str, boxes: Mapping[Address, Path]) -> Audit:
    """Compare every box's file with the store.

    Args:
        database_url: the store.
        boxes: each box's address and data directory.
    """
    lives: list[Life] = []
    for address, data in boxes.items():
        if (data / FILE_NAME).exists():  # a box stopped before it opened its file has numbered nothing
            lives += lives_of(address, data)
    with psycopg.connect(database_url) as connection:
        return _compare(connection, lives)


def _compare(connection: psycopg.Connection, lives: list[Life]) -> Audit:
    faults: list[str] = []
    committed = abandoned = lost = 0
    for life in lives:
        row = connection.execute(
            _STREAM, [life.numbered, life.device.site, life.device.device, life.epoch]
        ).fetchone()
        in_store, given_up, beyond, missing = row or (0, 0, 0, f"[1,{life.numbered}]")
        in_store, given_up, beyond = int(in_store), int(given_up), int(beyond)
        committed += in_store
        abandoned += given_up
        absent = life.numbered - in_store
        lost += absent
        if absent:
            faults.append(
                f"{life.device} epoch {life.epoch:x}: packets {missing} of {life.numbered} are not committed"
            )
        if beyond:
            faults.append(
                f"{life.device} epoch {life.epoch:x}: {beyond} committed packets that it never numbered"
            )
    whole = all(life.held == life.numbered for life in lives)
    readings = sum(life.readings for life in lives)
    observations = sum(life.observations for life in lives)
    devices = [str(life.device) for life in lives]
    rows = _one(connection, _READINGS, [devices])
    seen = _one(connection, _OBSERVATIONS, [devices])
    # Only where every numbered packet is still held can their contents be counted.
    if whole and rows != readings:
        faults.append(f"boxes sent {readings} readings, the store holds {rows}")
    if whole and seen != observations:
        faults.append(f"boxes sent {observations} observations, the store holds {seen}")
    faults += [f"stored twice: {name}" for (name,) in connection.execute(_TWICE).fetchall()]
    unlinked = _names(connection, _UNLINKED)
    faults += [f"incident {name} is ticket-worthy and has no ticket" for name in unlinked[:_MOST_NAMED]]
    two_open = _names(connection, _TWO_OPEN)
    faults += [f"matter {name} has more than one open ticket" for name in two_open[:_MOST_NAMED]]
    waiting, failed = _one(connection, _WAITING), _one(connection, _FAILED)
    if failed:
        faults.append(f"{failed} observations could not be applied; see inbox_failed")
    return Audit(
        packets_numbered=sum(life.numbered for life in lives),
        packets_committed=committed,
        packets_abandoned=abandoned,
        packets_lost=lost,
        readings_sent=readings,
        readings_stored=rows,
        observations_sent=observations,
        observations_stored=seen,
        incidents_ticket_worthy=_one(connection, _WORTHY),
        incidents_without_one_ticket=len(unlinked),
        matters_with_two_open_tickets=len(two_open),
        inbox_waiting=waiting,
        inbox_failed=failed,
        faults=faults,
    )


def _one(connection: psycopg.Connection, query: bytes, arguments: list[object] | None = None) -> int:
    row = connection.execute(query, arguments).fetchone()
    return int(row[0]) if row else 0


def _names(connection: psycopg.Connection, query: bytes) -> list[str]:
    return [str(name) for (name,) in connection.execute(query).fetchall()]


# How many of 1..numbered are in the store, how many of those were given up, how many lie beyond, which are missing.
_STREAM = b"""
WITH stream AS (
    SELECT s.received, s.abandoned, int8range(1, %s, '[]') AS numbered
    FROM device_stream s JOIN device d USING (device_id)
    WHERE d.site = %s AND d.name = %s AND s.epoch = %s
)
SELECT
    (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(received * int8multirange(numbered)) r),
    (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(abandoned) r),
    (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(received - int8multirange(numbered)) r),
    (int8multirange(numbered) - received)::text
FROM stream
"""
_READINGS = b"""
SELECT count(*) FROM reading r JOIN series s USING (series_id) JOIN device d USING (device_id)
WHERE d.site || '/' || d.name = ANY(%s)
"""
# Those that came in a box's packet; the gateway's own rules add theirs, which no box sent.
_OBSERVATIONS = b"""
SELECT count(*) FROM observation o JOIN device d USING (device_id)
WHERE d.site || '/' || d.name = ANY(%s) AND o.epoch IS NOT NULL AND o.source NOT LIKE 'rule:%%' AND o.source NOT LIKE 'gateway:%%'
"""
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
SELECT matter_id FROM ticket WHERE state NOT IN ('closed', 'void') GROUP BY matter_id HAVING count(*) > 1
"""
_WAITING = b"SELECT count(*) FROM observation_inbox"
_FAILED = b"SELECT count(*) FROM inbox_failed"
