"""Raw messages to packets and statuses, or to rejects with their reason. Pure; never raises.

Reasons of rejects here: those of ``common.wire.codec.WireError``, ``wrong_topic``, ``unsupported_kind``,
``not_text``, ``undecodable`` (a fault of ours); of foreign devices those of ``gateway.adapters``. The store adds: ``unknown_device``, ``unknown_metric``,
``too_many_series``, ``reused_sequence``, ``database_refused``, ``store_refused``.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from common.runtime.clock import to_ms
from common.wire import ids
from common.wire.codec import MAX_MILLIS, Data, WireError, decode_packet, decode_status
from common.wire.messages import READINGS_TYPE, Envelope, Millis, Readings, Series, Status
from common.wire.topics import Address, parse_up
from gateway import faults
from gateway.adapters.channel import Channel

#: Of a payload too large to be a packet only this much is kept.
KEPT_OF_OVERSIZED: Final = 4096

_CACHED_TOPICS: Final = 50_000
_CACHED_NAMES: Final = 200_000
#: In all the shapes together: a box may send as many shapes as there are orders of a thousand names.
_CACHED_SHAPE_NAMES: Final = 200_000
_envelope: Final = msgspec.json.Decoder(Envelope)


class RawMessage(msgspec.Struct, frozen=True):
    """A message as it came: ``received_at`` in ms since the Unix epoch, ``size`` of the whole payload in bytes.

    ``payload`` is cut to ``KEPT_OF_OVERSIZED`` bytes when ``size`` is more than a packet may have.
    """

    topic: str
    payload: bytes
    retain: bool
    received_at: int
    size: int


class Shape:
    """What readings packets that look alike share: the series that they hold, as (sensor, metric), in their order.

    Equal only to itself, so that finding what belongs to one costs next to nothing.
    """

    __slots__ = ("names",)

    def __init__(self, names: tuple[tuple[str, str], ...]) -> None:
        self.names = names


class ReadingColumns(msgspec.Struct, frozen=True, gc=False):
    """A packet's readings as they lie in arrays: ``lengths`` readings of each of the shape's series in turn.

    ``at`` are 64-bit whole numbers (ms since the Unix epoch), ``value`` 64-bit floating point numbers, as numpy
    keeps them on this machine.
    """

    shape: Shape
    lengths: tuple[int, ...]
    at: bytes
    value: bytes

    def __len__(self) -> int:
        """How many readings."""
        return len(self.at) // 8


class DecodedPacket(msgspec.Struct, frozen=True):
    """A numbered packet of a device, checked.

    Where ``columns`` is not None the readings are there, and ``data`` is empty.
    """

    address: Address
    epoch: int
    seq: int
    sent_at: int
    data: Data
    raw: RawMessage
    columns: ReadingColumns | None = None


class DecodedStatus(msgspec.Struct, frozen=True):
    """A status; ``raw.retain`` tells a replayed one from one said just now."""

    address: Address
    status: Status
    raw: RawMessage


class Rejected(msgspec.Struct, frozen=True):
    """A message that cannot be taken in.

    ``address`` is the sender when the topic names one. ``epoch`` and ``seq`` are known when the envelope could
    be read: such a packet is receipted, since sending it again would not make it better. ``series`` names
    (``sensor/metric``) what is rejected of a packet whose other series were taken in.
    """

    reason: str
    message: str
    raw: RawMessage
    address: Address | None = None
    epoch: int | None = None
    seq: int | None = None
    series: tuple[str, ...] = ()


class ForeignReading(msgspec.Struct, frozen=True, gc=False):
    """What one message of a foreign device brought: the values of some series of its channel, measured at ``at``.

    ``values`` are in their metrics' units; ``which`` says of which of the channel's series they are. ``number`` is
    the message's counter or time in the stream ``epoch``, where it can be known again by one; epoch 0 otherwise.
    ``refused`` are values of it that could not be taken in: reason, message, ``sensor/metric``.
    """

    channel: Channel
    raw: RawMessage
    at: int
    values: tuple[float, ...]
    which: tuple[int, ...]
    epoch: int = 0
    number: int = -1
    refused: tuple[tuple[str, str, str], ...] = ()

    @property
    def address(self) -> Address:
        """Who sent it."""
        return self.channel.address

    def part(self, names: frozenset[str]) -> ForeignReading:
        """What of it is of these series (``sensor/metric``)."""
        kept = [
            (place, value)
            for place, value in zip(self.which, self.values, strict=True)
            if "/".join(self.channel.series[place]) in names
        ]
        return msgspec.structs.replace(
            self,
            values=tuple(value for _, value in kept),
            which=tuple(place for place, _ in kept),
            refused=tuple(one for one in self.refused if one[2] in names),
        )


class ForeignDecoder(Protocol):
    """Reads the topics of foreign devices."""

    def decode(self, raw: RawMessage) -> ForeignReading | Rejected | None:
        """What a message says; None when its topic is not that of a foreign device."""
        ...


Decoded = DecodedPacket | DecodedStatus | ForeignReading | Rejected


class _QuickSeries(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A series whose names are not held to their patterns yet: matching them is half the cost of decoding."""

    sensor: str
    metric: str
    at: Annotated[list[Millis], Meta(min_length=1, max_length=5000)]
    value: Annotated[list[float], Meta(min_length=1, max_length=5000)]


