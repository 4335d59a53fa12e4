"""MQTT packets to bytes and back, however the bytes are cut; what is not MQTT is a fault and never an exception."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.frames import (
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
    encode,
    encode_puback,
)
from gateway.mqtt.parser import Parser
from gateway.mqtt.properties import (
    MAX_VARIABLE,
    Properties,
    Property,
    ProtocolError,
    Reader,
    Value,
    encode_properties,
    encode_variable,
    parse_properties,
)
from gateway.mqtt.reasons import says

_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_ids = st.integers(1, 65_535)
_reasons = st.integers(0, 255)


def _several(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Value]:
    return st.lists(parts, min_size=1, max_size=3).map(tuple)


_VALUES: dict[Property, st.SearchStrategy[Value]] = {
    Property.SESSION_EXPIRY: st.integers(0, 2**32 - 1),
    Property.RECEIVE_MAXIMUM: st.integers(1, 65_535),
    Property.MAXIMUM_QOS: st.integers(0, 1),
    Property.MAXIMUM_PACKET_SIZE: st.integers(1, 2**32 - 1),
    Property.REASON_STRING: _texts,
    Property.CORRELATION_DATA: st.binary(max_size=20),
    Property.SUBSCRIPTION_ID: _several(st.integers(1, MAX_VARIABLE)),
    Property.USER: _several(st.tuples(_texts, _texts)),
}


def _properties() -> st.SearchStrategy[Properties]:
    return st.fixed_dictionaries({}, optional=_VALUES)


@st.composite
def _publishes(draw: st.DrawFn) -> Publish:
    qos = draw(st.integers(0, 2))
    payload = draw(st.binary(max_size=400))
    return Publish(
        topic=draw(_texts.filter(bool)),
        payload=payload,
        qos=qos,
        retain=draw(st.booleans()),
        dup=draw(st.booleans()) if qos else False,
        packet_id=draw(_ids) if qos else 0,
        size=len(payload),
    )


_frames: st.SearchStrategy[Frame] = st.one_of(
    _publishes(),
    st.builds(
        Connect,
        client_id=_texts,
        username=st.none() | _texts,
        password=st.none() | st.binary(max_size=20),
        clean_start=st.booleans(),
        keep_alive=st.integers(0, 65_535),
        properties=_properties(),
    ),
    st.builds(Connack, session_present=st.booleans(), reason=_reasons, properties=_properties()),
    st.builds(Puback, packet_id=_ids, reason=_reasons, properties=_properties()),
    st.builds(
        Subscribe,
        packet_id=_ids,
        filters=st.lists(st.tuples(_texts, st.integers(0, 0x2F)), max_size=4).map(tuple),
        properties=_properties(),
    ),
    st.builds(
        Suback, packet_id=_ids, reasons=st.lists(_reasons, max_size=4).map(tuple), properties=_properties()
    ),
    st.builds(
        Unsubscribe,
        packet_id=_ids,
        filters=st.lists(_texts, max_size=4).map(tuple),
        properties=_properties(),
    ),
    st.builds(
        Unsuback, packet_id=_ids, reasons=st.lists(_reasons, max_size=4).map(tuple), properties=_properties()
    ),
    st.just(Pingreq()),
    st.just(Pingresp()),
    st.builds(Disconnect, reason=_reasons, properties=_properties()),
)


def parsed(
    stream: bytes, cuts: list[int], version: Version = 5, limit: int = 1 << 20
) -> tuple[list[Frame], bool]:
    """What a parser makes of a stream that comes in pieces, and whether it met a fault."""
    parser = Parser(version, limit)
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    frames: list[Frame] = []
    for begin, end in itertools.pairwise(places):
        frames += parser.feed(stream[begin:end])
    return frames, parser.fault is not None


def _as_of_3_1_1(frame: Frame) -> Frame:
    """What is left of a packet in the older version: no properties, no reasons where it has none."""
    changes: dict[str, object] = {}
    if not isinstance(frame, Publish | Pingreq | Pingresp):
        changes["properties"] = {}
    if isinstance(frame, Puback | Disconnect):
        changes["reason"] = 0
    if isinstance(frame, Unsuback):
        changes["reasons"] = ()
    if isinstance(frame, Subscribe):
        changes["filters"] = tuple((topic, options & 3) for topic, options in frame.filters)
    return msgspec.structs.replace(frame, **changes)


@given(st.lists(_frames, max_size=6), st.lists(st.integers(0, 10_000), max_size=12))
def test_packets_come_back_as_they_were_however_their_bytes_are_cut(
    frames: list[Frame], cuts: list[int]
) -> None:
    stream = b"".join(encode(frame) for frame in frames)
    assert parsed(stream, cuts) == (frames, False)


@given(st.lists(_frames, max_size=6), st.lists(st.integers(0, 10_000), max_size=12))
def test_the_older_version_carries_what_it_has_room_for(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(encode(frame, 4) for frame in frames)
    found, fault = parsed(stream, cuts, 4)
    assert not fault
    assert found == [_as_of_3_1_1(frame) for frame in frames]


@given(st.lists(_frames, min_size=1, max_size=3))
def test_packets_come_back_when_every_byte_comes_alone(frames: list[Frame]) -> None:
    stream = b"".join(encode(frame) for frame in frames)
    assert parsed(stream, list(range(len(stream)))) == (frames, False)


@given(
    st.lists(_publishes(), min_size=1, max_size=5),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.integers(150, 300),
)
def test_of_an_oversized_message_the_beginning_is_kept_and_the_size_is_known(
    messages: list[Publish], cuts: list[int], limit: int
) -> None:
    found, fault = parsed(b"".join(encode(message) for message in messages), cuts, limit=limit)
    assert not fault
    assert len(found) == len(messages)
    for message, got in zip(messages, found, strict=True):
        assert isinstance(got, Publish)
        assert msgspec.structs.replace(got, payload=message.payload) == message
        assert message.payload.startswith(got.payload)
        assert got.payload == message.payload or len(got.payload) >= limit - 100


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=8), st.sampled_from([4, 5]))
def test_any_bytes_give_the_same_packets_and_the_same_fault_however_they_are_cut(
    stream: bytes, cuts: list[int], version: Version
) -> None:
    assert parsed(stream, cuts, version) == parsed(stream, [], version)


@given(
    st.lists(_frames, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4),
    st.lists(st.integers(0, 2000), max_size=6),
)
def test_damaged_packets_never_raise(
    frames: list[Frame], damage: list[tuple[int, int]], cuts: list[int]
) -> None:
    stream = bytearray(b"".join(encode(frame) for frame in frames))
    for place, value in damage:
        stream[place % len(stream)] = value
    assert parsed(bytes(stream), cuts) == parsed(bytes(stream), [])


_MESSAGE = encode(Publish("a/b", b"payload", 1, False, False, 7, 7))
_UNFIT = {
    "a length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "a length with an empty last byte": b"\xd0\x80\x00",
    "an unknown packet type": b"\x00\x00",
    "wrong flags": b"\xd1\x00",
    "QoS 3": b"\x36\x08\x00\x01a\x00\x01\x00xx",
    "a repeat at QoS 0": b"\x38\x05\x00\x01a\x00x",
    "a message without its topic": b"\x30\x01\x00",
    "a topic beyond its packet": b"\x30\x04\x00\x09ab",
    "a message without a packet id": b"\x32\x03\x00\x01a",
    "packet id 0": b"\x32\x06\x00\x01a\x00\x00\x00",
    "a topic that is not UTF-8": b"\x30\x04\x00\x01\xff\x00",
    "a topic with U+0000": b"\x30\x04\x00\x01\x00\x00",
    "no topic": b"\x30\x03\x00\x00\x00",
    "no properties": b"\x30\x03\x00\x01a",
    "properties beyond their packet": b"\x30\x04\x00\x01a\x09",
    "an unknown property": b"\x30\x06\x00\x01a\x02\x7f\x00",
    "a property twice": b"\xe0\x08\x00\x06\x1f\x00\x00\x1f\x00\x00",
    "a receive maximum of 0": b"\x20\x06\x00\x00\x03\x21\x00\x00",
    "flags of a CONNACK": b"\x20\x03\x02\x00\x00",
    "bytes behind a packet's end": b"\xd0\x01\x00",
    "an acknowledgement of nothing": b"\x40\x02\x00\x00",
    "a large packet that is no message": b"\x90\xff\xff\xff\x7f",
    "another protocol": b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x00\x00\x02ab",
}


@pytest.mark.parametrize("unfit", _UNFIT.values(), ids=_UNFIT.keys())
def test_what_is_not_mqtt_is_a_fault_behind_the_packets_before_it(unfit: bytes) -> None:
    parser = Parser()
    frames = parser.feed(_MESSAGE + unfit + _MESSAGE)
    assert [type(frame) for frame in frames] == [Publish]
    assert isinstance(parser.fault, ProtocolError)
    assert parser.fault.reason >= 0x80
    assert "MQTT broker" in parser.fault.hint
    assert parser.feed(_MESSAGE) == [], "nothing is parsed after a fault"


def test_a_packet_that_is_not_complete_is_waited_for() -> None:
    parser = Parser()
    assert parser.feed(_MESSAGE[:-1]) == []
    assert parser.fault is None
    assert [type(frame) for frame in parser.feed(_MESSAGE[-1:])] == [Publish]


def test_packets_are_the_bytes_that_the_standard_shows() -> None:
    assert encode(Pingreq()) == b"\xc0\x00"
    assert encode(Disconnect(), 4) == b"\xe0\x00"
    assert encode(Publish("a/b", b"hi", 0, True, False, 0, 2), 4) == b"\x31\x07\x00\x03a/bhi"
    assert encode(Puback(0x1234)) == encode_puback(0x1234) == b"\x40\x02\x12\x34"
    connect = Connect("me", "u", b"p", keep_alive=60, properties={Property.RECEIVE_MAXIMUM: 20})
    assert (
        encode(connect) == b"\x10\x18\x00\x04MQTT\x05\xc0\x00\x3c\x03\x21\x00\x14\x00\x02me\x00\x01u\x00\x01p"
    )
    assert encode(connect, 4) == b"\x10\x14\x00\x04MQTT\x04\xc0\x00\x3c\x00\x02me\x00\x01u\x00\x01p"
    assert encode(Subscribe(9, (("a/#", 0x11),))) == b"\x82\x09\x00\x09\x00\x00\x03a/#\x11"


def test_a_broker_of_the_older_version_refuses_a_newer_client_in_its_own_words() -> None:
    assert Parser(5).feed(b"\x20\x02\x00\x01") == [Connack(False, 1)]


@given(st.integers(0, MAX_VARIABLE))
def test_lengths_come_back(value: int) -> None:
    assert Reader(encode_variable(value)).variable() == value


@pytest.mark.parametrize("value", [-1, MAX_VARIABLE + 1])
def test_a_length_that_mqtt_cannot_carry_is_not_encoded(value: int) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        encode_variable(value)


@given(_properties())
def test_properties_come_back(properties: Properties) -> None:
    encoded = encode_properties(properties)
    reader = Reader(encoded)
    assert reader.properties() == properties
    assert reader.left() == 0


@given(st.binary(max_size=40))
def test_arbitrary_properties_are_properties_or_a_fault(body: bytes) -> None:
    try:
        found = parse_properties(body)
    except ProtocolError:
        return
    assert all(isinstance(name, Property) for name in found)


def test_a_text_too_long_for_mqtt_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="at most 65535 bytes"):
        encode(Connect("x" * 70_000))


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Connect("me", "gateway", b"secret"))


def test_reasons_are_said_in_words_even_unknown_ones() -> None:
    assert says(0x8E) == "session taken over"
    assert says(0xFE) == "reason 0xfe"


def test_who_makes_up_long_topics_fills_no_memory() -> None:
    parser = Parser()
    tracemalloc.start()
    try:
        for number in range(100):
            topic = f"{number:05d}" + "x" * 60_000
            (heard,) = parser.feed(encode(Publish(topic, b"1", 1, False, False, 1, 1)))
            assert isinstance(heard, Publish)
            assert heard.topic == topic
        del heard, topic
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000, "kept with their bytes they would be twelve times as much"
