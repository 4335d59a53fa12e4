"""What goes into one transaction and what comes out of it, as values; the flattening of packets into columns. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.wire.codec import encode_packet
from common.wire.messages import Observation, Readings
from common.wire.messages import Series as WireSeries
from common.wire.topics import Address
from gateway.decode import DecodedPacket, RawMessage, Rejected
from gateway.rows import Floats, Ints
from gateway.streams import SequenceSet

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
    rows: int = 0
    duplicates: int = 0
    observations: int = 0
    statuses: int = 0
    ignored: int = 0
    abandoned: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    rejects_dropped: int = 0

    def add(self, other: BatchResult) -> None:
        """Join the result of a later part of the same batch."""
        self.incarnation = other.incarnation or self.incarnation
        self.progress += other.progress
        self.packets += other.packets
        self.rows += other.rows
        self.duplicates += other.duplicates
        self.observations += other.observations
        self.statuses += other.statuses
        self.ignored += other.ignored
        self.abandoned += other.abandoned
        self.rejects.update(other.rejects)
        self.rejects_dropped += other.rejects_dropped


@dataclass(frozen=True, slots=True)
class Told:
    """An observation on its way to the store, with where it came from; instants in ms since the Unix epoch."""

    device_id: int
    observation: Observation
    received_at: int
    epoch: int | None
    seq: int | None


@dataclass(slots=True)
class Columns:
    """Fresh readings of a batch: ``group_*`` arrays have one entry a series of a packet."""

    claimed_at: Ints
    value: Floats
    offset: Ints
    group_slot: Ints
    group_series: Ints
    group_packet: Ints
    group: Sequence[Series]
    packet_received_at: Ints
    group_low: Floats
    group_high: Floats

    def __len__(self) -> int:
        """How many readings."""
        return len(self.value)


Fresh = Sequence[tuple[Device, DecodedPacket]]


def flatten(packets: Fresh, find: Callable[[Device, WireSeries], Series | None]) -> Columns:
    """The readings of packets as columns, in packet order; series that ``find`` does not give are left out."""
    at: list[int] = []
    values: list[float] = []
    lengths: list[int] = [0]
    groups: list[Series] = []
    owners: list[int] = []
    for number, (device, packet) in enumerate(packets):
        if not isinstance(packet.data, Readings):
            continue
        known = device.series
        for wire in packet.data.series:
            series = known.get((wire.sensor, wire.metric)) or find(device, wire)
            if series is None:
                continue
            at += wire.at
            values += wire.value
            lengths.append(len(wire.at))
            groups.append(series)
            owners.append(number)
    return Columns(
        claimed_at=np.array(at, np.int64),
        value=np.array(values, np.float64),
        offset=np.cumsum(lengths, dtype=np.int64),
        group_slot=np.array([series.slot for series in groups], np.int64),
        group_series=np.array([series.series_id for series in groups], np.int64),
        group_packet=np.array(owners, np.int64),
        group=groups,
        packet_received_at=np.array([packet.raw.received_at for _, packet in packets], np.int64),
        group_low=np.array([series.low for series in groups]),
        group_high=np.array([series.high for series in groups]),
    )


def series_reject(packet: DecodedPacket, reason: str, message: str, series: Iterable[WireSeries]) -> Rejected:
    """The part of a packet that cannot be taken in, as a packet that can be tried again on its own."""
    part = encode_packet(packet.address, packet.epoch, packet.seq, packet.sent_at, Readings(list(series)))
    raw = RawMessage(packet.raw.topic, part, packet.raw.retain, packet.raw.received_at, len(part))
    return Rejected(reason, message, raw, packet.address, packet.epoch, packet.seq)
