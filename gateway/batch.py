"""What goes into one transaction and what comes out of it, as values; the flattening of packets into columns. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from common.wire.ids import observation_id
from common.wire.messages import Abandoned, Observation, Readings
from common.wire.messages import Series as WireSeries
from common.wire.topics import Address
from gateway.decode import Decoded, DecodedPacket, Rejected
from gateway.rows import Floats, Ints
from gateway.streams import SequenceSet

ABANDONED_CATEGORY: Final = "device.packets_abandoned"
#: device, sensor, metric
SeriesKey = tuple[int, str, str]
#: device, epoch
StreamKey = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity of one sensor: its row, its place among the rules, and what is believable of it."""

    series_id: int
    slot: int
    sensor: str
    low: float
    high: float


@dataclass(slots=True)
class Device:
    """A registered box, with the series seen of it so far by (sensor, metric)."""

    device_id: int
    address: Address
    partition: str
    quarantined: bool
    #: How far behind our clock its own was when it last said its status; None: not heard. In ms.
    clock_behind_ms: int | None = None
    series: dict[tuple[str, str], Series] = field(default_factory=dict)


@dataclass(slots=True)
class Stream:
    """A row of ``device_stream`` that this transaction has locked."""

    device: Device
    epoch: int
    received: SequenceSet
    abandoned: SequenceSet
    packets: int = 0
    duplicates: int = 0
    rejected: int = 0
    urgent: bool = False
    changed: bool = False
    received_at: int = 0
    most_ranges: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stream is committed; ``packets`` came in this batch, duplicates included.

    ``gaps`` are the missing ranges below ``highest``, both ends included; ``urgent`` asks for a receipt now.
    """

    address: Address
    epoch: int
    upto: int
    highest: int
    gaps: tuple[tuple[int, int], ...]
    packets: int
    urgent: bool


@dataclass(slots=True)
class BatchResult:
    """What one committed batch came to."""

    incarnation: str = ""
    progress: list[Progress] = field(default_factory=list)
    packets: int = 0
    foreign: int = 0
    rows: int = 0
    duplicates: int = 0
    observations: int = 0
    statuses: int = 0
    ignored: int = 0
    abandoned: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    rejects_dropped: int = 0
    rules_s: float = 0.0

    def add(self, other: BatchResult) -> None:
        """Join the result of a later part of the same batch."""
        self.incarnation = other.incarnation or self.incarnation
        self.progress += other.progress
        self.packets += other.packets
        self.foreign += other.foreign
        self.rows += other.rows
        self.duplicates += other.duplicates
        self.observations += other.observations
        self.statuses += other.statuses
        self.ignored += other.ignored
        self.abandoned += other.abandoned
        self.rejects.update(other.rejects)
        self.rejects_dropped += other.rejects_dropped
        self.rules_s += other.rules_s


@dataclass(frozen=True, slots=True)
class Told:
    """An observation on its way to the store, with where it came from; instants in ms since the Unix epoch.

    ``past_ms`` is how far behind its receipt it may be, where that is not the usual.
    """

    device_id: int
    observation: Observation
    received_at: int
    epoch: int | None
    seq: int | None
    past_ms: int | None = None


@dataclass(slots=True)
class Flat:
    """The readings of packets as columns, before anybody looked up whose they are.

    A *group* is the readings of one series in one packet: ``lengths``, ``series`` and ``owner`` (the packet's place
    among the ``packets`` readings packets) have one entry a group. Instants in ms since the Unix epoch.
    """

    packets: int
    claimed_at: Ints
    value: Floats
    lengths: Ints
    series: list[WireSeries]
    owner: Ints


def flatten(packets: Iterable[Decoded]) -> Flat:
    """The readings of the packets that hold any, in order."""
    at: list[int] = []
    values: list[float] = []
    series: list[WireSeries] = []
    owners: list[int] = []
    number = 0
    for packet in packets:
        if not isinstance(packet, DecodedPacket) or not isinstance(packet.data, Readings):
            continue
        for wire in packet.data.series:
            at += wire.at
            values += wire.value
        series += packet.data.series
        owners += [number] * len(packet.data.series)
        number += 1
    return Flat(
        number,
        np.array(at, np.int64),
        np.array(values, np.float64),
        np.array([len(wire.at) for wire in series], np.int64),
        series,
        np.array(owners, np.int64),
    )


@dataclass(slots=True)
class Columns:
    """Readings with their series looked up: group ``g`` is rows ``offset[g]`` … ``offset[g + 1] - 1``."""

    claimed_at: Ints
    value: Floats
    lengths: Ints
    offset: Ints
    owner: Ints
    group: list[Series]
    slot: Ints
    series_id: Ints

    def __len__(self) -> int:
        """How many readings."""
        return len(self.value)


def with_series(flat: Flat, found: list[Series | None]) -> Columns:
    """Columns of the groups whose series was found; the others are left out."""
    group = [series for series in found if series is not None]
    claimed_at, value, lengths, owner = flat.claimed_at, flat.value, flat.lengths, flat.owner
    if len(group) < len(found):
        kept = np.array([series is not None for series in found], bool)
        rows = np.repeat(kept, lengths)
        claimed_at, value, lengths, owner = claimed_at[rows], value[rows], lengths[kept], owner[kept]
    return Columns(
        claimed_at,
        value,
        lengths,
        np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths))),
        owner,
        group,
        np.array([series.slot for series in group], np.int64),
        np.array([series.series_id for series in group], np.int64),
    )


def series_reject(packet: DecodedPacket, reason: str, message: str, series: Iterable[WireSeries]) -> Rejected:
    """The series of a packet that cannot be taken in, with the packet's own bytes, to be tried again."""
    names = tuple(sorted({f"{wire.sensor}/{wire.metric}" for wire in series}))
    return Rejected(reason, message, packet.raw, packet.address, packet.epoch, packet.seq, names)


def of_nobody(item: Decoded) -> Rejected:
    """A message whose sender is not registered."""
    if isinstance(item, Rejected):
        return Rejected(item.reason, item.message, item.raw)
    message = f"expected a registered device, got {item.address}; enrol it: drumtower gateway enrol"
    return Rejected("unknown_device", message, item.raw)


def observation_of_loss(packet: DecodedPacket, data: Abandoned, count: int) -> Observation:
    """That a box gave up so many packets."""
    at = packet.sent_at
    return Observation(
        observation_id=str(observation_id(str(packet.address), "outbox:abandoned", packet.epoch, packet.seq)),
        phase="act",
        revision=0,
        category=ABANDONED_CATEGORY,
        source="outbox:abandoned",
        sensor="outbox",
        started_at=at,
        at=at,
        ended_at=at,
        severity=2,
        count=min(count, 2**31 - 1),
        value=float(count),
        unit="packets",
        detail={"reason": data.reason, "epoch": data.epoch},
    )
