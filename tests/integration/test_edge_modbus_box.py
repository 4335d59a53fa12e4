"""A box with real Modbus lines: what its agent sends of them, and what a probe of it shows."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.runtime.stop import Stop
from common.wire.topics import Address
from edge.app import Agent
from edge.config import DeviceConfig
from edge.sensors.loop import SILENT
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.edge_gateway import PlayedGateway, eventually
from tests.fixtures.edge_modbus import (
    LEVEL,
    ONE_AND_A_HALF,
    RAIN,
    Device,
    network,
    serial_devices,
    tcp_devices,
    wired,
    write_box,
)


@pytest.mark.services
def test_a_box_sends_what_its_lines_say_and_tells_when_one_is_cut(
    broker: Broker, gateway_credential: Credential, tmp_path: Path
) -> None:
    address = Address("gulou", f"box-{secrets.token_hex(4)}")
    broker.add_device(address.site, address.device, "pass word")
    broker.reload()
    (tmp_path / "credential").write_text("pass word\n")
    environment = {
        "DRUMTOWER_BROKER_URL": f"mqtts://127.0.0.1:{broker.port}",
        "DRUMTOWER_CA_FILE": str(broker.ca_file),
        "DRUMTOWER_CREDENTIAL_FILE": str(tmp_path / "credential"),
    }
    played = PlayedGateway(broker, gateway_credential.username, gateway_credential.password, only=address)
    with (
        played as gateway,
        serial_devices(Device(7, holding=ONE_AND_A_HALF)) as (cable, _),
        tcp_devices(Device(3, holding={0: 61})) as (port, _),
    ):
        config = DeviceConfig.model_validate(
            {
                "site": address.site,
                "device": address.device,
                "modbus": [
                    wired(cable, {**LEVEL, "every_s": 0.2}, timeout_s=1.0),
                    network(port, {**RAIN, "every_s": 0.2}),
                ],
                "readings": {"flush_s": 0.2, "silent_after_s": 0.5},
                "uplink": {"status_every_s": 0.2},
            }
        )
        agent = Agent(config, tmp_path / "box.yaml", tmp_path / "data", environment)
        stop = Stop()
        thread = threading.Thread(target=agent.run, args=(stop,), name="agent")
        thread.start()
        try:
            eventually(lambda: {1.5, 12.2} <= gateway.values, 60)
            cable.cut = True
            eventually(lambda: gateway.statuses[-1].counters.get("sensors_silent") == 1, 60)
            eventually(lambda: [one.phase for one in gateway.observations[-1:]] == ["start"], 60)
            begun = gateway.observations[-1]
            assert (begun.category, begun.sensor) == (SILENT, "level-1")
            cable.cut = False
            eventually(lambda: gateway.observations[-1].phase == "end", 60)
            assert gateway.observations[-1].observation_id == begun.observation_id
        finally:
            stop.set()
            thread.join(30)
            broker.remove_client(str(address))
        assert not thread.is_alive()


def probe(path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "common.runtime.cli", "edge", "probe", str(path), *more],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_probe_shows_values_with_units_and_registers_and_what_to_do_next(tmp_path: Path) -> None:
    with tcp_devices(Device(7, holding=ONE_AND_A_HALF), Device(3, holding={0: 61})) as (port, _):
        sensors = (
            "[{name: level-1, unit_id: 7, registers: level}, {name: rain-1, unit_id: 3, registers: rain}]"
        )
        line = f"{{transport: tcp, host: 127.0.0.1, port: {port}, timeout_s: 10, sensors: {sensors}}}"
        path = write_box(tmp_path / "box.yaml", line)
        shown = probe(path)
        assert shown.returncode == 0, shown.stderr
        assert "water_level      1.5 m            holding 0 float32 abcd" in shown.stdout
        assert "0x3FC0 0x0000" in shown.stdout
        assert "rain_total       12.2 mm" in shown.stdout
        assert shown.stdout.rstrip().endswith(f"then: drumtower edge run {path}")
        assert "rain-1" not in probe(path, "--sensor", "level-1").stdout


def test_a_probe_tells_what_is_wrong_and_how_to_mend_it(tmp_path: Path) -> None:
    with tcp_devices(Device(7, holding={0: 0x7FC0, 1: 0}), Device(3)) as (port, _):
        sensors = (
            "[{name: level-1, unit_id: 7, registers: level}, {name: rain-1, unit_id: 3, registers: rain}]"
        )
        line = f"{{transport: tcp, host: 127.0.0.1, port: {port}, timeout_s: 10, sensors: {sensors}}}"
        shown = probe(write_box(tmp_path / "box.yaml", line))
    assert shown.returncode == 1
    assert "0x7FC0 0x0000" in shown.stdout
    assert "modbus.no_value: expected a value for water_level" in shown.stderr
    assert "modbus.refused: expected unit 3" in shown.stderr
    assert shown.stderr.rstrip().endswith("probe again")
