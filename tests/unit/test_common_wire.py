"""The wire: what goes out comes back; what is wrong is refused with its reason, and nothing else happens."""

from __future__ import annotations

import json
import math
import random
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.wire import codec, ids
from common.wire.categories import BY_CODE, CATEGORIES
from common.wire.messages import (
    Abandoned,
    Events,
    Evidence,
    Observation,
    Readings,
    Receipt,
    Series,
    Status,
)
from common.wire.topics import Address, is_name, parse_up

LAMP = Address("gulou", "lamp-01")
GOLDEN = Path(__file__).parents[1] / "golden"

names = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
instants = st.integers(min_value=0, max_value=(1 << 42))
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def series(draw: st.DrawFn) -> Series:
    length = draw(st.integers(1, 5))
    return Series(
        sensor=draw(names),
        metric=draw(st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)),
        at=draw(st.lists(instants, min_size=length, max_size=length)),
        value=draw(st.lists(finite, min_size=length, max_size=length)),
    )


def observation(**changes: object) -> Observation:
    fields: dict[str, object] = {
        "observation_id": str(uuid.UUID(int=7)),
        "phase": "start",
        "revision": 0,
        "category": "camera.zone_crowded",
        "source": "scene:cam-1:plaza",
        "sensor": "cam-1",
        "started_at": 1_767_225_600_000,
        "at": 1_767_225_601_500,
        "severity": 2,
        "count": 6,
        "value": 6.0,
        "unit": "人",
        "evidence": [
            Evidence(
                sha256="ab" * 32,
                media_type="image/jpeg",
                size=48_213,
                captured_at=1_767_225_601_400,
                width=768,
                height=576,
            )
        ],
        "detail": {"limit": 5, "zone": "plaza"},
    }
    return Observation(**(fields | changes))  # type: ignore[arg-type]


@given(
    st.lists(series(), min_size=1, max_size=4),
    st.integers(1, ids.MAX_EPOCH),
    st.integers(1, ids.MAX_SEQ),
    instants,
)
def test_a_readings_packet_comes_back_as_it_went_out(
    columns: list[Series], epoch: int, seq: int, at: int
) -> None:
    data = Readings(columns)
    packet = codec.decode_packet(codec.encode_packet(LAMP, epoch, seq, at, data), LAMP)
    assert (packet.epoch, packet.seq, packet.sent_at, packet.data) == (epoch, seq, at, data)


def test_an_events_packet_comes_back_as_it_went_out() -> None:
    data = Events([observation(), observation(phase="end", revision=2, ended_at=1_767_225_700_000)])
    assert codec.decode_packet(codec.encode_packet(LAMP, 9, 1, 0, data), LAMP).data == data


@pytest.mark.parametrize("name", ["readings", "events", "abandoned", "status", "receipt"])
def test_every_message_of_version_1_is_read_for_ever(name: str) -> None:
    payload = (GOLDEN / f"{name}.v1.json").read_bytes().strip()
    match name:
        case "status":
            status = codec.decode_status(payload, LAMP)
            assert codec.encode_status(LAMP, status.at, status) == payload
        case "receipt":
            receipt = codec.decode_receipt(payload, LAMP)
            assert codec.encode_receipt(LAMP, receipt.at, receipt) == payload
        case _:
            packet = codec.decode_packet(payload, LAMP)
            again = codec.encode_packet(LAMP, packet.epoch, packet.seq, packet.sent_at, packet.data)
            assert again == payload


def _valid() -> dict[str, object]:
    payload = codec.encode_packet(
        LAMP, 255, 3, 0, Readings([Series("smoke-1", "temperature", [1000, 2000], [20.5, 21.0])])
    )
    fields: dict[str, object] = json.loads(payload)
    return fields


