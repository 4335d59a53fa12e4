"""Payloads of foreign devices to readings: a number, JSON by paths, a ChirpStack uplink. Pure; readers never raise.

Reasons of rejects: those of ``gateway.adapters.values``, and ``not_a_number``, ``not_json``, ``no_value``,
``bad_time``, ``bad_counter``, ``wrong_shape``, ``wrong_sender``, ``too_large``, ``retained``.
Source: ChirpStack 4, ``integration.UplinkEvent`` in the JSON mapping of Protocol Buffers: fields at their default
(a counter of 0) may be left out; ``fCnt`` is the counter of the session whose address is ``devAddr``, and a new
session (a join) begins at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from common.runtime.clock import to_ms
from common.wire.codec import MAX_MILLIS, MAX_PACKET_BYTES
from gateway.adapters.channel import Channel
from gateway.adapters.mapping import CounterField, TimeField
from gateway.adapters.values import ABSENT, Quantity, RefusedError, finder, shown
from gateway.decode import ForeignReading, RawMessage, Rejected

#: From a message to what it says.
Reader = Callable[[RawMessage], ForeignReading | Rejected]
_UPLINK_BITS: Final = 32
_MAX_SESSION: Final = 64
_json: Final = msgspec.json.Decoder()


class _DeviceInfo(msgspec.Struct):
    dev_eui: str = msgspec.field(name="devEui", default="")


class _Uplink(msgspec.Struct):
    """What of an uplink event counts here."""

    device: _DeviceInfo = msgspec.field(name="deviceInfo")
    session: str = msgspec.field(name="devAddr", default="")
    counter: int = msgspec.field(name="fCnt", default=0)
    port: int | None = msgspec.field(name="fPort", default=None)
    time: str | None = None
    data: str | None = None
    content: Any = msgspec.field(name="object", default=None)


_uplink: Final = msgspec.json.Decoder(_Uplink)


@dataclass(frozen=True, slots=True)
class Place:
    """A quantity and where it stands; ``ports`` empty: in uplinks of every port."""

    quantity: Quantity
    path: str
    find: Callable[[Any], Any]
    ports: frozenset[int] = frozenset()


def number_reader(channel: Channel, quantity: Quantity) -> Reader:
    """Reads one number, or a word that stands for one, as text."""
    scale, offset, low, high = quantity.scale, quantity.offset, quantity.low, quantity.high
    which = channel.all_series

    def read(raw: RawMessage) -> ForeignReading | Rejected:
        payload = raw.payload
        try:
            value = scale * float(payload) + offset
        except ValueError:
            return _word(channel, quantity, raw)
        # Python's numbers may hold underscores. A retained one was measured nobody knows when.
        if low <= value <= high and not raw.retain and b"_" not in payload:
            return ForeignReading(channel, raw, raw.received_at, (value,), which)
        return _word(channel, quantity, raw)

    return read


def _word(channel: Channel, quantity: Quantity, raw: RawMessage) -> ForeignReading | Rejected:
    """What is no possible number: a word that stands for one, or a reject."""
    if refused := _whole_message(channel, raw):
        return refused
    text = raw.payload.decode("utf-8", "replace").strip()
    try:
        if text in quantity.words:
            value = quantity.checked(quantity.words[text])
            return ForeignReading(channel, raw, raw.received_at, (value,), channel.all_series)
        given = math.nan if "_" in text else float(raw.payload)
        if not math.isnan(given):
            quantity.checked(given)
    except RefusedError as error:
        return _rejected(channel, raw, error)
    except ValueError:
        if quantity.words:
            message = f"expected a number or one of {', '.join(quantity.words)}, got {shown(raw.payload)}"
            return Rejected("unknown_word", message, raw, channel.address)
    message = f"expected a number as text for {quantity.name}, got {shown(raw.payload)}"
    return Rejected("not_a_number", message, raw, channel.address)


def json_reader(
    channel: Channel, places: Sequence[Place], time: TimeField | None, counter: CounterField | None
) -> Reader:
    """Reads values at their paths, with the message's own time and counter where it has them."""
    find_time = finder(time.path) if time else None
    find_counter = finder(counter.path) if counter else None
    find_session = finder(counter.session) if counter and counter.session else None
    time_format = time.format if time else "epoch_ms"
    bits = counter.bits if counter else 0
    named = channel.numbering is not None

    def read(raw: RawMessage) -> ForeignReading | Rejected:
        if refused := _whole_message(channel, raw):
            return refused
        try:
            data = _json.decode(raw.payload)
            at = raw.received_at if find_time is None else instant_of(find_time(data), time_format)
            epoch, number = 0, -1
            if find_counter is not None:
                number = _counter_of(find_counter(data), bits)
                epoch = channel.epoch("" if find_session is None else _session_of(find_session(data)))
            elif named:
                epoch, number = channel.epoch(""), at
            found = _json_values(places, data)
            return _reading(channel, raw, at, found, (epoch, number))
        except RefusedError as error:
            return _rejected(channel, raw, error)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            return Rejected("not_json", f"expected JSON in UTF-8: {error}", raw, channel.address)

    return read


