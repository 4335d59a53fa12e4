"""The figures of the live summary, read from the store."""

from __future__ import annotations

import psycopg

from local.demo.screen import Snapshot

_PRESENCE = b"""
SELECT count(*) FILTER (WHERE state = 'online'), count(*),
       coalesce(sum((counters->>'frames')::bigint), 0), coalesce(sum((counters->>'detections')::bigint), 0),
       coalesce(sum((counters->>'packets_numbered')::bigint), 0),
       coalesce(max((counters->>'oldest_unreceipted_s')::float8), 0)
FROM device LEFT JOIN device_presence USING (device_id)
"""
_STORE = b"""
SELECT (SELECT coalesce(sum(committed), 0) FROM device_packets), (SELECT count(*) FROM reading),
       (SELECT count(*) FROM reject), (SELECT count(*) FROM incident)
"""
_TICKETS = b"""
SELECT count(*), count(*) FILTER (WHERE channel = 'camera'), count(*) FILTER (WHERE channel = 'sensor'),
       count(*) FILTER (WHERE dispatched_at IS NOT NULL),
       count(*) FILTER (WHERE channel = 'camera' AND dispatched_at IS NOT NULL),
       count(*) FILTER (WHERE channel = 'sensor' AND dispatched_at IS NOT NULL)
FROM ticket
"""
_LATEST = b"""
SELECT t.number, c.zh, c.en, u.name_zh, t.state
FROM ticket t JOIN category c ON c.code = t.category LEFT JOIN unit u USING (unit_code)
ORDER BY t.opened_at DESC LIMIT 5
"""


def read_snapshot(connection: psycopg.Connection) -> Snapshot:
    """The figures of this moment."""
    online, boxes, frames, detections, numbered, oldest = _row(connection, _PRESENCE)
    committed, rows, rejects, incidents = _row(connection, _STORE)
    tickets, camera, sensor, dispatched, camera_dispatched, sensor_dispatched = _row(connection, _TICKETS)
    latest = tuple(
        f"{number}  {zh} {en}  → {unit or 'no owner yet'}  {state}"
        for number, zh, en, unit, state in connection.execute(_LATEST).fetchall()
    )
    connection.commit()
    return Snapshot(
        frames=int(frames),
        detections=int(detections),
        # A box says its count every few seconds; what is committed was certainly numbered.
        packets_numbered=max(int(numbered), int(committed)),
        packets_committed=int(committed),
        rows=rows,
        rejects=rejects,
        incidents=incidents,
        tickets=tickets,
        camera_tickets=camera,
        sensor_tickets=sensor,
        dispatched=dispatched,
        camera_dispatched=camera_dispatched,
        sensor_dispatched=sensor_dispatched,
        oldest_unreceipted_s=float(oldest),
        boxes_online=online,
        boxes=boxes,
        latest=latest,
    )


def _row(connection: psycopg.Connection, query: bytes) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None, "an aggregate always gives one row"
    return row