@pytest.mark.parametrize(
    ("reason", "payload"),
    [
        ("not_json", b"\xff\xfe garbage"),
        ("not_json", b""),
        ("not_json", json.dumps(_valid()).encode()[:-9]),
        ("wrong_shape", b"[]"),
        ("not_json", b'{"specversion":"1.0","data":' + b"[" * 100_000),
        ("not_json", json.dumps(_valid()).replace("smoke-1", "\\ud800").encode()),
        ("too_large", b" " * (10 * 1024 * 1024)),
        ("wrong_version", json.dumps(_valid() | {"type": "org.drumtower.readings.v9"}).encode()),
        ("wrong_shape", json.dumps(_valid() | {"specversion": "0.3"}).encode()),
        ("wrong_sender", json.dumps(_valid() | {"source": "/gulou/lamp-02"}).encode()),
        ("wrong_sender", json.dumps(_valid() | {"source": "/other/lamp-01"}).encode()),
        ("wrong_id", json.dumps(_valid() | {"id": "ff-0"}).encode()),
        ("wrong_id", json.dumps(_valid() | {"id": "ff-+3"}).encode()),
        ("wrong_id", json.dumps(_valid() | {"id": "FF-3"}).encode()),
        ("wrong_id", json.dumps(_valid() | {"id": f"ff-{1 << 80}"}).encode()),
        ("wrong_shape", json.dumps(_valid() | {"time": "yesterday"}).encode()),
        ("wrong_shape", json.dumps(_valid() | {"time": "2026-01-01T00:00:00"}).encode()),
        ("wrong_shape", json.dumps(_valid() | {"time": "0001-01-01T00:00:00+23:59"}).encode()),
        ("wrong_shape", json.dumps(_valid() | {"time": "9999-12-31T23:59:59-23:59"}).encode()),
        ("wrong_shape", json.dumps(_valid() | {"time": "1969-12-31T23:59:59Z"}).encode()),
        ("wrong_shape", json.dumps(_valid()).replace("smoke-1", "smoke-1\\n").encode()),
        ("wrong_shape", json.dumps(_valid()).replace("temperature", "temperature\\n").encode()),
        ("wrong_shape", json.dumps(_valid() | {"data": {"series": []}}).encode()),
        ("wrong_shape", json.dumps(_valid()).replace("smoke-1", "smoke\\u0000").encode()),
        ("wrong_shape", json.dumps(_valid()).replace("20.5", "null").encode()),
        ("not_json", json.dumps(_valid()).replace("20.5", "NaN").encode()),
        ("unequal_columns", json.dumps(_valid()).replace("[20.5, 21.0]", "[20.5]").encode()),
    ],
)
def test_what_is_wrong_is_refused_with_its_reason(reason: str, payload: bytes) -> None:
    with pytest.raises(codec.WireError) as refused:
        codec.decode_packet(payload, LAMP)
    assert refused.value.reason == reason


def test_a_number_beyond_a_double_is_refused() -> None:
    with pytest.raises(codec.WireError):
        codec.decode_packet(json.dumps(_valid()).replace("20.5", "1e400").encode(), LAMP)


@pytest.mark.parametrize("field", ["observation_id", "category", "source", "sensor"])
def test_a_trailing_newline_does_not_slip_past_a_pattern(field: str) -> None:
    sent = json.loads(codec.encode_packet(LAMP, 255, 3, 0, Events([observation()])))
    sent["data"]["observations"][0][field] += "\n"
    with pytest.raises(codec.WireError) as refused:
        codec.decode_packet(json.dumps(sent).encode(), LAMP)
    assert refused.value.reason == "wrong_shape"


@pytest.mark.parametrize("field", ["sha256", "media_type"])
def test_a_trailing_newline_does_not_slip_into_evidence(field: str) -> None:
    sent = json.loads(codec.encode_packet(LAMP, 255, 3, 0, Events([observation()])))
    sent["data"]["observations"][0]["evidence"][0][field] += "\n"
    with pytest.raises(codec.WireError):
        codec.decode_packet(json.dumps(sent).encode(), LAMP)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_box_cannot_send_what_is_not_a_number(value: float) -> None:
    with pytest.raises(codec.WireError) as refused:
        codec.encode_packet(LAMP, 1, 1, 0, Readings([Series("smoke-1", "temperature", [0], [value])]))
    assert refused.value.reason == "not_a_number"