class _QuickReadings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    series: Annotated[list[_QuickSeries], Meta(min_length=1, max_length=1000)]


class _QuickPacket(Envelope, frozen=True, gc=False):
    """Envelope and readings in one go: ``data`` is read once instead of being skipped first."""

    data: _QuickReadings  # type: ignore[assignment]  # of an envelope it is raw


_quick: Final = msgspec.json.Decoder(_QuickPacket)
#: What ``data`` is where the readings stand in columns.
_IN_COLUMNS: Final = Readings([])


class Decoder:
    """Turns raw messages into what they say. Keeps nothing but caches of topics and names that were right.

    Args:
        foreign: reads what is not on a box's topic.
        columnar: give readings in columns, which the store takes with less work.
    """

    def __init__(self, foreign: ForeignDecoder | None = None, *, columnar: bool = False) -> None:
        self._foreign = foreign
        self._columnar = columnar
        self._topics: dict[str, tuple[Address, str, str]] = {}
        self._names: set[tuple[str, str]] = set()
        self._shapes: dict[tuple[tuple[str, str], ...], Shape] = {}
        self._shape_names = 0

    def decode(self, raw: RawMessage) -> Decoded:
        """The packet or status in a message, or why there is none."""
        try:
            foreign = None if self._foreign is None else self._foreign.decode(raw)
            return self._decode(raw) if foreign is None else foreign
        except (ValueError, ArithmeticError, TypeError, LookupError, RecursionError) as error:
            # Not known to happen; but one message must not end the process, and come again to its successor.
            return Rejected("undecodable", f"decoding failed: {type(error).__name__}: {error}", raw)

    def _decode(self, raw: RawMessage) -> Decoded:
        try:
            address, kind, source = self._topics.get(raw.topic) or self._learn(raw.topic)
        except ValueError as error:
            return Rejected("wrong_topic", str(error), raw)
        if fault := faults.outside(raw.size, kind):
            return Rejected(*fault, raw, address)
        if kind == "status":
            return _decode_status(raw, address)
        if self._columnar and kind == "readings" and (quick := self._decode_known(raw, address, source)):
            return quick
        decoded = _decode_packet(raw, address, kind)
        if self._columnar and isinstance(decoded, DecodedPacket) and isinstance(decoded.data, Readings):
            return self._in_columns(decoded, decoded.data)
        return decoded

    def _learn(self, topic: str) -> tuple[Address, str, str]:
        """Who speaks on a topic, of what kind, and as which source; raises ValueError when it is no box's."""
        address, kind = parse_up(topic)
        if len(self._topics) >= _CACHED_TOPICS:
            self._topics.clear()
        known = self._topics[topic] = (address, kind, f"/{address}")
        return known

    def _decode_known(self, raw: RawMessage, address: Address, source: str) -> DecodedPacket | None:
        """A readings packet all of whose names were seen to be right before; None leaves it to the codec.

        Whatever the codec checks is checked here too, so both give the same packet (a test compares them).
        """
        try:
            packet = _quick.decode(raw.payload)
            if packet.type != READINGS_TYPE or packet.source != source:
                return None
            epoch, seq = ids.parse_packet_id(packet.id)
        except (ValueError, RecursionError):
            return None
        series = packet.data.series
        names = tuple([(one.sensor, one.metric) for one in series])
        shape = self._shapes.get(names)
        if shape is None:
            if not self._names.issuperset(names):
                return None
            shape = self._shape(names)
        sent_at = _parse_time(packet.time)
        columns = _columns(shape, series)
        if columns is None or sent_at is None:
            return None
        return DecodedPacket(address, epoch, seq, sent_at, _IN_COLUMNS, raw, columns)

    def _in_columns(self, packet: DecodedPacket, data: Readings) -> DecodedPacket:
        """A packet that the codec has checked, as ``_decode_known`` would give it; its names are known from now on."""
        names = tuple([(one.sensor, one.metric) for one in data.series])
        if len(self._names) >= _CACHED_NAMES:
            self._names.clear()
            self._forget_shapes()
        self._names.update(names)
        columns = _columns(self._shape(names), data.series)
        if columns is None:
            return packet  # finite values whose sum is not; the store takes it as it is
        return msgspec.structs.replace(packet, data=_IN_COLUMNS, columns=columns)

    def _shape(self, names: tuple[tuple[str, str], ...]) -> Shape:
        shape = self._shapes.get(names)
        if shape is None:
            if self._shape_names + len(names) > _CACHED_SHAPE_NAMES:
                self._forget_shapes()
            shape = self._shapes[names] = Shape(names)
            self._shape_names += len(names)
        return shape

    def _forget_shapes(self) -> None:
        self._shapes.clear()
        self._shape_names = 0


