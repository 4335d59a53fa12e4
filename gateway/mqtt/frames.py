"""MQTT's control packets as values, and their bytes. Pure; ``gateway.mqtt.parser`` goes the other way.

Version 5 and 3.1.1 (protocol levels 5 and 4) at quality of service 0 and 1: no will, no enhanced authentication, no
QoS 2, which nothing here uses. With level 4 properties and reason codes are left out.

Source: MQTT 5.0 (OASIS, 2019) and MQTT 3.1.1 (OASIS, 2014), chapter 3.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from gateway.mqtt.properties import (
    Properties,
    encode_binary,
    encode_properties,
    encode_text,
    encode_variable,
)

Version = Literal[4, 5]
#: Reason codes from here on say that something failed.
FAILED: Final = 0x80

CONNECT: Final = 0x10
CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
SUBSCRIBE: Final = 0x82
SUBACK: Final = 0x90
UNSUBSCRIBE: Final = 0xA2
UNSUBACK: Final = 0xB0
PINGREQ: Final = 0xC0
PINGRESP: Final = 0xD0
DISCONNECT: Final = 0xE0


class Connect(Struct, frozen=True):
    """A client's first packet; ``keep_alive`` in seconds."""

    client_id: str
    username: str | None = None
    password: bytes | None = None
    clean_start: bool = False
    keep_alive: int = 30
    properties: Properties = {}

    def __repr__(self) -> str:
        """Without the password: it must not reach a log."""
        return f"Connect(client_id={self.client_id!r}, username={self.username!r})"


class Connack(Struct, frozen=True):
    """The answer to it."""

    session_present: bool
    reason: int
    properties: Properties = {}


class Publish(Struct, frozen=True, gc=False):
    """A message. ``packet_id`` is 0 at QoS 0.

    ``size`` is the whole payload's, in bytes; where it is more than the parser keeps, ``payload`` is its beginning.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int
    size: int


class Puback(Struct, frozen=True):
    """That a QoS 1 message has arrived, or why it is refused."""

    packet_id: int
    reason: int = 0
    properties: Properties = {}


class Subscribe(Struct, frozen=True):
    """Topic filters with their options byte: QoS, and retain handling from bit 4 on."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]
    properties: Properties = {}


class Suback(Struct, frozen=True):
    """The granted QoS or the refusal for each filter, in their order."""

    packet_id: int
    reasons: tuple[int, ...]
    properties: Properties = {}


class Unsubscribe(Struct, frozen=True):
    """Topic filters of which no more is to come."""

    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = {}


class Unsuback(Struct, frozen=True):
    """The answer to it; version 3.1.1 gives no reasons."""

    packet_id: int
    reasons: tuple[int, ...] = ()
    properties: Properties = {}


class Pingreq(Struct, frozen=True):
    """Are you there?"""


class Pingresp(Struct, frozen=True):
    """I am."""


class Disconnect(Struct, frozen=True):
    """The last packet; with version 5 the broker may send it too."""

    reason: int = 0
    properties: Properties = {}


Frame = (
    Connect
    | Connack
    | Publish
    | Puback
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
)


def encode(frame: Frame, version: Version = 5) -> bytes:
    """A packet's bytes.

    Raises:
        ValueError: when a text or the packet is longer than MQTT can carry, or a number has no room.
    """
    match frame:
        case Publish():
            first, body = _publish(frame, version)
        case Connect():
            first, body = CONNECT, _connect_body(frame, version)
        case Connack():
            first = CONNACK
            body = bytes((frame.session_present, frame.reason)) + _props(frame.properties, version)
        case Puback():
            first = PUBACK
            body = _id(frame.packet_id) + _outcome(frame.reason, frame.properties, version)
        case Subscribe() | Unsubscribe():
            first, body = _subscription(frame, version)
        case Suback() | Unsuback():
            first, body = _granted(frame, version)
        case Disconnect():
            first, body = DISCONNECT, _outcome(frame.reason, frame.properties, version)
        case Pingreq() | Pingresp():
            first, body = (PINGREQ if isinstance(frame, Pingreq) else PINGRESP), b""
    return bytes((first,)) + encode_variable(len(body)) + body


def encode_puback(packet_id: int) -> bytes:
    """The four bytes, the same in both versions, of an acknowledgement without more to say."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def _id(packet_id: int) -> bytes:
    return packet_id.to_bytes(2, "big")


def _props(properties: Properties, version: Version) -> bytes:
    return encode_properties(properties) if version == 5 else b""


def _outcome(reason: int, properties: Properties, version: Version) -> bytes:
    """A reason and its properties, each left out where it says nothing and nothing follows."""
    if version == 4 or not (reason or properties):
        return b""
    return bytes((reason,)) + (encode_properties(properties) if properties else b"")


def _connect_body(frame: Connect, version: Version) -> bytes:
    flags = (frame.username is not None) << 7 | (frame.password is not None) << 6 | frame.clean_start << 1
    body = encode_text("MQTT") + bytes((version, flags)) + frame.keep_alive.to_bytes(2, "big")
    body += _props(frame.properties, version) + encode_text(frame.client_id)
    if frame.username is not None:
        body += encode_text(frame.username)
    if frame.password is not None:
        body += encode_binary(frame.password)
    return body


def _publish(frame: Publish, version: Version) -> tuple[int, bytes]:
    first = PUBLISH | frame.dup << 3 | frame.qos << 1 | frame.retain
    body = encode_text(frame.topic) + (_id(frame.packet_id) if frame.qos else b"")
    return first, body + (b"\0" if version == 5 else b"") + frame.payload


def _subscription(frame: Subscribe | Unsubscribe, version: Version) -> tuple[int, bytes]:
    head = _id(frame.packet_id) + _props(frame.properties, version)
    if isinstance(frame, Unsubscribe):
        return UNSUBSCRIBE, head + b"".join(encode_text(topic) for topic in frame.filters)
    wanted = [
        encode_text(topic) + bytes((options if version == 5 else options & 3,))
        for topic, options in frame.filters
    ]
    return SUBSCRIBE, head + b"".join(wanted)


def _granted(frame: Suback | Unsuback, version: Version) -> tuple[int, bytes]:
    head = _id(frame.packet_id) + _props(frame.properties, version)
    if isinstance(frame, Suback):
        return SUBACK, head + bytes(frame.reasons)
    return UNSUBACK, head + (bytes(frame.reasons) if version == 5 else b"")
