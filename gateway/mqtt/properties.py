"""MQTT's basic types and the properties of MQTT 5: values to bytes and back. Pure.

Source: MQTT 5.0 (OASIS, 2019), sections 1.5 (data representation) and 2.2.2 (properties).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from common.runtime.errors import TransientError

MAX_VARIABLE: Final = 268_435_455
_MALFORMED: Final = 0x81
_PROTOCOL: Final = 0x82


class ProtocolError(TransientError):
    """Bytes that are not MQTT; ``reason`` is the code to disconnect with (MQTT 5.0, table 2-6)."""

    def __init__(self, message: str, reason: int = _MALFORMED) -> None:
        super().__init__("mqtt.protocol", message, "the connection is opened anew; is this an MQTT broker?")
        self.reason = reason


class Property(IntEnum):
    """The properties of MQTT 5 by their identifiers."""

    PAYLOAD_FORMAT = 0x01
    MESSAGE_EXPIRY = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_AVAILABLE = 0x28
    SUBSCRIPTION_ID_AVAILABLE = 0x29
    SHARED_AVAILABLE = 0x2A


#: Numbers, texts, bytes; of those that may stand several times (user, subscription identifier), all of them.
Value = int | str | bytes | tuple[int, ...] | tuple[tuple[str, str], ...]
Properties = dict[Property, Value]

_BYTES_OF_NUMBER: Final = {
    Property.PAYLOAD_FORMAT: 1,
    Property.MESSAGE_EXPIRY: 4,
    Property.SESSION_EXPIRY: 4,
    Property.SERVER_KEEP_ALIVE: 2,
    Property.REQUEST_PROBLEM_INFORMATION: 1,
    Property.WILL_DELAY: 4,
    Property.REQUEST_RESPONSE_INFORMATION: 1,
    Property.RECEIVE_MAXIMUM: 2,
    Property.TOPIC_ALIAS_MAXIMUM: 2,
    Property.TOPIC_ALIAS: 2,
    Property.MAXIMUM_QOS: 1,
    Property.RETAIN_AVAILABLE: 1,
    Property.MAXIMUM_PACKET_SIZE: 4,
    Property.WILDCARD_AVAILABLE: 1,
    Property.SUBSCRIPTION_ID_AVAILABLE: 1,
    Property.SHARED_AVAILABLE: 1,
}
_BINARY: Final = frozenset({Property.CORRELATION_DATA, Property.AUTHENTICATION_DATA})
_NEVER_ZERO: Final = frozenset(
    {Property.RECEIVE_MAXIMUM, Property.MAXIMUM_PACKET_SIZE, Property.TOPIC_ALIAS, Property.SUBSCRIPTION_ID}
)


class Reader:
    """Takes MQTT's basic types from the front of a packet's body."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def left(self) -> int:
        """How many bytes there are still."""
        return len(self._body) - self._at

    def take(self, size: int) -> bytes:
        """So many bytes; raises ProtocolError when there are not."""
        end = self._at + size
        if end > len(self._body):
            raise ProtocolError(f"expected {size} more bytes in a packet, found {self.left()}")
        taken = self._body[self._at : end]
        self._at = end
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left())

    def number(self, size: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def variable(self) -> int:
        """A variable byte integer."""
        value = 0
        for place in range(4):
            byte = self.number(1)
            value |= (byte & 127) << 7 * place
            if byte < 128:
                if place and not byte:
                    raise ProtocolError("expected a length in as few bytes as it needs, got more")
                return value
        raise ProtocolError("expected a length of at most four bytes, got more")

    def binary(self) -> bytes:
        """Bytes behind their length."""
        return self.take(self.number(2))

    def text(self) -> str:
        """UTF-8 behind its length."""
        return decode_text(self.binary())

    def properties(self) -> Properties:
        """Properties behind their length."""
        return parse_properties(self.take(self.variable()))


def decode_text(encoded: bytes) -> str:
    """A text from its UTF-8; raises ProtocolError when it is not that, or holds U+0000."""
    try:
        text = encoded.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"expected text in UTF-8: {error}") from error
    if "\0" in text:
        raise ProtocolError("expected text without U+0000, got one")
    return text


def encode_variable(value: int) -> bytes:
    """A number of up to 28 bits as a variable byte integer.

    Raises:
        ValueError: when it has more.
    """
    if not 0 <= value <= MAX_VARIABLE:
        raise ValueError(f"expected a number from 0 to {MAX_VARIABLE}, got {value}")
    encoded = bytearray()
    while True:
        value, digit = value >> 7, value & 127
        encoded.append(digit | 128 if value else digit)
        if not value:
            return bytes(encoded)


def encode_binary(value: bytes) -> bytes:
    """Bytes behind their length.

    Raises:
        ValueError: when they are more than 65,535.
    """
    if len(value) > 65_535:
        raise ValueError(f"expected at most 65535 bytes, got {len(value)}")
    return len(value).to_bytes(2, "big") + value


def encode_text(text: str) -> bytes:
    """UTF-8 behind its length; raises ValueError when it is too long."""
    return encode_binary(text.encode())


def encode_properties(properties: Properties) -> bytes:
    """Properties behind their length, in the order of the dict."""
    body = b"".join(_encode_one(name, value) for name, value in properties.items())
    return encode_variable(len(body)) + body


def parse_properties(body: bytes) -> Properties:
    """The properties in a packet, without their length; raises ProtocolError."""
    reader = Reader(body)
    found: Properties = {}
    users: list[tuple[str, str]] = []
    subscriptions: list[int] = []
    while reader.left():
        identifier = reader.variable()
        try:
            name = Property(identifier)
        except ValueError as error:
            raise ProtocolError(f"expected a property of MQTT 5, got {identifier:#x}") from error
        if name is Property.USER:
            users.append((reader.text(), reader.text()))
            found[name] = tuple(users)
        elif name is Property.SUBSCRIPTION_ID:
            subscriptions.append(reader.variable())
            found[name] = tuple(subscriptions)
        elif name in found:
            raise ProtocolError(f"expected property {name.name} once, got it again", _PROTOCOL)
        else:
            found[name] = _parse_one(name, reader)
        if name in _NEVER_ZERO and found[name] in {0, (0,)}:
            raise ProtocolError(f"expected property {name.name} to be more than 0", _PROTOCOL)
    return found


def _parse_one(name: Property, reader: Reader) -> Value:
    size = _BYTES_OF_NUMBER.get(name)
    if size is not None:
        return reader.number(size)
    return reader.binary() if name in _BINARY else reader.text()


def _encode_one(name: Property, value: Value) -> bytes:
    head = encode_variable(name)
    match value:
        case int():
            return head + value.to_bytes(_BYTES_OF_NUMBER[name], "big")
        case bytes():
            return head + encode_binary(value)
        case str():
            return head + encode_text(value)
        case tuple():
            one: Callable[[int | tuple[str, str]], bytes] = _encode_part
            return b"".join(head + one(part) for part in value)


def _encode_part(part: int | tuple[str, str]) -> bytes:
    if isinstance(part, int):
        return encode_variable(part)
    return encode_text(part[0]) + encode_text(part[1])
