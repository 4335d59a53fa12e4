"""What a batch's transaction leaves behind for the rollups."""

from __future__ import annotations

from gateway.fleet.repo import Connection
from gateway.rollups import repo
from gateway.rollups.dirty import MINUTE_MS, touched
from gateway.rows import Ints


def note_readings(
    connection: Connection, captured: Ints, received: Ints, starts: Ints, series_id: Ints
) -> None:
    """Note which minutes the readings of a batch belong to; the arguments are those of ``dirty.touched``."""
    found = touched(captured, received, starts, series_id)
    due_ms = found.live[1] * MINUTE_MS if found.live else int(received.max())
    repo.note(connection, found, due_ms)
