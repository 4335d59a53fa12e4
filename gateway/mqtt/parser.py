"""A stream of bytes to MQTT packets, however the bytes are cut. Pure.

Memory is bounded: of a message whose packet is larger than ``limit`` only so much is kept, and the rest is counted
and let go, so that one oversized message cannot stop the connection. Any other packet beyond it is a fault.

Source: MQTT 5.0 (OASIS, 2019) and MQTT 3.1.1 (OASIS, 2014), chapters 2 and 3.
"""

from __future__ import annotations

from typing import Final

from gateway.mqtt import frames as packet
from gateway.mqtt.frames import (
    PUBLISH,
    Connack,
    Connect,
    Disconnect,
    Frame,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Version,
)
from gateway.mqtt.properties import Properties, ProtocolError, Reader, decode_text, parse_properties

LIMIT: Final = 1 << 20
_CACHED_TOPICS: Final = 50_000
#: Bytes of a topic that is remembered: those in use are short, and a topic may have 64 KiB.
_CACHED_LENGTH: Final = 256
_PROTOCOL: Final = 0x82
_TOO_LARGE: Final = 0x95


class Parser:
    """Packets out of bytes that come in pieces.

    Args:
        version: the protocol level that the connection speaks, 5 or 4.
        limit: bytes of a packet's body that are kept at most.

    After bytes that are not MQTT ``fault`` says what was wrong, and nothing more is parsed.
    """

    def __init__(self, version: Version = 5, limit: int = LIMIT) -> None:
        self.fault: ProtocolError | None = None
        self._version = version
        self._limit = limit
        self._held = bytearray()
        self._skip = 0
        self._topics: dict[bytes, str] = {}

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """The packets that these bytes complete, in order; the bytes are not kept."""
        frames: list[Frame] = []
        if self.fault is not None:
            return frames
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = memoryview(data)[skipped:]
        if self._held:
            self._held += data
            data = self._held
        with memoryview(data) as view:
            try:
                parsed = self._parse(view, frames)
            except ProtocolError as fault:
                self.fault = fault
                parsed = len(view)
            rest = b"" if data is self._held or parsed == len(view) else bytes(view[parsed:])
        if data is self._held:
            del self._held[:parsed]
        else:
            self._held += rest
        return frames

    def _parse(self, view: memoryview, frames: list[Frame]) -> int:
        """Add complete packets to ``frames``; where the first incomplete one begins."""
        at, end, limit = 0, len(view), self._limit
        while end - at >= 2:
            first, size, body = view[at], view[at + 1], at + 2
            if size >= 128:
                length = _long_length(view, at + 1, end)
                if length is None:
                    break
                size, body = length
            stop = body + size
            if size > limit:
                if first & 0xF0 != PUBLISH:
                    raise ProtocolError(f"expected a packet of at most {limit} bytes, got {size}", _TOO_LARGE)
                if end < body + limit:
                    break
                frames.append(self._publish(view, first, body, body + limit, size - limit))
                self._skip = max(stop - end, 0)
                at = min(stop, end)
                continue
            if stop > end:
                break
            if first & 0xF0 == PUBLISH:
                frames.append(self._publish(view, first, body, stop, 0))
            else:
                frames.append(_parse_body(first, bytes(view[body:stop]), self._version))
            at = stop
        return at

    def _publish(self, view: memoryview, first: int, at: int, stop: int, cut: int) -> Publish:
        """The hot path; ``stop`` is where what is here of the packet ends, ``cut`` how much is not."""
        if stop - at < 2:
            raise ProtocolError("expected a topic in a message, found its packet ended")
        name = at + 2
        at = name + (view[at] << 8 | view[at + 1])
        qos = first >> 1 & 3
        packet_id = 0
        if qos:
            if at + 2 > stop or qos == 3:
                raise ProtocolError("expected a packet id and a QoS of 0 to 2 in a message")
            packet_id = view[at] << 8 | view[at + 1]
            if not packet_id:
                raise ProtocolError("expected a packet id from 1 on, got 0", _PROTOCOL)
        elif first & 8:
            raise ProtocolError("expected no repeat at QoS 0, got one")
        encoded = bytes(view[name:at])
        at += 2 if qos else 0
        if self._version == 5:
            at = _after_properties(view, at, stop)
        if at > stop:
            raise ProtocolError("expected topic and properties to end before their packet does")
        topic = self._topics.get(encoded)
        if topic is None:
            topic = self._learn(encoded)
        payload = bytes(view[at:stop])
        return Publish(topic, payload, qos, first & 1 == 1, first & 8 == 8, packet_id, len(payload) + cut)

    def _learn(self, encoded: bytes) -> str:
        topic = decode_text(encoded)
        if not topic:
            raise ProtocolError("expected a topic, got none: topic aliases were not allowed", _PROTOCOL)
        if len(encoded) <= _CACHED_LENGTH:
            if len(self._topics) >= _CACHED_TOPICS:
                self._topics.clear()
            self._topics[encoded] = topic
        return topic


