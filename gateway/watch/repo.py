"""The statements about how the whole stands, as seen from the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
#: How a registered device can be.
DEVICE_STATES = ("heard", "silent", "never heard", "quarantined")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What stands in the store at one instant.

    Attributes:
        worker_age_s: since a worker of the ticket centre last said that it works; None when none ever did.
        inbox_waiting: observations that nobody has taken yet.
        inbox_age_s: how long the oldest of them waits that is not put off after a fault; 0 when none does.
        devices: registered ones, foreign too, by how they are (``heard``, ``silent``, ``never heard``,
            ``quarantined``).
        unreceipted_s: the age of the oldest packet without a receipt, as boxes heard within five minutes say it.
    """

    worker_age_s: float | None
    inbox_waiting: int
    inbox_age_s: float
    devices: dict[str, int]
    unreceipted_s: float


def outlook(connection: Connection) -> Outlook:
    """Look once."""
    row = connection.execute(
        "SELECT (SELECT extract(epoch FROM clock_timestamp() - max(at))::float8 FROM worker_heartbeat),"
        " (SELECT count(*) FROM observation_inbox),"
        " (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(queued_at)), 0)::float8"
        " FROM observation_inbox LEFT JOIN inbox_attempt USING (inbox_id) WHERE next_at IS NULL),"
        # Counters come from boxes: what is no number, or no believable one, does not count.
        " (SELECT coalesce(max((counters ->> 'oldest_unreceipted_s')::float8), 0) FROM device_presence"
        " WHERE seen_at > clock_timestamp() - interval '5 minutes'"
        " AND jsonb_typeof(counters -> 'oldest_unreceipted_s') = 'number'"
        " AND (counters ->> 'oldest_unreceipted_s')::numeric BETWEEN 0 AND 1e9)"
    ).fetchone()
    assert row is not None
    counted = connection.execute(
        "SELECT CASE WHEN d.quarantined_at IS NOT NULL THEN 'quarantined' WHEN p.silent_since IS NOT NULL THEN 'silent'"
        " WHEN p.seen_at IS NOT NULL OR EXISTS (SELECT FROM device_stream s WHERE s.device_id = d.device_id)"
        " THEN 'heard' ELSE 'never heard' END, count(*)"
        " FROM device d LEFT JOIN device_presence p USING (device_id) GROUP BY 1"
    ).fetchall()
    devices = dict.fromkeys(DEVICE_STATES, 0) | dict(counted)
    worker_age_s, waiting, inbox_age_s, unreceipted_s = row
    return Outlook(worker_age_s, waiting, inbox_age_s, devices, unreceipted_s)