def uplink_reader(channel: Channel, places: Sequence[Place], device_id: str) -> Reader:
    """Reads a ChirpStack uplink's decoded object; the frame counter of its session tells repeats."""
    expected = device_id.casefold()

    def read(raw: RawMessage) -> ForeignReading | Rejected:
        if raw.size > MAX_PACKET_BYTES:
            return _too_large(channel, raw)
        try:
            uplink = _uplink.decode(raw.payload)
            _check_sender(uplink, expected)
            at = raw.received_at if not uplink.time else instant_of(uplink.time, "rfc3339")
            number = _counter_of(uplink.counter, _UPLINK_BITS)
            epoch = channel.epoch(_session_of(uplink.session))
            return _reading(channel, raw, at, _uplink_values(places, uplink), (epoch, number))
        except RefusedError as error:
            return _rejected(channel, raw, error)
        except msgspec.ValidationError as error:
            return Rejected("wrong_shape", f"expected a ChirpStack uplink: {error}", raw, channel.address)
        except (ValueError, RecursionError) as error:
            return Rejected("not_json", f"expected JSON in UTF-8: {error}", raw, channel.address)

    return read


#: Values found, the series that they are of, and those that were refused.
_Found = tuple[list[float], list[int], list[tuple[str, str, str]]]


def _values(places: Sequence[Place], data: Any, port: int | None = None) -> _Found:
    values: list[float] = []
    which: list[int] = []
    refused: list[tuple[str, str, str]] = []
    for number, place in enumerate(places):
        if place.ports and port not in place.ports:
            continue
        given = place.find(data)
        if given is ABSENT:
            continue
        try:
            values.append(place.quantity.value_of(given))
            which.append(number)
        except RefusedError as error:
            refused.append((error.reason, str(error), place.quantity.name))
    return values, which, refused


def _json_values(places: Sequence[Place], data: Any) -> _Found:
    found = _values(places, data)
    if not found[0] and not found[2]:
        paths = ", ".join(place.path for place in places)
        raise RefusedError("no_value", f"expected at least one of {paths}, got {shown(data)}")
    return found


def _check_sender(uplink: _Uplink, expected: str) -> None:
    said = uplink.device.dev_eui
    if said.casefold() != expected:
        raise RefusedError("wrong_sender", f"expected devEui {expected} as on the topic, got {shown(said)}")


def _uplink_values(places: Sequence[Place], uplink: _Uplink) -> _Found:
    if not uplink.data and not uplink.content:
        return [], [], []  # no payload: all it says is that the device is there
    if uplink.content is None:
        raise RefusedError("no_value", "expected a decoded object; give the device's profile a codec")
    found = _values(places, uplink.content, uplink.port)
    if not found[0] and not found[2]:
        raise RefusedError("no_value", f"expected a mapped value on port {uplink.port}, got none of them")
    return found


def _reading(
    channel: Channel, raw: RawMessage, at: int, found: _Found, numbered: tuple[int, int]
) -> ForeignReading | Rejected:
    values, which, refused = found
    if refused and not values:
        message = "; ".join(message for _, message, _ in refused)
        return Rejected(refused[0][0], message, raw, channel.address)
    return ForeignReading(
        channel,
        raw,
        at,
        tuple(values),
        channel.all_series if len(which) == len(channel.series) else tuple(which),
        numbered[0],
        numbered[1],
        tuple(refused),
    )


def instant_of(given: Any, written: str) -> int:
    """An instant as a payload says it, in ms since the Unix epoch.

    Raises:
        RefusedError: when it is not one within the wire's bounds.
    """
    at: float = -1
    if written == "rfc3339":
        at = _rfc3339(given) if isinstance(given, str) else -1
    elif type(given) is int or type(given) is float:
        at = given * 1000 if written == "epoch_s" else given
    if not 0 <= at < MAX_MILLIS:
        what = "nothing" if given is ABSENT else shown(given)
        raise RefusedError("bad_time", f"expected a time as {written} from 1970 on, got {what}")
    return round(at)


def _rfc3339(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
        return -1 if at.tzinfo is None else to_ms(at)
    except (ValueError, OverflowError):
        return -1


def _counter_of(given: Any, bits: int) -> int:
    if type(given) is int and 0 <= given < 1 << bits:
        return given
    what = "nothing" if given is ABSENT else shown(given)
    raise RefusedError("bad_counter", f"expected a whole number of {bits} bits as counter, got {what}")


def _session_of(given: Any) -> str:
    if isinstance(given, str) and len(given) <= _MAX_SESSION:
        return given
    if type(given) is int and given.bit_length() <= _MAX_SESSION:
        return str(given)
    what = "nothing" if given is ABSENT else shown(given)
    raise RefusedError("bad_counter", f"expected a short text or number as session, got {what}")


def _whole_message(channel: Channel, raw: RawMessage) -> Rejected | None:
    """What can be wrong with a message whatever it says."""
    if raw.size > MAX_PACKET_BYTES:
        return _too_large(channel, raw)
    if raw.retain and channel.numbering is None:
        message = "expected it live, got what the broker had kept, measured nobody knows when"
        return Rejected("retained", message, raw, channel.address)
    return None


def _too_large(channel: Channel, raw: RawMessage) -> Rejected:
    message = f"expected at most {MAX_PACKET_BYTES} bytes, got {raw.size}"
    return Rejected("too_large", message, raw, channel.address)


def _rejected(channel: Channel, raw: RawMessage, error: RefusedError) -> Rejected:
    return Rejected(error.reason, str(error), raw, channel.address)