def _long_length(view: memoryview, at: int, end: int) -> tuple[int, int] | None:
    """A length of several bytes and where it ends; None while bytes of it are missing."""
    size = 0
    for place in range(4):
        if at + place >= end:
            return None
        byte = view[at + place]
        size |= (byte & 127) << 7 * place
        if byte < 128:
            if place and not byte:
                raise ProtocolError("expected a length in as few bytes as it needs, got more")
            return size, at + place + 1
    raise ProtocolError("expected a length of at most four bytes, got more")


def _after_properties(view: memoryview, at: int, stop: int) -> int:
    """Where a message's properties end. None of them matters here, but they must be some."""
    if at >= stop:
        raise ProtocolError("expected properties in a message, found its packet ended")
    if not view[at]:
        return at + 1
    length = _long_length(view, at, stop)
    if length is None or length[0] + length[1] > stop:
        raise ProtocolError("expected properties to end before their packet does")
    size, begins = length
    parse_properties(bytes(view[begins : begins + size]))
    return begins + size


def _parse_body(first: int, body: bytes, version: Version) -> Frame:
    reader = Reader(body)
    frame: Frame
    match first:
        case packet.CONNACK:
            frame = _connack(reader, version)
        case packet.PUBACK:
            frame = Puback(_packet_id(reader), *_outcome(reader, version))
        case packet.SUBACK | packet.UNSUBACK:
            frame = _granted(first, reader, version)
        case packet.PINGRESP:
            frame = Pingresp()
        case packet.DISCONNECT:
            frame = Disconnect(*_outcome(reader, version))
        case packet.CONNECT:
            frame = _connect(reader)
        case packet.SUBSCRIBE | packet.UNSUBSCRIBE:
            frame = _subscription(first, reader, version)
        case packet.PINGREQ:
            frame = Pingreq()
        case _:
            raise ProtocolError(f"expected a packet type and its flags, got {first:#04x}", _PROTOCOL)
    if reader.left():
        raise ProtocolError(f"expected packet {first:#04x} to end, found {reader.left()} more bytes")
    return frame


def _granted(first: int, reader: Reader, version: Version) -> Suback | Unsuback:
    packet_id, properties = _packet_id(reader), _props(reader, version)
    kind = Suback if first == packet.SUBACK else Unsuback
    return kind(packet_id, tuple(reader.rest()), properties)


def _subscription(first: int, reader: Reader, version: Version) -> Subscribe | Unsubscribe:
    packet_id, properties = _packet_id(reader), _props(reader, version)
    if first == packet.UNSUBSCRIBE:
        topics = []
        while reader.left():
            topics.append(reader.text())
        return Unsubscribe(packet_id, tuple(topics), properties)
    filters = []
    while reader.left():
        filters.append((reader.text(), reader.number(1)))
    return Subscribe(packet_id, tuple(filters), properties)


def _connack(reader: Reader, version: Version) -> Connack:
    flags, reason = reader.number(1), reader.number(1)
    if flags > 1:
        raise ProtocolError(f"expected only 'session present' among a CONNACK's flags, got {flags:#04x}")
    # A broker that knows only 3.1.1 refuses a newer client in its own words: two bytes.
    return Connack(flags == 1, reason, _props(reader, version) if reader.left() else {})


def _connect(reader: Reader) -> Connect:
    name, level, flags, keep_alive = reader.text(), reader.number(1), reader.number(1), reader.number(2)
    if name != "MQTT" or level not in {4, 5} or flags & 0x3D:
        raise ProtocolError(f"expected MQTT of level 4 or 5 without a will, got {name} {level} {flags:#04x}")
    properties = reader.properties() if level == 5 else {}
    client_id = reader.text()
    username = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    return Connect(client_id, username, password, flags & 2 == 2, keep_alive, properties)


def _packet_id(reader: Reader) -> int:
    packet_id = reader.number(2)
    if not packet_id:
        raise ProtocolError("expected a packet id from 1 on, got 0", _PROTOCOL)
    return packet_id


def _props(reader: Reader, version: Version) -> Properties:
    return reader.properties() if version == 5 else {}


def _outcome(reader: Reader, version: Version) -> tuple[int, Properties]:
    """A reason and properties that may both be left out."""
    if version == 4 or not reader.left():
        return 0, {}
    reason = reader.number(1)
    return reason, reader.properties() if reader.left() else {}
