"""What goes into one transaction and what comes out of it, as values; the flattening of packets into columns. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from common.wire.ids import observation_id
from common.wire.messages import Abandoned, Observation
from common.wire.topics import Address
from gateway.decode import Decoded, DecodedPacket, Rejected, Shape, columns_of
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


@dataclass(frozen=True, slots=True)
class Layout:
    """The series of one device that packets of one shape hold, as the bytes of columns.

    ``watch`` is the rules among which their slots are theirs.
    """

    watch: object
    group: list[Series]
    slot: bytes
    series_id: bytes
    low: bytes
    high: bytes

    @classmethod
    def of(cls, watch: object, group: list[Series]) -> Layout:
        """A layout of these series."""
        return cls(
            watch,
            group,
            np.array([series.slot for series in group], np.int64).tobytes(),
            np.array([series.series_id for series in group], np.int64).tobytes(),
            np.array([series.low for series in group], np.float64).tobytes(),
            np.array([series.high for series in group], np.float64).tobytes(),
        )


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
    #: What was found for packets of its last shapes.
    layouts: dict[Shape, Layout] = field(default_factory=dict)


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
    #: Sites of which nothing is ours, and still something came.
    strays: set[str] = field(default_factory=set)
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
        self.strays |= other.strays
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

    A *group* is the readings of one series in one packet: ``lengths`` and ``owner`` (the packet's place among them)
    have one entry a group, ``shapes`` one a packet. Instants in ms since the Unix epoch.
    """

    claimed_at: Ints
    value: Floats
    lengths: Ints
    owner: Ints
    shapes: list[Shape]


def flatten(packets: Iterable[DecodedPacket]) -> Flat:
    """The readings of readings packets, in order."""
    columns = [packet.columns or columns_of(packet) for packet in packets]
    lengths: list[int] = []
    for one in columns:
        lengths += one.lengths
    shapes = [one.shape for one in columns]
    return Flat(
        np.frombuffer(b"".join([one.at for one in columns]), np.int64),
        np.frombuffer(b"".join([one.value for one in columns]), np.float64),
        np.array(lengths, np.int64),
        np.repeat(np.arange(len(shapes)), np.array([len(shape.names) for shape in shapes], np.int64)),
        shapes,
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
    #: What is believable of each group's series; None: ask the series.
    low: Floats | None = None
    high: Floats | None = None

    def __len__(self) -> int:
        """How many readings."""
        return len(self.value)

    def bounds(self) -> tuple[Floats, Floats]:
        """What is believable of each reading."""
        low, high = self.low, self.high
        if low is None or high is None:
            low = np.array([series.low for series in self.group])
            high = np.array([series.high for series in self.group])
        return np.repeat(low, self.lengths), np.repeat(high, self.lengths)


def with_layouts(flat: Flat, layouts: Sequence[Layout]) -> Columns:
    """Columns of packets all of whose series are known."""
    group: list[Series] = []
    for layout in layouts:
        group += layout.group
    return Columns(
        flat.claimed_at,
        flat.value,
        flat.lengths,
        _offsets(flat.lengths),
        flat.owner,
        group,
        np.frombuffer(b"".join([layout.slot for layout in layouts]), np.int64),
        np.frombuffer(b"".join([layout.series_id for layout in layouts]), np.int64),
        np.frombuffer(b"".join([layout.low for layout in layouts]), np.float64),
        np.frombuffer(b"".join([layout.high for layout in layouts]), np.float64),
    )


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
        _offsets(lengths),
        owner,
        group,
        np.array([series.slot for series in group], np.int64),
        np.array([series.series_id for series in group], np.int64),
    )


def _offsets(lengths: Ints) -> Ints:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))


def series_reject(
    packet: DecodedPacket, reason: str, message: str, series: Iterable[tuple[str, str]]
) -> Rejected:
    """The series of a packet that cannot be taken in, with the packet's own bytes, to be tried again."""
    names = tuple(sorted({f"{sensor}/{metric}" for sensor, metric in series}))
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
