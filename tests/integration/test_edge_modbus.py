"""Sensors on real Modbus lines: pymodbus' own server over TCP and over a pseudo-terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from pymodbus import FramerType
from pymodbus.framer import FramerRTU

from common.runtime.clock import SystemClock
from common.wire.topics import Address
from edge.database import Database
from edge.observations import ObservationBook
from edge.outbox import SqliteOutbox
from edge.sensors.build import build_line
from edge.sensors.loop import SILENT, SensorLoop
from edge.sensors.modbus import ModbusSensor
from edge.sensors.modbus_config import ModbusSettings, profiles
from edge.sensors.port import SensorLostError
from local.ports import free_port
from tests.fixtures.edge_modbus import (
    LEVEL,
    ONE_AND_A_HALF,
    RAIN,
    Device,
    network,
    serial_devices,
    tcp_devices,
    wired,
)

T0 = 1_767_225_600_000
#: Every profile that ships: what a device of its kind has in its registers, and what that means.
OF_PROFILE: dict[str, tuple[dict[str, dict[int, int]], dict[str, float]]] = {
    "smoke": (
        {"holding": {0: 0b1, 1: 152, 2: 0xFFCE}},
        {"smoke_alarm": 1, "smoke_density": 0.152, "temperature": -5.0},
    ),
    "level": ({"holding": ONE_AND_A_HALF}, {"water_level": 1.5}),
    "rain": ({"holding": {0: 61}}, {"rain_total": 12.2}),
    "tilt": (
        {"holding": {0: 0xF830, 1: 0}},
        {"tilt_x": -20.0, "tilt_y": 0.0, "tilt": 20.0},
    ),
    "air": (
        {"input": {0: 35, 1: 71, 2: 50, 3: 20, 4: 2, 5: 55, 6: 251, 7: 634}},
        {
            "pm2_5": 35,
            "pm10": 71,
            "co": 0.57245,
            "no2": 37.613,
            "so2": 5.23768,
            "o3": 107.90945,
            "temperature": 25.1,
            "humidity": 63.4,
        },
    ),
}


@contextmanager
def line_of(settings: dict[str, Any]) -> Iterator[list[ModbusSensor]]:
    """The sensors of one line, as a box has them."""
    (checked,) = TypeAdapter(ModbusSettings).validate_python([settings])
    line, sensors = build_line(checked, SystemClock())
    try:
        yield sensors
    finally:
        line.close()


def values(sensor: ModbusSensor) -> dict[str, float]:
    return {reading.metric: reading.value for reading in sensor.read(T0)}


def code_of(sensor: ModbusSensor) -> str:
    with pytest.raises(SensorLostError) as lost:
        sensor.read(T0)
    assert lost.value.readings == ()
    return lost.value.code


def later(sensor: ModbusSensor, within_s: float = 30.0) -> dict[str, float]:
    """What it says once it is there again."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return values(sensor)
        except SensorLostError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_there_is_a_device_here_for_every_profile_that_ships() -> None:
    assert set(OF_PROFILE) == set(profiles())


def every_profile() -> tuple[list[Device], list[dict[str, Any]]]:
    """A device of each profile, each a unit of its own, and the sensors that a box's file names for them."""
    devices = [Device(unit, **tables) for unit, (tables, _) in enumerate(OF_PROFILE.values(), start=11)]
    sensors = [
        {"name": f"{name}-1", "unit_id": unit, "registers": name}
        for unit, name in enumerate(OF_PROFILE, start=11)
    ]
    return devices, sensors


def assert_all_are_read(sensors: list[ModbusSensor]) -> None:
    for sensor, (name, (_, expected)) in zip(sensors, OF_PROFILE.items(), strict=True):
        assert values(sensor) == pytest.approx(expected), name


@pytest.mark.parametrize("framer", [FramerType.SOCKET, FramerType.RTU])
def test_every_profile_that_ships_is_read_from_a_server_over_tcp(framer: FramerType) -> None:
    devices, sensors = every_profile()
    transport = "tcp" if framer == FramerType.SOCKET else "rtu_over_tcp"
    with (
        tcp_devices(*devices, framer=framer) as (port, _),
        line_of(network(port, *sensors, transport=transport)) as found,
    ):
        assert_all_are_read(found)


