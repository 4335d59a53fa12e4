"""Decoding never raises, whatever comes, and says what is wrong with it."""

from __future__ import annotations

import json
import random
import tracemalloc
import uuid
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.wire.codec import encode_packet, encode_status
from common.wire.messages import Abandoned, Events, Observation, Readings, Series, Status
from common.wire.topics import Address
from gateway import decode as decoding
from gateway.decode import Decoded, DecodedPacket, DecodedStatus, Decoder, RawMessage, Rejected, columns_of

BOX = Address("gulou", "lamp-01")
AT = 1_767_225_600_000
READINGS = encode_packet(BOX, 255, 7, AT, Readings([Series("s1", "temperature", [AT, AT + 1], [20.0, 20.5])]))
EVENTS = encode_packet(
    BOX,
    255,
    8,
    AT,
    Events(
        [
            Observation(
                observation_id=str(uuid.UUID(int=1)),
                phase="start",
                revision=0,
                category="smoke.alarm",
                source="rule:smoke",
                sensor="s1",
                started_at=AT,
                at=AT,
                severity=3,
                unit="dB/m",
                detail={"note": "ok", "level": 1},
            )
        ]
    ),
)
ABANDONED = encode_packet(BOX, 255, 9, AT, Abandoned("ff", [(1, 3)], "disk full"))
STATUS = encode_status(BOX, AT, Status("online", AT, "0.1", "ff", {"frames": 3, "mode": "day"}))


def decode(
    payload: bytes, kind: str = "readings", topic: str | None = None, size: int | None = None
) -> Decoded:
    """One message through a decoder."""
    raw = RawMessage(
        topic if topic is not None else BOX.up(kind),
        payload,
        False,
        AT,
        len(payload) if size is None else size,
    )
    return Decoder().decode(raw)


def reason(decoded: Decoded) -> str:
    """Why it was rejected."""
    assert isinstance(decoded, Rejected), decoded
    return decoded.reason


def test_a_packet_is_decoded_with_its_number_and_sender() -> None:
    packet = decode(READINGS)
    assert isinstance(packet, DecodedPacket)
    assert (packet.address, packet.epoch, packet.seq, packet.sent_at) == (BOX, 255, 7, AT)


def test_events_and_abandoned_ranges_come_on_the_events_topic() -> None:
    assert isinstance(decode(EVENTS, "events"), DecodedPacket)
    assert isinstance(decode(ABANDONED, "events"), DecodedPacket)
    assert reason(decode(READINGS, "events")) == "wrong_topic"
    assert reason(decode(EVENTS, "readings")) == "wrong_topic"


def test_a_status_is_decoded() -> None:
    assert isinstance(decode(STATUS, "status"), DecodedStatus)


