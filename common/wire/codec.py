"""Bytes to messages and back, with a size cap and a version, and one kind of error.

Packets are numbered: their CloudEvents id is ``{epoch}-{seq}``. Status and receipts are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec

from common.wire import ids
from common.wire.messages import (
    ABANDONED_TYPE,
    EVENTS_TYPE,
    READINGS_TYPE,
    RECEIPT_TYPE,
    STATUS_TYPE,
    Abandoned,
    Envelope,
    Events,
    Readings,
    Receipt,
    Status,
)
from common.wire.topics import Address

MAX_PACKET_BYTES: Final = 512 * 1024
#: Instants on the wire are below this, as ``messages.Millis`` says (the year 6429).
MAX_MILLIS: Final = 1 << 47
Data = Readings | Events | Abandoned
_T = TypeVar("_T")

_TYPES: Final[dict[str, type[Data]]] = {
    READINGS_TYPE: Readings,
    EVENTS_TYPE: Events,
    ABANDONED_TYPE: Abandoned,
}
_NAMES: Final = {kind: name for name, kind in _TYPES.items()}
_envelope: Final = msgspec.json.Decoder(Envelope)
_decoders: Final = {name: msgspec.json.Decoder(kind) for name, kind in _TYPES.items()}
_status: Final = msgspec.json.Decoder(Status)
_receipt: Final = msgspec.json.Decoder(Receipt)
_encoder: Final = msgspec.json.Encoder()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class WireError(ValueError):
    """A payload that cannot be a message.

    ``reason`` is one of: ``too_large``, ``not_json``, ``wrong_version``, ``wrong_shape``, ``wrong_id``,
    ``unequal_columns``, ``not_a_number``, ``null_character``, ``wrong_sender``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Packet(msgspec.Struct, frozen=True):
    """A numbered message of a device, decoded and checked."""

    address: Address
    epoch: int
    seq: int
    sent_at: int
    data: Data


def encode_packet(address: Address, epoch: int, seq: int, at_ms: int, data: Data) -> bytes:
    """A packet's bytes; ``at_ms`` is when the box numbered it.

    Raises:
        WireError: when it would be larger than ``MAX_PACKET_BYTES`` or holds what JSON cannot carry.
    """
    _check_data(data)
    payload = _wrap(_NAMES[type(data)], ids.packet_id(epoch, seq), address, at_ms, data)
    if len(payload) > MAX_PACKET_BYTES:
        raise WireError(
            "too_large", f"expected at most {MAX_PACKET_BYTES} bytes a packet, got {len(payload)}"
        )
    return payload


def decode_packet(payload: bytes, address: Address) -> Packet:
    """A packet from its bytes, as sent by the device whose topic it came on.

    Raises:
        WireError: with the reason; nothing else.
    """
    envelope = _unwrap(payload, address)
    decoder = _decoders.get(envelope.type)
    if decoder is None:
        raise WireError("wrong_version", f"expected one of {sorted(_TYPES)}, got type {envelope.type!r}")
    try:
        epoch, seq = ids.parse_packet_id(envelope.id)
    except ValueError as error:
        raise WireError("wrong_id", str(error)) from error
    data = _decode(decoder, bytes(envelope.data))
    _check_data(data)
    return Packet(address, epoch, seq, _parse_time(envelope.time), data)


def encode_status(address: Address, at_ms: int, status: Status) -> bytes:
    """The bytes of a retained status."""
    return _wrap(STATUS_TYPE, f"status-{at_ms}", address, at_ms, status)


def decode_status(payload: bytes, address: Address) -> Status:
    """A status from its bytes; raises WireError."""
    return _decode_typed(payload, address, STATUS_TYPE, _status)


def encode_receipt(address: Address, at_ms: int, receipt: Receipt) -> bytes:
    """The bytes of a commit receipt."""
    return _wrap(RECEIPT_TYPE, f"receipt-{at_ms}", address, at_ms, receipt)


def decode_receipt(payload: bytes, address: Address) -> Receipt:
    """A receipt from its bytes; raises WireError."""
    return _decode_typed(payload, address, RECEIPT_TYPE, _receipt)


def rfc3339(at_ms: int) -> str:
    """An instant as RFC 3339 text in UTC with milliseconds."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def _wrap(kind: str, message_id: str, address: Address, at_ms: int, data: object) -> bytes:
    return _encoder.encode(
        {
            "specversion": "1.0",
            "id": message_id,
            "source": f"/{address}",
            "type": kind,
            "time": rfc3339(at_ms),
            "datacontenttype": "application/json",
            "data": data,
        }
    )


def _unwrap(payload: bytes, address: Address) -> Envelope:
    if len(payload) > MAX_PACKET_BYTES:
        raise WireError("too_large", f"expected at most {MAX_PACKET_BYTES} bytes, got {len(payload)}")
    envelope = _decode(_envelope, payload)
    if envelope.source != f"/{address}":
        raise WireError(
            "wrong_sender", f"expected source '/{address}' as on the topic, got {envelope.source[:100]!r}"
        )
    return envelope


def _decode_typed(payload: bytes, address: Address, kind: str, decoder: msgspec.json.Decoder[_T]) -> _T:
    envelope = _unwrap(payload, address)
    if envelope.type != kind:
        raise WireError("wrong_version", f"expected type {kind!r}, got {envelope.type!r}")
    return _decode(decoder, bytes(envelope.data))


def _decode(decoder: msgspec.json.Decoder[_T], payload: bytes) -> _T:
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise WireError("wrong_shape", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("not_json", f"expected JSON in UTF-8: {error}") from error


def _check_data(data: Data) -> None:
    if isinstance(data, Readings):
        for series in data.series:
            if len(series.at) != len(series.value):
                raise WireError(
                    "unequal_columns",
                    f"expected as many values as instants for {series.sensor}/{series.metric}, "
                    f"got {len(series.value)} and {len(series.at)}",
                )
            if not all(map(math.isfinite, series.value)):
                raise WireError(
                    "not_a_number",
                    f"expected finite numbers for {series.sensor}/{series.metric}, got NaN or infinity",
                )
    elif any("\0" in text for text in _free_texts(data)):
        # PostgreSQL cannot hold U+0000 in text; every other string is held to a pattern.
        raise WireError("null_character", "expected text without U+0000, got one inside a string")


def _free_texts(data: Events | Abandoned) -> Iterator[str]:
    if isinstance(data, Abandoned):
        yield data.reason
        return
    for observation in data.observations:
        yield observation.unit
        for key, value in observation.detail.items():
            yield key
            if isinstance(value, str):
                yield value


def _parse_time(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise WireError("wrong_shape", f"expected an RFC 3339 time, got {text!r}") from error
    if at.tzinfo is None:
        raise WireError("wrong_shape", f"expected a time with its zone, got {text!r}")
    at_ms = (at - _EPOCH) // timedelta(milliseconds=1)
    if not 0 <= at_ms < MAX_MILLIS:
        raise WireError("wrong_shape", f"expected a time from 1970 on that fits 47 bits of ms, got {text!r}")
    return at_ms