def test_every_profile_that_ships_is_read_over_a_serial_line() -> None:
    devices, sensors = every_profile()
    with serial_devices(*devices) as (cable, _), line_of(wired(cable, *sensors)) as found:
        assert_all_are_read(found)


def test_what_a_smoke_detector_has_no_value_for_is_not_told_and_its_contact_is() -> None:
    smoke = Device(5, holding={0: 0, 1: 0xFFFF, 2: 0x7FFF})
    with (
        tcp_devices(smoke) as (port, _),
        line_of(network(port, {"name": "smoke-1", "unit_id": 5, "registers": "smoke"})) as (sensor,),
        pytest.raises(SensorLostError) as lost,
    ):
        sensor.read(T0)
    assert lost.value.code == "modbus.no_value"
    assert [(one.metric, one.value) for one in lost.value.readings] == [("smoke_alarm", 0)]


@pytest.mark.parametrize("framer", [FramerType.SOCKET, FramerType.RTU])
def test_sensors_behind_one_controller_share_its_connection(framer: FramerType) -> None:
    level = Device(7, holding=ONE_AND_A_HALF)
    rain = Device(3, holding={0: 61})
    transport = "tcp" if framer == FramerType.SOCKET else "rtu_over_tcp"
    with (
        tcp_devices(level, rain, framer=framer) as (port, _),
        line_of(network(port, LEVEL, RAIN, transport=transport)) as (one, other),
    ):
        assert values(one) == {"water_level": 1.5}
        assert values(other) == {"rain_total": 12.2}
        rain.tables["holding"][0] = 62
        assert values(other) == {"rain_total": 12.4, "rain_amount": 0.2}


def test_sensors_on_one_serial_line_are_asked_one_after_the_other() -> None:
    level = Device(7, holding=ONE_AND_A_HALF)
    rain = Device(3, holding={0: 61})
    with (
        serial_devices(level, rain) as (cable, _),
        line_of(wired(cable, LEVEL, RAIN)) as (one, other),
    ):
        for _ in range(3):
            assert values(one) == {"water_level": 1.5}
            assert values(other)["rain_total"] == 12.2


def test_all_four_tables_are_read() -> None:
    device = Device(1, holding={5: 11}, input={5: 22}, coil={5: 1}, discrete={4: 0, 5: 1})
    registers = [
        {"metric": "a", "table": "holding", "address": 5},
        {"metric": "b", "table": "input", "address": 5},
        {"metric": "c", "table": "coil", "address": 5},
        {"metric": "d", "table": "discrete", "address": 5},
        {"metric": "e", "table": "discrete", "address": 4},
    ]
    told = {"name": "one", "unit_id": 1, "registers": registers}
    with tcp_devices(device) as (port, _), line_of(network(port, told)) as (sensor,):
        assert values(sensor) == {"a": 11, "b": 22, "c": 1, "d": 1, "e": 0}


def test_an_address_that_is_not_there_is_told_as_the_device_tells_it() -> None:
    with (
        tcp_devices(Device(7, holding={0: 1})) as (port, _),
        line_of(network(port, LEVEL)) as (sensor,),
        pytest.raises(SensorLostError) as lost,
    ):
        sensor.read(T0)
    assert lost.value.code == "modbus.refused"
    assert "it has no such address" in lost.value.message
    assert "40001" in lost.value.hint


def test_where_nobody_listens_the_reason_is_told_and_the_line_comes_back_by_itself() -> None:
    level, port = Device(7, holding=ONE_AND_A_HALF), free_port()
    with line_of(network(port, LEVEL, reconnect_s=0.1, longest_reconnect_s=0.2)) as (sensor,):
        with pytest.raises(SensorLostError, match="Connection refused") as lost:
            sensor.read(T0)
        assert lost.value.code == "modbus.no_line"
        with tcp_devices(level, port=port):
            assert later(sensor) == {"water_level": 1.5}
        assert code_of(sensor).startswith("modbus.no_")
        with tcp_devices(level, port=port):
            assert later(sensor) == {"water_level": 1.5}


def test_a_line_that_is_not_there_is_not_tried_at_every_turn() -> None:
    port = free_port()
    with line_of(network(port, LEVEL, reconnect_s=600)) as (sensor,):
        assert code_of(sensor) == "modbus.no_line"
        with tcp_devices(Device(7, holding=ONE_AND_A_HALF), port=port):
            assert code_of(sensor) == "modbus.no_line"


