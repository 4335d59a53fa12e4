"""Numbered packets and the port of the outbox that keeps them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from common.wire import ids
from common.wire.codec import Data
from common.wire.messages import Receipt
from edge.ranges import Range

Kind = Literal["readings", "events", "abandoned"]


@dataclass(frozen=True, slots=True, order=True)
class PacketId:
    """What names a packet of one device for ever."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        """As on the wire."""
        return ids.packet_id(self.epoch, self.seq)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A packet without a receipt; ``fresh`` is false for what an outage left behind."""

    id: PacketId
    kind: Kind
    fresh: bool


@dataclass(frozen=True, slots=True)
class Receipted:
    """What a receipt changed.

    Attributes:
        packets: how many were receipted by it.
        missed: numbers of the receipt's epoch that the store misses, as ranges with both ends included.
        forked: the current epoch was found in use elsewhere and a new one begun; forget what is in flight.
        restored: the store is another incarnation; everything held waits again.
    """

    packets: int = 0
    missed: tuple[Range, ...] = ()
    forked: bool = False
    restored: bool = False


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Counts over all lives in this file: ``numbered = receipted + unreceipted + abandoned``."""

    epoch: int
    numbered: int
    receipted: int
    unreceipted: int
    abandoned: int
    oldest_unreceipted_ms: int | None
    held_bytes: int
    epochs: list[dict[str, int | str]] = field(default_factory=list)


class Outbox(Protocol):
    """Where accepted packets stay until a receipt; every method may be called from any thread."""

    @property
    def epoch(self) -> int:
        """The current life's number."""
        ...

    def append(self, data: Data) -> PacketId:
        """Number a packet and keep it; on return it is on disk (within a group: when the group ends).

        Raises:
            InvalidError: ``outbox.not_a_packet`` when it cannot be encoded; no number was used.
            DiskFullError: ``outbox.disk_full``; it was not accepted.
        """
        ...

    def make_room(self) -> None:
        """Let what is missed least go, so that what follows finds room on a full disk.

        Raises:
            DiskFullError: there is none to be made.
        """
        ...

    def group(self) -> AbstractContextManager[object]:
        """Let many appends share one commit: all of them are accepted, or none."""
        ...

    def pending(
        self, limit: int, skip: Collection[PacketId] = (), *, fresh_only: bool = False
    ) -> list[Waiting]:
        """What to send next, without ``skip``: fresh alarms in order, then older alarms newest first,
        then fresh readings in order, then older readings newest first.

        What a receipt spoke of above a gap is not sent again unless a later receipt misses it, or
        :meth:`unsettle` is called.
        """
        ...

    def payload(self, packet: PacketId) -> tuple[Kind, bytes] | None:
        """The encoded packet, or None when it is no longer held."""
        ...

    def receipt(self, receipt: Receipt) -> Receipted:
        """Take in what the store says it has committed."""
        ...

    def unsettle(self, epoch: int | None = None) -> int:
        """Let what a receipt spoke of above a gap wait again, of one epoch or of all; how many packets.

        Whether the store has such a packet, or misses it for less time than its receipts tell of, only a
        further receipt says; and none may ever come.

        Raises:
            DiskFullError: it could not be written down; nothing changed.
        """
        ...

    def trim(self) -> int:
        """Let go of packets receipted longer ago than they are to be kept; how many."""
        ...

    def stats(self) -> OutboxStats:
        """The counts of now."""
        ...
