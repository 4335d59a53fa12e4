"""After a restore from a backup every box is told where the store stands as soon as it shows itself.

A box sends again what the store lost once a receipt tells it of another incarnation. One that numbers packets hears at
once. One that has nothing to say (a camera in a quiet street) would learn of it at its next alarm, perhaps after it let
go of what the store lacks: it is answered when it says its status, which every connected box does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.batch import Stream, StreamKey
from gateway.decode import DecodedStatus
from gateway.fleet.repo import Connection
from gateway.memory import Memory
from gateway.stream_locks import lock_streams


def greet(
    connection: Connection,
    memory: Memory,
    statuses: Iterable[tuple[int, DecodedStatus]],
    locked: Mapping[StreamKey, Stream],
) -> dict[StreamKey, Stream]:
    """Have receipts sent for the current streams of boxes that were not answered since the restore.

    Returns:
        Those streams that were not locked yet; they are locked now, and have a row.
    """
    if not memory.restored:
        return {}
    wanted = {}
    for device_id, item in statuses:
        if device_id not in memory.greeted and item.status.state == "online" and item.status.epoch:
            device = memory.find(item.address)
            assert device is not None
            wanted[device_id, int(item.status.epoch, 16)] = device
    if not wanted:
        return {}
    more = lock_streams(connection, memory, {key: wanted[key] for key in wanted.keys() - locked.keys()})
    for key in wanted:
        (more.get(key) or locked[key]).urgent = True
    return more


def greeted(statuses: Iterable[tuple[int, DecodedStatus]]) -> set[int]:
    """The devices that a batch with these statuses has answered."""
    return {device_id for device_id, item in statuses if item.status.state == "online" and item.status.epoch}