@pytest.mark.parametrize(
    ("payload", "kind", "expected"),
    [
        (b"", "readings", "not_json"),
        (b"\xff\x00garbage", "readings", "not_json"),
        (READINGS[:-10], "readings", "not_json"),
        (READINGS.replace(b"readings.v1", b"readings.v2"), "readings", "wrong_version"),
        (READINGS.replace(b"gulou/lamp-01", b"gulou/lamp-02"), "readings", "wrong_sender"),
        (READINGS.replace(b"[20.0,20.5]", b"[20.0]"), "readings", "unequal_columns"),
        (READINGS.replace(b"20.5", b"NaN"), "readings", "not_json"),
        (READINGS.replace(b"20.5", b"1e999"), "readings", "wrong_shape"),
        (READINGS.replace(b"20.5", b'"20.5"'), "readings", "wrong_shape"),
        (READINGS.replace(b'"ff-7"', b'"ff-07"'), "readings", "wrong_id"),
        (READINGS.replace(b'"ff-7"', b'"ff-99999999999999999999"'), "readings", "wrong_id"),
        (READINGS.replace(b'"s1"', b'"s1\\u0000"'), "readings", "wrong_shape"),
        (EVENTS.replace(b'"ok"', b'"o\\u0000k"'), "events", "null_character"),
        (EVENTS.replace(b'"ok"', b'"\\udc00"'), "events", "not_json"),
        (EVENTS.replace(b'"level":1', b'"level":' + b"9" * 5000), "events", "wrong_shape"),
        (ABANDONED.replace(b"[1,3]", b"[3,1]"), "events", "wrong_shape"),
        (ABANDONED.replace(b"[1,3]", b"[0,3]"), "events", "wrong_shape"),
        (ABANDONED.replace(b'"epoch":"ff"', b'"epoch":"ffffffffffffffff"'), "events", "wrong_shape"),
        (STATUS.replace(b'"day"', b'"\\u0000"'), "status", "null_character"),
        (STATUS.replace(b'"ff"', b'"ffffffffffffffff"'), "status", "wrong_shape"),
        (b'{"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "readings", "not_json"),
        (b"{}", "config", "unsupported_kind"),
    ],
)
def test_each_kind_of_bad_message_has_its_reason(payload: bytes, kind: str, expected: str) -> None:
    decoded = decode(payload, kind)
    if expected in {
        "not_json",
        "wrong_shape",
    }:  # which of the two, where text or number is the fault, is msgspec's
        assert reason(decoded) in {"not_json", "wrong_shape", "not_text"}
    else:
        assert reason(decoded) == expected


@pytest.mark.parametrize(
    "topic",
    ["", "dt/v1/gulou/lamp-01/down/receipt", "dt/v1/GULOU/x/up/readings", "a/b/c", "dt/v1/a/b/up/x/y"],
)
def test_a_topic_that_no_device_has_is_rejected(topic: str) -> None:
    assert reason(decode(READINGS, topic=topic)) == "wrong_topic"


def test_an_oversized_message_is_rejected_by_its_size_not_by_what_is_left_of_it() -> None:
    assert reason(decode(b"{", size=10_000_000)) == "too_large"


def test_a_reject_knows_its_number_when_its_own_sender_says_it() -> None:
    bad = decode(READINGS.replace(b"20.5", b'"hot"'))
    assert isinstance(bad, Rejected)
    assert (bad.epoch, bad.seq) == (255, 7)
    forged = decode(READINGS.replace(b"gulou/lamp-01", b"gulou/lamp-02"))
    assert isinstance(forged, Rejected)
    assert (forged.epoch, forged.seq) == (None, None), (
        "a number of somebody else's stream is not ours to use up"
    )


@given(st.binary(max_size=300), st.sampled_from(["readings", "events", "status", "config"]))
def test_arbitrary_bytes_never_raise(payload: bytes, kind: str) -> None:
    assert isinstance(decode(payload, kind), Rejected)


@given(st.text(max_size=60), st.binary(max_size=20))
def test_arbitrary_topics_never_raise(topic: str, payload: bytes) -> None:
    assert isinstance(decode(payload, topic=topic), Rejected)


@given(
    st.sampled_from([(READINGS, "readings"), (EVENTS, "events"), (ABANDONED, "events"), (STATUS, "status")]),
    st.lists(
        st.tuples(st.integers(0, 600), st.integers(0, 3), st.binary(max_size=6)), min_size=1, max_size=6
    ),
)
def test_mutated_packets_never_raise(valid: tuple[bytes, str], edits: list[tuple[int, int, bytes]]) -> None:
    payload, kind = valid
    for place, removed, inserted in edits:
        at = place % len(payload) if payload else 0
        payload = payload[:at] + inserted + payload[at + removed :]
    assert isinstance(decode(payload, kind), DecodedPacket | DecodedStatus | Rejected)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(_json, st.sampled_from(["readings", "events", "status"]))
def test_any_json_inside_a_right_envelope_never_raises(data: object, kind: str) -> None:

    for envelope in (READINGS, EVENTS, ABANDONED, STATUS):
        loaded = json.loads(envelope)
        loaded["data"] = data
        assert isinstance(decode(json.dumps(loaded).encode(), kind), Rejected)


@given(st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=4)), max_size=2))
def test_a_decoder_that_knows_the_names_says_the_same_as_a_fresh_one(edits: list[tuple[int, bytes]]) -> None:
    payload = READINGS
    for place, inserted in edits:
        payload = payload[:place] + inserted + payload[place + len(inserted) :]
    raw = RawMessage(BOX.up("readings"), payload, False, AT, len(payload))
    knowing = Decoder(columnar=True)
    knowing.decode(RawMessage(BOX.up("readings"), READINGS, False, AT, len(READINGS)))
    fresh, columnar, known = Decoder().decode(raw), Decoder(columnar=True).decode(raw), knowing.decode(raw)
    assert type(fresh) is type(columnar) is type(known)
    if not isinstance(fresh, DecodedPacket):
        assert fresh == columnar == known
        return
    for other in (columnar, known):
        assert isinstance(other, DecodedPacket)
        assert (fresh.epoch, fresh.seq, fresh.sent_at) == (other.epoch, other.seq, other.sent_at)
        assert readings_of(fresh) == readings_of(other)