def columns_of(packet: DecodedPacket) -> ReadingColumns:
    """The readings of a readings packet in columns, however it was decoded."""
    if packet.columns is not None:
        return packet.columns
    series = packet.data.series if isinstance(packet.data, Readings) else []
    at, values, lengths = _joined(series)
    return _packed(Shape(tuple([(one.sensor, one.metric) for one in series])), at, values, lengths)


def _columns(shape: Shape, series: Sequence[_QuickSeries | Series]) -> ReadingColumns | None:
    """Series as columns; None when they are of unequal lengths, or their values not surely finite."""
    at, values, lengths = _joined(series)
    if tuple([len(one.value) for one in series]) != lengths or not math.isfinite(sum(values)):
        return None
    return _packed(shape, at, values, lengths)


def _joined(series: Sequence[_QuickSeries | Series]) -> tuple[list[int], list[float], tuple[int, ...]]:
    at: list[int] = []
    values: list[float] = []
    for one in series:
        at += one.at
        values += one.value
    return at, values, tuple([len(one.at) for one in series])


def _packed(shape: Shape, at: list[int], values: list[float], lengths: tuple[int, ...]) -> ReadingColumns:
    """Done packet by packet, while its numbers are still in the processor's cache: later it costs four times that."""
    return ReadingColumns(shape, lengths, array("q", at).tobytes(), array("d", values).tobytes())


def _parse_time(text: str) -> int | None:
    """An RFC 3339 time with its zone as ms since the Unix epoch, None when it is not one within the wire's bounds."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    at_ms = to_ms(at)
    return at_ms if 0 <= at_ms < MAX_MILLIS else None


def _decode_packet(raw: RawMessage, address: Address, kind: str) -> Decoded:
    try:
        packet = decode_packet(raw.payload, address)
    except WireError as error:
        epoch, seq = _number(raw.payload, address)
        return Rejected(error.reason, str(error), raw, address, epoch, seq)
    if fault := faults.of_data(packet.data, kind):
        return Rejected(*fault, raw, address, packet.epoch, packet.seq)
    return DecodedPacket(address, packet.epoch, packet.seq, packet.sent_at, packet.data, raw)


def _decode_status(raw: RawMessage, address: Address) -> Decoded:
    try:
        status = decode_status(raw.payload, address)
    except WireError as error:
        return Rejected(error.reason, str(error), raw, address)
    fault = faults.of_status(status)
    return Rejected(*fault, raw, address) if fault else DecodedStatus(address, status, raw)


def _number(payload: bytes, address: Address) -> tuple[int | None, int | None]:
    """The epoch and sequence number of a packet that is otherwise unusable, if it says them as its sender."""
    try:
        envelope = _envelope.decode(payload)
        if envelope.source != f"/{address}":
            return None, None
        return ids.parse_packet_id(envelope.id)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None, None
