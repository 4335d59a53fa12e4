"""Sensors on Modbus without a line: what registers mean, what is asked for, and counters."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.runtime.clock import ManualClock
from edge.sensors.modbus import ModbusSensor
from edge.sensors.modbus_config import (
    AdjustSettings,
    ModbusSensorSettings,
    Order,
    RegisterSettings,
)
from edge.sensors.modbus_counter import Counter, Growth
from edge.sensors.modbus_registers import Block, adjusted, plan, raw_of, resultant, value_of
from edge.sensors.port import Reading, SensorError, SensorLostError

T0 = 1_767_225_600_000
FORMATS = {"uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "float32": "f"}


def register(**more: object) -> RegisterSettings:
    return RegisterSettings.model_validate({"metric": "water_level", "address": 0, **more})


def words_of(value: float, kind: str, order: str) -> list[int]:
    """As a device of that order would put it into registers."""
    encoded = struct.pack(f">{FORMATS[kind]}", value)
    letters = dict(zip("abcd"[: len(encoded)], encoded, strict=True))
    mixed = bytes(letters[letter] for letter in order if letter in letters)
    return [int.from_bytes(mixed[at : at + 2], "big") for at in range(0, len(mixed), 2)]


class Registers:
    """A line in memory: registers by unit and table; ``gone`` units do not answer, ``refused`` blocks are refused."""

    def __init__(self, **tables: dict[int, int]) -> None:
        self.tables = tables
        self.asked: list[str] = []
        self.gone = False
        self.refused: set[str] = set()

    def read(self, unit_id: int, block: Block) -> list[int]:
        self.asked.append(str(block))
        if self.gone:
            raise SensorLostError("modbus.no_answer", f"unit {unit_id} is silent")
        if str(block) in self.refused:
            raise SensorLostError("modbus.refused", f"no {block}")
        return [self.tables[block.table][at] for at in range(block.start, block.start + block.count)]


def sensor(
    line: Registers, registers: object, clock: ManualClock | None = None, **more: object
) -> ModbusSensor:
    told = {"name": "one", "unit_id": 1, "registers": registers, **more}
    return ModbusSensor(ModbusSensorSettings.model_validate(told), line, clock or ManualClock())


def values(readings: list[Reading] | tuple[Reading, ...]) -> dict[str, float]:
    return {reading.metric: reading.value for reading in readings}


# What registers mean


@pytest.mark.parametrize("order", ["abcd", "cdab", "badc", "dcba"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [("uint32", 4_000_000_001), ("int32", -123_456_789), ("float32", 0.15625), ("float32", -1e-20)],
)
def test_a_value_of_two_registers_is_read_in_any_order(order: Order, kind: str, value: float) -> None:
    words = words_of(value, kind, order)
    assert raw_of(register(type=kind, order=order), words) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("order", "words"), [("abcd", [0xFF38]), ("badc", [0x38FF]), ("cdab", [0xFF38])])
def test_a_value_of_one_register_only_knows_turned_bytes(order: Order, words: list[int]) -> None:
    assert raw_of(register(type="int16", order=order), words) == -200


@given(value=st.integers(-(1 << 31), (1 << 31) - 1), order=st.sampled_from(["abcd", "cdab", "badc", "dcba"]))
def test_every_whole_number_comes_back_as_it_was_written(value: int, order: Order) -> None:
    assert raw_of(register(type="int32", order=order), words_of(value, "int32", order)) == value


def test_scale_and_offset_give_the_metrics_unit_without_a_tail_of_digits() -> None:
    one = register(type="int16", scale=0.1, offset=-40.0)
    assert value_of(one, raw_of(one, [637])) == 23.7


def test_a_bit_of_a_word_of_flags_is_one_or_nothing() -> None:
    flags = [0b0010_0000_0000_0001]
    assert [raw_of(register(metric="smoke_alarm", bit=bit), flags) for bit in (0, 1, 13)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("kind", "words", "no_value"),
    [
        ("uint16", [0xFFFF], [0xFFFF]),
        ("int16", [0x7FFF], [0x7FFF]),
        ("int16", [0xFFFF], [-1]),
        ("uint32", [0xFFFF, 0xFFFF], [0xFFFFFFFF]),
        ("float32", [0x7FC0, 0x0000], []),
        ("float32", [0xFFFF, 0xFFFF], []),
    ],
)
def test_what_a_sensor_says_when_it_has_no_value_is_not_taken_for_one(
    kind: str, words: list[int], no_value: list[int]
) -> None:
    with pytest.raises(SensorError) as refused:
        raw_of(register(type=kind, no_value=no_value), words)
    assert refused.value.code == "modbus.no_value"


def test_a_value_outside_of_what_the_sensor_can_measure_is_refused_with_its_number() -> None:
    one = register(type="float32", valid=[0, 5], unit="m")
    assert value_of(one, 5.0) == 5.0
    with pytest.raises(SensorError, match=r"between 0 and 5 m, got 5\.1") as refused:
        value_of(one, 5.1)
    assert refused.value.code == "modbus.out_of_range"


def test_a_distance_down_to_the_water_becomes_a_level_where_the_place_says_how_high_it_hangs() -> None:
    one = adjusted(register(scale=0.001, valid=[0.3, 4.0]), AdjustSettings(scale=-1, offset=4.2))
    assert value_of(one, 1200) == 3.0
    assert one.valid == (0.2, 3.9)
    with pytest.raises(SensorError):
        value_of(one, 4100)


def test_two_axes_lean_together_as_one() -> None:
    assert resultant(0.0, 0.0) == 0.0
    assert resultant(-20.0, 0.0) == 20.0
    assert resultant(3.0, 4.0) == pytest.approx(5.0, abs=0.01)


def test_an_infinite_axis_is_a_fault_of_its_own_and_leans_nowhere() -> None:
    axes = [*words_of(math.inf, "float32", "abcd"), *words_of(1.0, "float32", "abcd")]
    leans = [
        {"metric": f"lean_{axis}", "address": at, "type": "float32", "resultant": "lean"}
        for axis, at in (("x", 0), ("y", 2))
    ]
    with pytest.raises(SensorLostError) as lost:
        sensor(Registers(holding=dict(enumerate(axes))), leans).read(T0)
    assert lost.value.code == "modbus.out_of_range"
    assert [(one.metric, one.value) for one in lost.value.readings] == [("lean_y", 1.0)]


# What is asked for


def test_what_stands_side_by_side_is_asked_for_at_once_and_nothing_in_between() -> None:
    registers = [
        register(metric="a", address=4, type="float32"),
        register(metric="b", address=0),
        register(metric="c", address=1),
        register(metric="d", address=6),
        register(metric="e", address=8),
        register(metric="f", address=0, table="input"),
        register(metric="g", address=7, table="coil"),
    ]
    assert sorted(map(str, plan(registers))) == [
        "coil 7",
        "holding 0–1",
        "holding 4–6",
        "holding 8",
        "input 0",
    ]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["holding", "input", "coil", "discrete"]),
            st.integers(0, 400),
            st.sampled_from(["uint16", "float32"]),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_every_register_is_asked_for_whole_and_no_question_is_longer_than_allowed(
    places: list[tuple[str, int, str]],
) -> None:
    registers = [
        register(table=table, address=address, type="uint16" if table in {"coil", "discrete"} else kind)
        for table, address, kind in places
    ]
    blocks = plan(registers)
    wanted = {(one.table, at) for one in registers for at in range(one.address, one.address + one.words)}
    asked = {(block.table, at) for block in blocks for at in range(block.start, block.start + block.count)}
    assert asked == wanted
    assert all(block.count <= (2000 if block.table in {"coil", "discrete"} else 125) for block in blocks)
    assert all(any(one in block for block in blocks) for one in registers)


# Counters


def counter(over_s: float = 60.0) -> Counter:
    return Counter(modulus=65_536, scale=0.2, over_s=over_s, most_per_hour=500)


def test_a_counter_that_begins_again_goes_on_growing() -> None:
    tips = counter()
    assert tips.look(65_534, 0.0) == Growth()
    assert tips.look(65_535, 10.0).amount == 0.2
    assert tips.look(2, 20.0).amount == pytest.approx(0.6)


def test_an_intensity_is_told_once_a_whole_window_was_watched() -> None:
    tips = counter(over_s=60.0)
    told = [tips.look(second // 10, float(second)).per_hour for second in range(0, 121, 10)]
    assert told[:6] == [None] * 6
    # A tip of 0.2 mm every ten seconds.
    assert told[6:] == [pytest.approx(72.0)] * 7


@pytest.mark.parametrize("count", [0, 3, 65_000])
def test_a_counter_that_was_set_back_tells_nothing_of_what_it_missed(count: int) -> None:
    tips = counter()
    tips.look(40_000, 0.0)
    assert tips.look(count, 10.0) == Growth(set_back=True)
    assert tips.look(count + 1, 20.0).amount == 0.2


def test_after_a_long_silence_a_low_number_is_no_wrap_and_a_higher_one_is_rain_but_no_rate_of_now() -> None:
    tips = counter()
    tips.look(100, 0.0)
    assert tips.look(150, 36_000.0) == Growth(amount=10.0)
    assert tips.look(5, 720_000.0) == Growth(set_back=True)


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, 65_535),
    steps=st.lists(st.integers(0, 6), min_size=1, max_size=80),
)
def test_the_amounts_add_up_to_what_fell_wherever_the_counter_began(start: int, steps: list[int]) -> None:
    tips = counter()
    count, now, told = start, 0.0, 0.0
    tips.look(count, now)
    for step in steps:
        count, now = (count + step) % 65_536, now + 10.0
        grown = tips.look(count, now).amount
        assert grown is not None
        told += grown
    assert told == pytest.approx(0.2 * sum(steps))


# The sensor


def test_a_sensor_says_everything_at_the_instant_of_its_turn() -> None:
    line = Registers(input={0: 12, 1: 35, 2: 40, 3: 10, 4: 2, 5: 50, 6: 65_486, 7: 551})
    readings = sensor(line, "air").read(T0)
    assert {reading.at for reading in readings} == {T0}
    assert values(readings) == {
        "pm2_5": 12.0,
        "pm10": 35.0,
        "co": pytest.approx(0.45796),
        "no2": pytest.approx(18.8065),
        "so2": pytest.approx(5.23768),
        "o3": pytest.approx(98.0995),
        "temperature": -5.0,
        "humidity": 55.1,
    }
    assert line.asked == ["input 0–7"]


def test_a_value_that_is_missing_is_not_put_in_the_others_place() -> None:
    line = Registers(input={0: 12, 1: 0xFFFF, 2: 40, 3: 10, 4: 2, 5: 50, 6: 200, 7: 2000})
    with pytest.raises(SensorLostError) as lost:
        sensor(line, "air").read(T0)
    assert lost.value.code == "modbus.no_value"
    assert "pm10" in lost.value.message
    assert "humidity between 0 and 100" in lost.value.message
    assert set(values(lost.value.readings)) == {"pm2_5", "co", "no2", "so2", "o3", "temperature"}


def test_a_tipping_bucket_says_its_count_what_was_added_and_how_fast() -> None:
    clock = ManualClock()
    line = Registers(holding={0: 65_535})
    rain = sensor(line, "rain", clock, every_s=10)
    assert values(rain.read(T0)) == {"rain_total": 13_107.0}
    clock.advance(300)
    line.tables["holding"][0] = 4
    assert values(rain.read(T0 + 300_000)) == {
        "rain_total": 0.8,
        "rain_amount": 1.0,
        "rain_intensity": 12.0,
    }


def test_a_bucket_of_another_size_counts_in_its_own_steps() -> None:
    clock = ManualClock()
    line = Registers(holding={0: 10})
    rain = sensor(line, "rain", clock, adjust={"rain_total": {"scale": 2.5}})
    assert values(rain.read(T0)) == {"rain_total": 5.0}
    clock.advance(5)
    line.tables["holding"][0] = 11
    assert values(rain.read(T0))["rain_amount"] == 0.5


def test_two_axes_give_the_lean_and_one_alone_does_not() -> None:
    line = Registers(holding={0: 300, 1: 65_136})
    tilt = sensor(line, "tilt", adjust={"tilt_y": {"offset": 0.5}})
    assert values(tilt.read(T0)) == {"tilt_x": 3.0, "tilt_y": -3.5, "tilt": pytest.approx(4.605, abs=0.001)}
    line.tables["holding"][1] = 0x7FFF
    with pytest.raises(SensorLostError) as lost:
        tilt.read(T0)
    assert values(lost.value.readings) == {"tilt_x": 3.0}


def test_a_sensor_that_refuses_one_question_answers_the_others_and_a_silent_one_is_asked_no_more() -> None:
    registers = [{"metric": "a", "address": 0}, {"metric": "b", "address": 9}]
    line = Registers(holding={0: 1, 9: 2})
    line.refused = {"holding 0"}
    with pytest.raises(SensorLostError) as lost:
        sensor(line, registers).read(T0)
    assert (lost.value.code, values(lost.value.readings)) == ("modbus.refused", {"b": 2.0})
    line.gone = True
    line.asked.clear()
    with pytest.raises(SensorLostError) as lost:
        sensor(line, registers).read(T0)
    assert (lost.value.code, lost.value.readings, line.asked) == ("modbus.no_answer", (), ["holding 0"])
