"""What foreign devices say becomes readings in our units, or a reject with its reason; nothing raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.wire.topics import Address
from gateway.decode import Decoder, ForeignReading, RawMessage, Rejected
from tests.fixtures.foreign import AT, COVERS, PLANT, UP, adapters, message, uplink

TOPICS = [f"plant/gauge-1/{kind}" for kind in ("temp", "door", "level/well", "counted", "timed", "bare")] + [
    UP
]
ALL = adapters(PLANT, COVERS)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def read(topic: str, payload: Any, **more: Any) -> ForeignReading:
    """A message that is taken in."""
    found = ALL.decode(message(topic, payload, **more))
    assert isinstance(found, ForeignReading), found
    return found


def refused(topic: str, payload: Any, **more: Any) -> Rejected:
    """A message that is not."""
    found = ALL.decode(message(topic, payload, **more))
    assert isinstance(found, Rejected), found
    return found


def series(reading: ForeignReading) -> dict[str, float]:
    """Values by ``sensor/metric``."""
    names = ["/".join(reading.channel.series[place]) for place in reading.which]
    return dict(zip(names, reading.values, strict=True))


def test_a_number_is_converted_and_stands_for_the_time_of_its_receipt() -> None:
    found = read("plant/gauge-1/temp", " 212.0\n")
    assert series(found) == {"air/temperature": pytest.approx(100.0)}
    assert (found.address, found.at, found.epoch) == (Address("plant", "gauge-1"), AT, 0)


def test_a_device_is_known_by_what_it_calls_itself() -> None:
    assert read("plant/G 2/temp", "50").address == Address("plant", "gauge-2")
    for other in ("gauge-2", "g 2", ""):
        assert refused(f"plant/{other}/temp", "50").reason == "unknown_device"


def test_a_word_stands_for_its_number() -> None:
    assert series(read("plant/gauge-1/door", "open")) == {"door/pressed": 1.0}
    assert series(read("plant/gauge-1/door", "0")) == {"door/pressed": 0.0}
    assert refused("plant/gauge-1/door", "ajar").reason == "unknown_word"


def test_a_part_of_the_topic_names_the_sensor_and_the_files_own_unit_is_converted() -> None:
    assert series(read("plant/gauge-1/level/Well-3", "250")) == {"well-3/water_level": pytest.approx(1.5)}
    assert refused("plant/gauge-1/level/a b", "250").reason == "wrong_topic"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "not_a_number"),
        ("warm", "not_a_number"),
        ("1_0", "not_a_number"),
        ("nan", "not_a_number"),
        (b"\xff\xfe", "not_a_number"),
        ("-459.8", "out_of_range"),
        ("1e999", "out_of_range"),
        ("-inf", "out_of_range"),
    ],
)
def test_what_is_no_possible_number_is_refused(payload: Any, reason: str) -> None:
    assert refused("plant/gauge-1/temp", payload).reason == reason


def test_what_the_broker_kept_is_taken_in_only_when_it_can_be_known_again() -> None:
    assert refused("plant/gauge-1/temp", "50", retain=True).reason == "retained"
    assert refused("plant/gauge-1/door", "open", retain=True).reason == "retained"
    assert refused("plant/gauge-1/bare", {"v": 0.5}, retain=True).reason == "retained"
    assert read("plant/gauge-1/counted", {"n": 1, "t": 1, "boot": 1, "button": True}, retain=True)


def test_json_values_are_found_by_pointer_and_by_keys() -> None:
    payload = {
        "n": 7,
        "t": AT / 1000 + 0.25,
        "boot": "a",
        "values": {"level_mm": 1500, "rain": [2]},
        "button": False,
    }
    found = read("plant/gauge-1/counted", payload)
    assert series(found) == pytest.approx(
        {"gauge/water_level": 1.5, "rain/rain_intensity": 50.8, "button/pressed": 0.0}
    )
    assert (found.at, found.number) == (AT + 250, 7)
    assert found.epoch == found.channel.epoch("a") < 0


def test_of_a_message_with_a_bad_value_the_others_are_taken_in() -> None:
    payload = {"n": 7, "t": 1, "boot": 1, "values": {"level_mm": 99_999, "rain": ["wet"]}, "button": True}
    found = read("plant/gauge-1/counted", payload)
    assert series(found) == {"button/pressed": 1.0}
    assert [(reason, name) for reason, _, name in found.refused] == [
        ("out_of_range", "gauge/water_level"),
        ("wrong_type", "rain/rain_intensity"),
    ]


def test_a_message_of_which_no_value_is_good_is_refused_with_what_is_wrong_with_each() -> None:
    found = refused(
        "plant/gauge-1/counted", {"n": 7, "t": 1, "boot": 1, "values": {"level_mm": None, "rain": [True]}}
    )
    assert (found.reason, found.series) == ("wrong_type", ())
    assert "gauge/water_level" in found.message
    assert "rain/rain_intensity" in found.message


GOOD = {"n": 7, "t": 1, "boot": 1, "button": True}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n": 65_536}, "bad_counter"),
        ({"n": -1}, "bad_counter"),
        ({"n": 1.0}, "bad_counter"),
        ({"n": True}, "bad_counter"),
        ({"boot": None}, "bad_counter"),
        ({"boot": "x" * 65}, "bad_counter"),
        ({"t": "soon"}, "bad_time"),
        ({"t": -1}, "bad_time"),
        ({"t": 1e300}, "bad_time"),
        ({"t": True}, "bad_time"),
        ({"button": "pressed"}, "unknown_word"),
    ],
)
def test_each_kind_of_bad_payload_has_its_reason(change: dict[str, Any], reason: str) -> None:
    assert refused("plant/gauge-1/counted", GOOD | change).reason == reason


def test_what_is_no_json_or_holds_nothing_of_ours_is_refused() -> None:
    assert refused("plant/gauge-1/bare", "{").reason == "not_json"
    assert refused("plant/gauge-1/bare", b"[" * 100_000).reason == "not_json"
    for empty in ("{}", "[]", "5", '"v"', '{"w": 1}'):
        assert refused("plant/gauge-1/bare", empty).reason == "no_value"
    for missing in ("n", "t", "boot"):
        assert (
            refused("plant/gauge-1/counted", {k: v for k, v in GOOD.items() if k != missing}).reason[:4]
            == "bad_"
        )


def test_times_are_read_with_their_zone_and_number_the_message() -> None:
    found = read("plant/gauge-1/timed", {"v": 30, "at": "2026-01-01T08:00:00.5+08:00"})
    assert (found.at, found.number) == (AT + 500, AT + 500)
    assert series(found) == {"gauge/water_depth": pytest.approx(0.3)}
    for bad in ("2026-01-01T08:00:00", "yesterday", "1969-01-01T00:00:00Z", 5):
        assert refused("plant/gauge-1/timed", {"v": 30, "at": bad}).reason == "bad_time"


def test_an_uplink_is_numbered_by_its_session_and_counter() -> None:
    found = read(UP, uplink(41))
    assert series(found) == {"cover/cover_tilt": 1.5, "cover/battery": 93.0}
    assert (found.address, found.at, found.number) == (Address("covers", "cover-1"), AT + 125, 41)
    joined = read(UP, uplink(0, "01ffffff"))
    assert joined.number == 0
    assert joined.epoch != found.epoch


def test_an_uplink_brings_what_its_port_brings() -> None:
    assert series(read(UP, uplink(1, fPort=3))) == {"cover/cover_tilt": 1.5}
    assert refused(UP, uplink(1, fPort=3, object={"batt": 5})).reason == "no_value"


def test_an_uplink_without_payload_says_that_the_device_is_there() -> None:
    assert read(UP, uplink(9, data="", object=None, fPort=None)).values == ()


def test_an_uplink_that_nobody_decoded_asks_for_a_codec() -> None:
    found = refused(UP, uplink(9, object=None))
    assert found.reason == "no_value"
    assert "codec" in found.message


def test_an_uplink_of_another_device_is_refused() -> None:
    other = uplink(1)
    other["deviceInfo"]["devEui"] = "70b3d57ed0012ab5"
    assert refused(UP, other).reason == "wrong_sender"
    assert read(UP.replace("70b3d57ed0012ab4", "70B3D57ED0012AB4"), uplink(1))


@pytest.mark.parametrize("change", [{"deviceInfo": None}, {"fCnt": "5"}, {"devAddr": 5}, {"fPort": "2"}])
def test_an_uplink_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    assert refused(UP, uplink(1, **change)).reason == "wrong_shape"


def test_a_message_that_is_too_large_is_refused_by_its_size() -> None:
    for topic in TOPICS:
        found = ALL.decode(RawMessage(topic, b"{", False, AT, 10_000_000))
        assert isinstance(found, Rejected)
        assert found.reason == "too_large"


def test_topics_of_boxes_and_of_nobody_are_left_to_others() -> None:
    for topic in ("dt/v1/plant/gauge-1/up/readings", "plant/gauge-1", "plant/gauge-1/temp/x", ""):
        assert ALL.decode(message(topic, "5")) is None
    decoded = Decoder(ALL).decode(message("plant/gauge-1/other", "5"))
    assert isinstance(decoded, Rejected)
    assert decoded.reason == "wrong_topic"


@given(st.sampled_from(TOPICS), st.binary(max_size=200))
def test_nothing_that_comes_raises(topic: str, payload: bytes) -> None:
    assert isinstance(ALL.decode(message(topic, payload)), ForeignReading | Rejected)


@given(st.sampled_from(TOPICS), ANYTHING)
def test_no_json_that_comes_raises(topic: str, payload: object) -> None:
    assert isinstance(ALL.decode(message(topic, json.dumps(payload))), ForeignReading | Rejected)


@given(st.dictionaries(st.sampled_from(["n", "t", "boot", "button", "values"]), ANYTHING))
def test_a_payload_of_the_right_keys_is_read_or_refused(payload: dict[str, Any]) -> None:
    found = ALL.decode(message("plant/gauge-1/counted", GOOD | payload))
    assert isinstance(found, ForeignReading | Rejected)
    if isinstance(found, ForeignReading):
        assert 0 <= found.number < 65_536
        assert all(abs(value) < 1e6 for value in found.values)


@given(st.dictionaries(st.sampled_from([*uplink(1)]), ANYTHING))
def test_an_uplink_of_any_content_is_read_or_refused(payload: dict[str, Any]) -> None:
    assert isinstance(ALL.decode(message(UP, uplink(1) | payload)), ForeignReading | Rejected)


@given(st.text(max_size=40))
def test_no_topic_raises(topic: str) -> None:
    ALL.decode(message(topic, "5"))
    ALL.decode(message(f"plant/gauge-1/level/{topic}", "5"))


@given(st.floats(-150, 700))
def test_a_number_is_stored_exactly_as_its_line_says(given_value: float) -> None:
    found = ALL.decode(message("plant/gauge-1/temp", repr(given_value)))
    expected = 5 / 9 * given_value - 160 / 9
    if isinstance(found, ForeignReading):
        assert found.values[0] == pytest.approx(expected, abs=1e-9)
    else:
        assert not -60.001 < expected < 399.999


def test_the_gateway_of_a_partition_subscribes_to_its_topics() -> None:
    other = adapters(PLANT, COVERS.replace("site: covers", "site: covers\npartition: east"))
    assert other.filters("east") == {"application/+/device/+/event/up"}
    assert "plant/+/level/+" in other.filters("default")
    assert len(other.filters("default")) == 6
