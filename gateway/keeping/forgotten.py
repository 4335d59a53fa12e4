"""Packets of streams that the store has forgotten: kept as rejects, since they may have been taken in once.

A stream is forgotten long after anything came of it (``keep.streams_days``), never the newest of its box. A box that
comes out of a cupboard may still send what it numbered in such a life, and some of it was perhaps committed just before
the line went dead. Which, nobody knows any more; but the packet says when it was numbered. So readings numbered between
the registration of the box and the end of the newest stream that was forgotten, in a stream that began in the store
after the forgetting (``device_stream.doubted_until``), are not taken in but kept (``forgotten_epoch``), and a person
may take them in. Observations carry ids of their own and are applied once however often they come: they always go in,
for they may be alarms.
"""

from __future__ import annotations

from typing import Final

from common.wire.messages import Readings
from gateway.batch import Device
from gateway.decode import DecodedPacket, Rejected
from gateway.fleet.repo import Connection
from gateway.keeping import repo
from gateway.memory import Memory

#: How far the clock of a box may have been ahead when it numbered a packet.
_SKEW_MS: Final = 86_400_000


class ForgottenStreams:
    """Looks for such packets in one transaction."""

    def __init__(self, connection: Connection, memory: Memory) -> None:
        self._connection = connection
        self._memory = memory
        self._doubted: dict[tuple[int, int], int] = {}

    def judge(self, device: Device, item: DecodedPacket | Rejected) -> DecodedPacket | Rejected:
        """The message as it is, or why it is not taken in."""
        span = self._memory.forgotten.get(device.device_id)
        if span is None or isinstance(item, Rejected) or not isinstance(item.data, Readings):
            return item
        registered, until = span
        if not registered <= item.sent_at <= until + _SKEW_MS:
            return item
        doubted = self._doubted_until(device, item.epoch)
        if not doubted or item.sent_at > doubted + _SKEW_MS:
            return item
        message = (
            f"packet {item.epoch:x}-{item.seq} was numbered when streams of {device.address} ended that are"
            " forgotten by now: it may have been taken in then. drumtower gateway rejects retry takes it in"
        )
        return Rejected("forgotten_epoch", message, item.raw, item.address, item.epoch, item.seq)

    def _doubted_until(self, device: Device, epoch: int) -> int:
        key = device.device_id, epoch
        if key not in self._doubted:
            self._doubted[key] = repo.doubted_until(self._connection, *key)
        return self._doubted[key]
