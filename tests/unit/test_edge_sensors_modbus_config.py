"""The configuration of sensors on Modbus: profiles, and every fault with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.runtime.config import InvalidConfigError
from common.wire.metrics import UNIT_OF
from edge.config import load_device
from edge.sensors.modbus_config import ModbusSensorSettings, profiles, told_by


@pytest.mark.parametrize("name", profiles())
def test_every_profile_that_ships_is_sound_and_tells_metrics_that_the_district_knows(name: str) -> None:
    found = ModbusSensorSettings.model_validate({"name": "one", "unit_id": 1, "registers": name})
    assert set(told_by(found.registers)) <= set(UNIT_OF)
    assert all(one.unit == UNIT_OF[one.metric] for one in found.registers)


def test_there_is_a_profile_for_each_kind_of_sensor() -> None:
    assert profiles() == ("air", "level", "rain", "smoke", "tilt")


FAULTS = """\
site: gulou
device: lamp-01
modbus:
  - transport: rtu
    port: /dev/ttyUSB0
    baud: 9700
    sensors:
      - {name: rain-1, unit_id: 3, registers: rian}
      - {name: level-1, unit_id: 300, registers: level}
  - transport: tcp
    host: 192.0.2.7
    sensors:
      - name: air-1
        unit_id: 1
        registers:
          - {metric: pm2_5, address: 0, unit: mg/m³}
          - {metric: no2, table: coil, address: 0, type: float32}
          - {metric: o3, address: 65535, type: uint32}
          - {metric: co, address: 2, scale: 0}
          - {metric: so2, address: 2, valid: [5, 1]}
          - {metric: rain_total, address: 4, type: float32, counter: {most_per_hour: 500}}
          - {metric: smoke_alarm, address: 5, bit: 16}
"""


def test_every_fault_of_a_line_is_told_with_its_place_and_what_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(FAULTS)
    with pytest.raises(InvalidConfigError) as refused:
        load_device(path)
    assert {6, 8, 9, 16, 17, 18, 19, 20, 21, 22} <= {fault.line for fault in refused.value.faults}
    text = str(refused.value)
    assert "did you mean 'rain'?" in text
    assert "expected 'µg/m³', in which pm2_5 is told" in text


@pytest.mark.parametrize(
    ("sensors", "said"),
    [
        ("[{name: a, unit_id: 0, registers: rain}]", "addresses from 1 to 247"),
        (
            "[{name: a, unit_id: 1, registers: rain}, {name: a, unit_id: 2, registers: level}]",
            "'a' already stands on line",
        ),
        ("[{name: a, unit_id: 1, registers: rain, every_s: 600}]", "at least every 300 s"),
        ("[{name: a, unit_id: 1, registers: rain, adjust: {water_level: {offset: 1}}}]", "got 'water_level'"),
        (
            "[{name: a, unit_id: 1, registers: [{metric: co, address: 1}, {metric: co, address: 2}]}]",
            "got twice: co",
        ),
        (
            "[{name: a, unit_id: 1, registers: [{metric: tilt_x, address: 1, resultant: tilt}]}]",
            "resultant of two registers, got 1",
        ),
    ],
)
def test_what_parts_of_a_line_say_against_each_other_is_a_fault(
    tmp_path: Path, sensors: str, said: str
) -> None:
    path = tmp_path / "box.yaml"
    line = f"{{transport: rtu, port: /dev/ttyUSB0, sensors: {sensors}}}"
    path.write_text(f"site: gulou\ndevice: lamp-01\nmodbus:\n  - {line}\n")
    with pytest.raises(InvalidConfigError) as refused:
        load_device(path)
    assert said in str(refused.value)


def test_a_line_stands_once_with_all_of_its_sensors(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    lines = [
        f"  - {{transport: rtu, port: /dev/ttyUSB0, sensors: [{{name: {name}, unit_id: 1, registers: rain}}]}}\n"
        for name in ("a", "b")
    ]
    path.write_text("site: gulou\ndevice: lamp-01\nmodbus:\n" + "".join(lines))
    with pytest.raises(InvalidConfigError, match="got twice: /dev/ttyUSB0"):
        load_device(path)