_numbers = st.floats(allow_nan=False, allow_infinity=False)
_series = st.builds(
    lambda sensor, metric, pairs: Series(
        sensor, metric, [at for at, _ in pairs], [value for _, value in pairs]
    ),
    st.sampled_from(["s1", "s2", "manhole-1"]),
    st.sampled_from(["temperature", "water_level"]),
    st.lists(st.tuples(st.integers(0, (1 << 47) - 1), _numbers), min_size=1, max_size=6),
)


@given(st.lists(st.lists(_series, min_size=1, max_size=5), min_size=1, max_size=5))
def test_readings_in_columns_are_the_readings_that_were_sent(packets: list[list[Series]]) -> None:
    decoder = Decoder(columnar=True)
    for seq, series in enumerate(packets, 1):
        payload = encode_packet(BOX, 255, seq, AT, Readings(series))
        packet = decoder.decode(RawMessage(BOX.up("readings"), payload, False, AT, len(payload)))
        assert isinstance(packet, DecodedPacket)
        assert readings_of(packet) == [(one.sensor, one.metric, one.at, one.value) for one in series]


def test_packets_that_look_alike_share_their_shape() -> None:
    decoder = Decoder(columnar=True)
    raw = RawMessage(BOX.up("readings"), READINGS, False, AT, len(READINGS))
    first, second = decoder.decode(raw), decoder.decode(raw)
    assert isinstance(first, DecodedPacket)
    assert isinstance(second, DecodedPacket)
    assert columns_of(first).shape is columns_of(second).shape


@pytest.mark.parametrize("name", ["S1", "s1\\n", "-s1", ""])
def test_a_name_that_was_never_right_is_rejected_however_much_else_is_known(name: str) -> None:
    decoder = Decoder(columnar=True)
    for payload in (READINGS, READINGS.replace(b'"s1"', f'"{name}"'.encode())):
        decoded = decoder.decode(RawMessage(BOX.up("readings"), payload, False, AT, len(payload)))
    assert reason(decoded) == "wrong_shape"


def readings_of(packet: DecodedPacket) -> list[tuple[str, str, list[int], list[float]]]:
    """What a packet brings, series by series."""
    columns = columns_of(packet)
    at, value = array("q", columns.at).tolist(), array("d", columns.value).tolist()
    assert len(at) == len(value) == sum(columns.lengths) == len(columns)
    found = []
    for (sensor, metric), count in zip(columns.shape.names, columns.lengths, strict=True):
        found.append((sensor, metric, at[:count], value[:count]))
        at, value = at[count:], value[count:]
    return found


def test_a_box_that_sends_its_names_in_every_order_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_CACHED_SHAPE_NAMES", 5000)
    chance, decoder = random.Random(5), Decoder(columnar=True)
    series = [Series(f"s-{number}", "temperature", [AT], [1.0]) for number in range(100)]

    def send(packets: int) -> None:
        for _ in range(packets):
            chance.shuffle(series)
            payload = encode_packet(BOX, 255, 7, AT, Readings(series))
            packet = decoder.decode(RawMessage(BOX.up("readings"), payload, False, AT, len(payload)))
            assert isinstance(packet, DecodedPacket)

    send(100)
    tracemalloc.start()
    try:
        send(1000)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 3_000_000, "a thousand shapes of a hundred names would be six times as much"
