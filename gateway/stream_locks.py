"""Locking the streams of a batch, whoever forgot them meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from gateway import repo
from gateway.batch import Device, Stream, StreamKey
from gateway.memory import Memory


def lock_streams(
    connection: repo.Connection, memory: Memory, wanted: Mapping[StreamKey, Device]
) -> dict[StreamKey, Stream]:
    """Lock streams that have a row, as far as this process knows; those that were forgotten begin anew.

    Housekeeping forgets streams of which nothing came for long (``gateway.keeping``), perhaps in this moment.
    """
    found = repo.lock_streams(connection, wanted)
    if gone := wanted.keys() - found.keys():
        memory.load_devices(connection)  # it says until when the forgotten ones went on
        repo.create_streams(connection, gone)
        found |= repo.lock_streams(connection, {key: wanted[key] for key in gone})
    return found