def test_a_serial_port_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    told = {"transport": "rtu", "port": str(tmp_path / "ttyUSB0"), "sensors": [LEVEL]}
    with line_of(told) as (sensor,), pytest.raises(SensorLostError, match="No such file") as lost:
        sensor.read(T0)
    assert "adapter plugged in" in lost.value.hint


def test_one_silent_unit_leaves_the_others_of_its_line_alone() -> None:
    level = Device(7, holding=ONE_AND_A_HALF)
    with (
        serial_devices(level, Device(3)) as (cable, _),
        line_of(wired(cable, RAIN, LEVEL, timeout_s=0.3)) as (silent, sound),
    ):
        cable.dead = {3}
        for _ in range(2):
            assert code_of(silent) == "modbus.no_answer"
            assert later(sound) == {"water_level": 1.5}


def test_a_late_answer_is_never_taken_for_the_answer_to_the_next_question() -> None:
    device = Device(7, holding={0: 1, 1: 2})
    told = [
        {"name": "first", "unit_id": 7, "registers": [{"metric": "a", "address": 0}]},
        {"name": "second", "unit_id": 7, "registers": [{"metric": "b", "address": 1}]},
    ]
    with (
        serial_devices(device) as (cable, _),
        line_of(wired(cable, *told, timeout_s=3.0)) as (first, second),
    ):
        device.delay_s = 4.0
        assert code_of(first) == "modbus.no_answer"
        device.delay_s = 0.0
        # The first answer is on its way still: a question now would be given the first one's value.
        assert code_of(second) == "modbus.no_answer"
        assert len(device.asked) == 1
        assert later(second) == {"b": 2}
        assert later(first) == {"a": 1}


@pytest.mark.parametrize("answer", [bytes([7, 3, 2, 0, 9]), bytes([7, 4, 4, 0, 9, 0, 9])])
def test_an_answer_to_another_question_is_no_value(answer: bytes) -> None:
    device = Device(7, holding=ONE_AND_A_HALF)
    device.answers = False
    with (
        serial_devices(device) as (cable, _),
        line_of(wired(cable, LEVEL, timeout_s=2.0)) as (sensor,),
    ):
        assert code_of(sensor) == "modbus.no_answer"
        time.sleep(2.1)
        # Said while the box waits for its own answer: too short, or of another table.
        frame = answer + FramerRTU.compute_CRC(answer).to_bytes(2, "big")
        threading.Timer(0.5, cable.say, (frame,)).start()
        assert code_of(sensor) == "modbus.no_answer"


def test_a_garbled_answer_is_no_value_and_the_next_turn_is_sound() -> None:
    with (
        serial_devices(Device(7, holding=ONE_AND_A_HALF)) as (cable, _),
        line_of(wired(cable, LEVEL, timeout_s=0.5)) as (sensor,),
    ):
        cable.garble = True
        assert code_of(sensor) == "modbus.no_answer"
        assert later(sensor) == {"water_level": 1.5}
        cable.noise = b"\x00\xff\x13"
        assert later(sensor) == {"water_level": 1.5}


def test_a_sensor_that_falls_silent_is_told_and_told_again_when_it_answers(tmp_path: Path) -> None:
    device = Device(7, holding=ONE_AND_A_HALF)
    clock = SystemClock()
    database = Database(tmp_path)
    outbox = SqliteOutbox(database, Address("gulou", "lamp-01"), clock)
    book = ObservationBook(database, outbox, clock)
    with (
        serial_devices(device) as (cable, _),
        line_of(wired(cable, {**LEVEL, "every_s": 0.1}, timeout_s=0.3)) as (sensor,),
    ):
        loop = SensorLoop([(sensor, 0.1)], outbox, clock, flush_s=0.0, silent_after_s=0.5, book=book)

        def run_until(reached: Any) -> None:
            deadline = time.monotonic() + 60
            while not reached():
                assert time.monotonic() < deadline
                time.sleep(loop.step())

        run_until(lambda: loop.counts.readings >= 3)
        cable.cut = True
        run_until(lambda: loop.silent == 1)
        (known,) = book.open_conditions()
        assert (known.category, known.source) == (SILENT, "sensor:level-1")
        assert known.detail["code"] == "modbus.no_answer"
        before = loop.counts.readings
        cable.cut = False
        run_until(lambda: loop.silent == 0 and loop.counts.readings > before)
        assert book.open_conditions() == []
    database.close()
