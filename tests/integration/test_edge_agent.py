"""The whole agent as a process, on a real broker: started, killed, started again, stopped in good order."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.wire.topics import Address
from edge.database import FILE_NAME
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.edge_gateway import PlayedGateway, eventually

pytestmark = pytest.mark.services
REPOSITORY = Path(__file__).parents[2]
FOOTAGE = REPOSITORY / "firmware_configs" / "footage" / "bikes.mp4"
SENSORS = [{"name": f"flood-{n}", "kind": "flood", "every_s": 0.05} for n in range(4)]
CAMERA: dict[str, Any] = {
    "name": "cam-1",
    "path": str(FOOTAGE),
    "scenes": [
        {
            "scene": "zone",
            "id": "crossing",
            "category": "camera.zone_occupied",
            "zone": [[0, 0], [1, 0], [1, 1], [0, 1]],
            "labels": ["car", "truck", "bus"],
            "enter_s": 0.3,
            "exit_s": 3600,
        }
    ],
}


@dataclass
class Box:
    """A box's files, and its process while it runs."""

    broker: Broker
    directory: Path
    address: Address
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def configure(self, **more: Any) -> None:
        told = {
            "site": self.address.site,
            "device": self.address.device,
            "readings": {"flush_s": 0.1, "flush_count": 10},
            "uplink": {"reconnect_s": 0.1, "longest_reconnect_s": 0.5, "drain_s": 60, "status_every_s": 0.5},
            **more,
        }
        (self.directory / "box.yaml").write_text(yaml.safe_dump(told))

    def start(self) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [*drumtower("edge", "run"), str(self.directory / "box.yaml"), "--data", str(self.data)],
                cwd=REPOSITORY,
                env={
                    **os.environ,
                    "DRUMTOWER_BROKER_URL": self.broker.url,
                    "DRUMTOWER_CA_FILE": str(self.broker.ca_file),
                    "DRUMTOWER_CREDENTIAL_FILE": str(self.directory / "credential"),
                },
                stderr=log,
            )
        self.processes.append(process)
        return process

    def outbox(self) -> dict[str, Any]:
        ran = subprocess.run(
            [*drumtower("edge", "outbox"), str(self.data), "--json"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()


def drumtower(*command: str) -> list[str]:
    return [sys.executable, "-m", "common.runtime.cli", *command]


@pytest.fixture
def box(broker: Broker, tmp_path: Path) -> Iterator[Box]:
    address = Address("gulou", f"box-{secrets.token_hex(4)}")
    password = secrets.token_urlsafe(12)
    (tmp_path / "credential").write_text(password + "\n")
    broker.add_device(address.site, address.device, password)
    broker.reload()
    box = Box(broker, tmp_path, address)
    yield box
    for process in box.processes:
        if process.poll() is None:
            process.kill()
        process.wait()
    broker.remove_client(str(address))


@pytest.fixture
def gateway(box: Box, gateway_credential: Credential) -> Iterator[PlayedGateway]:
    with PlayedGateway(
        box.broker, gateway_credential.username, gateway_credential.password, only=box.address
    ) as running:
        yield running


def test_a_box_that_is_killed_again_and_again_loses_nothing(box: Box, gateway: PlayedGateway) -> None:
    box.configure(sensors=SENSORS)
    for _ in range(3):
        process = box.start()
        reached = gateway.committed + 15
        eventually(lambda wanted=reached: gateway.committed >= wanted)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        eventually(lambda: gateway.statuses[-1].state == "offline")
    process = box.start()
    eventually(lambda: gateway.statuses[-1].state == "online")
    process.terminate()
    assert process.wait(100) == 0
    said = box.outbox()
    assert (said["unreceipted"], said["abandoned"]) == (0, 0)
    assert said["numbered"] == gateway.committed == said["receipted"]
    assert len(said["epochs"]) == 4


def test_a_stop_is_orderly(box: Box, gateway: PlayedGateway) -> None:
    box.configure(sensors=SENSORS)
    process = box.start()
    eventually(lambda: gateway.committed >= 5)
    running = box.outbox()
    assert running["numbered"] >= 5
    process.send_signal(signal.SIGINT)
    assert process.wait(100) == 0
    # A starved machine may have let the broker tell of its end before: that will carries no counters.
    eventually(lambda: gateway.statuses[-1].state == "offline" and bool(gateway.statuses[-1].counters))
    assert box.outbox()["unreceipted"] == 0
    last = gateway.statuses[-1].counters
    for name in [
        "frames",
        "analysed",
        "dropped",
        "detections",
        "packets_numbered",
        "packets_receipted",
        "unreceipted",
        "oldest_unreceipted_s",
        "evidence_waiting",
        "rss_mb",
        "clock_offset_ms",
    ]:
        assert name in last


def test_a_condition_goes_on_under_its_id_after_a_sigkill(box: Box, gateway: PlayedGateway) -> None:
    box.configure(cameras=[CAMERA])
    process = box.start()
    eventually(lambda: any(one.phase == "start" for one in gateway.observations), 120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(lambda: gateway.statuses[-1].state == "offline")
    before = gateway.observations[-1]
    box.start()
    eventually(lambda: gateway.observations[-1].revision > before.revision, 100)
    after = gateway.observations[-1]
    assert (after.observation_id, after.phase) == (before.observation_id, "update")
    assert {one.observation_id for one in gateway.observations} == {before.observation_id}


def test_a_camera_that_cannot_look_leaves_the_sensors_alone(box: Box, gateway: PlayedGateway) -> None:
    box.configure(cameras=[{**CAMERA, "path": "nowhere.mp4"}], sensors=SENSORS)
    process = box.start()
    eventually(lambda: bool(gateway.observations) and gateway.committed >= 10)
    (blind,) = gateway.observations
    assert (blind.category, blind.phase) == ("device.camera_blind", "start")
    assert process.poll() is None
    assert "camera.missing" in box.log


def test_a_zone_outside_the_picture_blinds_its_camera_alone_until_it_is_drawn_anew(
    box: Box, gateway: PlayedGateway
) -> None:
    """Drawn in pixels: the box starts, its other camera looks, and the file mended is enough to go on."""
    good = CAMERA | {"name": "cam-2"}
    pixels = {**CAMERA["scenes"][0], "zone": [[0, 0], [640, 0], [640, 480], [0, 480]]}
    box.configure(cameras=[CAMERA, good | {"scenes": [pixels]}])
    process = box.start()
    eventually(lambda: bool(gateway.observed("cam-2")) and gateway.counter("analysed.cam-1") > 0)
    blind = gateway.observed("cam-2")[0]
    assert (blind.category, blind.phase, blind.detail["code"]) == (
        "device.camera_blind",
        "start",
        "scene.outside",
    )
    assert "0.zone.1.0: expected a share of the picture's width, 0 to 1, got 640" in str(
        blind.detail["message"]
    )
    eventually(lambda: gateway.counter("cameras_blind") == 1)
    assert gateway.counter("analysed.cam-2") == 0
    assert "what to do" not in box.log  # it did not end
    checked = subprocess.run(
        [*drumtower("edge", "check"), str(box.directory / "box.yaml")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1
    line = next(
        n for n, one in enumerate((box.directory / "box.yaml").read_text().splitlines(), 1) if "640" in one
    )
    assert f"cam-2: scenes: scene.outside: {box.directory / 'box.yaml'}:{line}: " in checked.stderr

    box.configure(cameras=[CAMERA, good | {"severity": {"crossing": 4}}])
    eventually(lambda: gateway.counter("analysed.cam-2") > 0 and gateway.counter("cameras_blind") == 0)
    eventually(lambda: "camera.zone_occupied" in {one.category for one in gateway.observed("cam-2")})
    process.terminate()
    assert process.wait(100) == 0
    assert [one.phase for one in gateway.observed("cam-2") if one.category == "device.camera_blind"] == [
        "start",
        "end",
    ]
    severe = {one.severity for one in gateway.observed("cam-2") if one.category == "camera.zone_occupied"}
    assert severe == {4}, "drawn anew, it is as severe as the file says now"
    eventually(lambda: gateway.measured("cam-2", "coverage_looked") > 0)
    assert gateway.measured("cam-2", "coverage_lost") > gateway.measured("cam-1", "coverage_lost")
    assert gateway.measured("cam-1", "coverage_looked") > gateway.measured("cam-2", "coverage_looked")


def test_a_broken_database_is_said_at_the_district_and_the_box_goes_on(
    box: Box, gateway: PlayedGateway
) -> None:
    box.configure(sensors=SENSORS)
    box.data.mkdir()
    (box.data / FILE_NAME).write_bytes(b"broken" * 4096)
    box.start()
    eventually(lambda: bool(gateway.observations) and gateway.committed >= 5)
    (said,) = gateway.observations
    assert (said.category, said.phase) == ("device.packets_abandoned", "act")
    assert (box.data / f"{FILE_NAME}.corrupt-1").exists()
    assert "database.corrupt" in box.log


def test_a_second_agent_on_the_same_data_is_refused(box: Box, gateway: PlayedGateway) -> None:
    box.configure(sensors=SENSORS)
    box.start()
    eventually(lambda: gateway.committed >= 1)
    second = box.start()
    assert second.wait(60) == 1
    assert "database.in_use" in box.log


@pytest.mark.parametrize(
    ("text", "said"),
    [("site: gulou\n", "device: missing"), ("site: gulou\ndevice: box\n", "DRUMTOWER_BROKER_URL: missing")],
)
def test_what_cannot_be_started_says_why_with_exit_code_2(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "box.yaml").write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DRUMTOWER_")}
    ran = subprocess.run(
        [*drumtower("edge", "run"), str(tmp_path / "box.yaml"), "--data", str(tmp_path / "data")],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "what to do" in ran.stderr


def test_a_check_says_what_is_sound_and_what_to_do_next() -> None:
    ran = subprocess.run(
        [*drumtower("edge", "check"), "firmware_configs/devices/lamp-02.yaml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "configuration ok" in ran.stdout
    assert ran.stdout.count("  ok ") == 2
    assert "drumtower edge run" in ran.stdout