@pytest.mark.parametrize(
    "data",
    [
        Events([observation(detail={"note": "a\0b"})]),
        Events([observation(detail={"a\0b": 1})]),
        Events([observation(unit="\0")]),
        Abandoned("ff", [(1, 2)], "\0"),
    ],
)
def test_a_null_character_in_free_text_is_refused(data: Events | Abandoned) -> None:
    with pytest.raises(codec.WireError) as refused:
        codec.encode_packet(LAMP, 1, 1, 0, data)
    assert refused.value.reason == "null_character"


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_and_never_crash(payload: bytes) -> None:
    with pytest.raises(codec.WireError):
        codec.decode_packet(payload, LAMP)


@given(st.data())
def test_a_damaged_packet_is_read_or_refused_and_never_crashes(data: st.DataObject) -> None:
    payload = bytearray(codec.encode_packet(LAMP, 255, 3, 0, Events([observation()])))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with suppress(codec.WireError):
        codec.decode_packet(bytes(payload), LAMP)


@given(names, names, st.sampled_from(["readings", "events", "status", "config"]))
def test_a_topic_names_its_sender_and_kind(site: str, device: str, kind: str) -> None:
    address = Address(site, device)
    assert parse_up(address.up(kind)) == (address, kind)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("name", ["", "+", "#", "a/b", "A", "a b", "-a", "a-", "é", "a" * 49, "a\0"])
def test_a_name_cannot_reach_into_anothers_topics(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError, match="expected a device name"):
        Address("gulou", name)


@given(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 48) - 1))
def test_ids_sort_by_the_instant_they_carry(first: int, second: int) -> None:
    source = random.Random(4)
    earlier, later = ids.uuid7(first, source.getrandbits), ids.uuid7(second, source.getrandbits)
    assert earlier.version == 7
    assert earlier.variant == uuid.RFC_4122
    if first != second:
        assert (earlier < later) == (first < second)


@given(st.integers(1, ids.MAX_EPOCH), st.integers(1, ids.MAX_SEQ))
def test_a_packet_id_comes_back_as_it_went_out(epoch: int, seq: int) -> None:
    assert ids.parse_packet_id(ids.packet_id(epoch, seq)) == (epoch, seq)


def test_whoever_derives_an_observation_gets_the_same_id() -> None:
    first = ids.observation_id("gulou/lamp-01", "rule:smoke:smoke-1", 255, 3)
    assert first == ids.observation_id("gulou/lamp-01", "rule:smoke:smoke-1", 255, 3)
    assert first != ids.observation_id("gulou/lamp-01", "rule:smoke:smoke-1", 255, 4)


def test_every_category_has_a_code_that_the_wire_carries_and_both_names() -> None:
    assert len(BY_CODE) == len(CATEGORIES)
    for category in CATEGORIES:
        assert category.en
        assert category.zh
        codec.encode_packet(LAMP, 1, 1, 0, Events([observation(category=category.code)]))


def test_the_categories_cover_all_that_a_district_senses() -> None:
    sensed = {
        *("camera.no_helmet", "camera.wrong_way", "camera.standing_water", "camera.smoke", "camera.fire"),
        *(
            "camera.ebike_in_lift",
            "camera.zone_crowded",
            "camera.fire_lane_blocked",
            "camera.rubbish_overflow",
        ),
        *("smoke.alarm", "manhole.open", "manhole.moved", "manhole.water_high", "manhole.gas_high"),
        *("flood.water_level", "rain.intense", "air.quality_poor", "rodent.activity", "building.tilt"),
        *("building.crack", "button.emergency"),
    }
    assert sensed <= set(BY_CODE)


def test_an_encoder_refuses_a_packet_beyond_the_cap() -> None:
    many = [Series(f"s{number}", "temperature", [0] * 5000, [0.1] * 5000) for number in range(20)]
    with pytest.raises(codec.WireError) as refused:
        codec.encode_packet(LAMP, 1, 1, 0, Readings(many))
    assert refused.value.reason == "too_large"


def test_a_receipt_and_a_status_come_back_as_they_went_out() -> None:
    receipt = Receipt("ff", 10, 14, [(11, 12)], str(uuid.UUID(int=1)), 5)
    assert codec.decode_receipt(codec.encode_receipt(LAMP, 5, receipt), LAMP) == receipt
    status = Status("online", 5, "0.1.0", "ff", {"frames": 12, "rss_mb": 201.5})
    assert codec.decode_status(codec.encode_status(LAMP, 5, status), LAMP) == status
