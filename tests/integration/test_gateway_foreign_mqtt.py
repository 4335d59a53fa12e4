"""Foreign devices from their own connection at the real broker to rows, through a gateway process."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from common.wire.topics import Address
from gateway.adapters.accounts import readable_by_gateways
from gateway.foreign.enrol import EnrolledAccount, enrol_foreign
from gateway.rows import Flag
from local.broker import Broker
from tests.fixtures.foreign import COVERS, PLANT, UP, adapters, uplink
from tests.integration.gateway_rig import (
    SETTINGS,
    GatewayProcess,
    add_box,
    eventually,
    gateway_process,
    readings,
    register,
    rows,
)

pytestmark = pytest.mark.services


class Speaker:
    """A foreign device's connection: it publishes at QoS 1, and hears what the broker lets it."""

    def __init__(self, broker: Broker, account: EnrolledAccount) -> None:
        self.heard: list[str] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "whatever", protocol=mqtt.MQTTv311)
        self._client.username_pw_set(account.account.username, account.password)
        self._client.tls_set(ca_certs=str(broker.ca_file))
        self._client.on_message = lambda _client, _data, message: self.heard.append(message.topic)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def say(self, topic: str, payload: object, *, retain: bool = False) -> None:
        """Publish, and wait until the broker has it; what is neither bytes nor text is said as JSON."""
        said = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        self._client.publish(topic, said, qos=1, retain=retain).wait_for_publish(10)

    def listen(self, topic: str) -> None:
        """Ask for messages."""
        self._client.subscribe(topic, qos=1)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Plant:
    """A gateway process with the fixtures' mapping files, and their devices."""

    gateway: GatewayProcess
    broker: Broker
    url: str
    accounts: dict[str, EnrolledAccount]
    open: list[Speaker] = field(default_factory=list)

    def speaker(self, username: str) -> Speaker:
        """A connection of an account."""
        made = Speaker(self.broker, self.accounts[username])
        self.open.append(made)
        return made

    def stored(self) -> list[tuple[Any, ...]]:
        """Every reading: device, sensor, value, flags."""
        return rows(
            self.url,
            "SELECT d.name, s.sensor, round(r.value::numeric, 6)::float8, r.flags FROM reading r"
            " JOIN series s USING (series_id) JOIN device d USING (device_id) ORDER BY d.name, r.value",
        )


@pytest.fixture(params=["paho", "frames"])
def plant(
    database_url: str, broker: Broker, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Plant]:
    """A plant with a gateway of either intake; its accounts are gone from the shared broker afterwards."""
    files = adapters(PLANT, COVERS).files
    accounts = enrol_foreign(database_url, files, tmp_path / "credentials")
    for one in accounts:
        broker.add_foreign(one.account.username, one.password, one.account.publish)
    name, password = f"gateway-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    broker.add_gateway(name, password, readable_by_gateways(files))
    broker.reload()
    directory = tmp_path / "gateway"
    for mapping, text in (("plant", PLANT), ("covers", COVERS)):
        (directory / "foreign").mkdir(parents=True, exist_ok=True)
        (directory / "foreign" / f"{mapping}.yaml").write_text(text, encoding="utf-8")
    settings = SETTINGS + f"intake: {{client: {request.param}}}\n"
    with gateway_process(directory, database_url, broker, name, password, settings=settings) as gateway:
        made = Plant(gateway, broker, database_url, {one.account.username: one for one in accounts})
        gateway.await_connected()
        try:
            yield made
        finally:
            for speaker in made.open:
                speaker.close()
            broker.remove_client(name)
            for one in accounts:
                broker.remove_client(one.account.username)


def test_numbers_json_and_uplinks_become_readings_and_bad_payloads_are_kept(plant: Plant) -> None:
    gauge, covers = plant.speaker("plant/gauge-1"), plant.speaker("foreign-covers")
    gauge.say("plant/gauge-1/temp", "212")
    gauge.say("plant/gauge-1/temp", "warm")
    counted = {"n": 1, "t": 1_767_225_600, "boot": "a", "values": {"level_mm": 1500}}
    for _ in range(2):
        gauge.say("plant/gauge-1/counted", counted)
        covers.say(UP, uplink(7))
    covers.say(UP, "{")
    expected = [
        ("cover-1", "cover", 1.5, Flag.CLOCK),
        ("cover-1", "cover", 93.0, Flag.CLOCK),
        ("gauge-1", "gauge", 1.5, Flag.CLOCK),
        ("gauge-1", "air", 100.0, Flag.UNNUMBERED),
    ]
    eventually(lambda: len(plant.stored()) >= len(expected))
    gauge.say("plant/gauge-1/temp", "32")  # behind all others, so they are all there now
    eventually(lambda: len(plant.stored()) > len(expected))
    assert plant.stored() == [*expected[:2], ("gauge-1", "air", 0.0, Flag.UNNUMBERED), *expected[2:]]
    eventually(lambda: rows(plant.url, "SELECT count(*) FROM reject")[0] == (2,))
    assert rows(plant.url, "SELECT reason, convert_from(payload, 'UTF8') FROM reject ORDER BY reason") == [
        ("not_a_number", "warm"),
        ("not_json", "{"),
    ]
    eventually(lambda: rows(plant.url, "SELECT sum(duplicates) FROM device_stream") == [(2,)])


def test_what_was_said_while_the_gateway_was_dead_is_stored_once(plant: Plant) -> None:
    gauge, covers = plant.speaker("plant/gauge-1"), plant.speaker("foreign-covers")
    for n in range(20):
        covers.say(UP, uplink(n))
    eventually(lambda: rows(plant.url, "SELECT count(*) FROM reading")[0][0] > 0)
    plant.gateway.kill()
    for n in range(10, 40):
        covers.say(UP, uplink(n))
    gauge.say("plant/gauge-1/temp", "212")
    plant.gateway.start()
    eventually(lambda: ("gauge-1", "air", 100.0, Flag.UNNUMBERED) in plant.stored(), 60)
    eventually(lambda: rows(plant.url, "SELECT count(*) FROM reading")[0] == (2 * 40 + 1,))


def test_a_box_beside_foreign_devices_is_receipted_and_they_are_told_nothing(plant: Plant) -> None:
    register(plant.url, "kiln", "box-9")
    gauge, box = plant.speaker("plant/gauge-1"), add_box(plant.broker, "kiln", "box-9")
    try:
        gauge.listen("#")
        box.send(readings(1.0))
        gauge.say("plant/gauge-1/counted", {"n": 1, "t": 1_767_225_600, "boot": "a", "button": True})
        box.settle()
        eventually(lambda: len(plant.stored()) == 2)
    finally:
        box.close()
    assert gauge.heard == []


def test_a_foreign_device_can_speak_neither_for_another_nor_as_a_box(plant: Plant) -> None:
    register(plant.url, "kiln", "box-8")
    gauge = plant.speaker("plant/gauge-1")
    for topic in (
        "plant/G 2/temp",
        UP,
        Address("kiln", "box-8").up("readings"),
        "plant/gauge-1",
        "elsewhere",
    ):
        gauge.say(topic, "50")
    gauge.say("plant/gauge-1/temp", "50")
    eventually(lambda: len(plant.stored()) == 1)
    assert plant.stored()[0][:3] == ("gauge-1", "air", 10.0)
    assert rows(plant.url, "SELECT count(*) FROM reject") == [(0,)]


def drumtower(*arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of the gateway's."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DRUMTOWER_")}
    return subprocess.run(
        [sys.executable, "-m", "common.runtime.cli", "gateway", *arguments],
        capture_output=True,
        text=True,
        env=environment | {"DRUMTOWER_DATABASE_URL": url, "COLUMNS": "200"},
        check=False,
        timeout=60,
    )


def test_a_mapping_file_can_be_tried_before_anything_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(PLANT, encoding="utf-8")
    shown = drumtower("foreign", "check", str(path))
    assert (shown.returncode, "plant/{device}/temp" in shown.stdout) == (0, True), shown.stderr
    tried = drumtower("foreign", "check", str(path), "--topic", "plant/gauge-1/temp", "--payload", "212")
    assert tried.returncode == 0, tried.stderr
    assert "air/temperature = 100 °C" in tried.stdout
    assert "kept and marked" in tried.stdout
    bad = drumtower("foreign", "check", str(path), "--topic", "plant/gauge-1/temp", "--payload", "warm")
    assert (bad.returncode, "not_a_number" in bad.stdout) == (1, True)
    event = tmp_path / "up.json"
    event.write_text(json.dumps(uplink(3)), encoding="utf-8")
    covers = tmp_path / "covers.yaml"
    covers.write_text(COVERS, encoding="utf-8")
    up = drumtower("foreign", "check", str(covers), "--topic", UP, "--payload-file", str(event))
    assert "cover/cover_tilt = 1.5 deg" in up.stdout
    assert "a repeat is stored once" in up.stdout
    path.write_text(PLANT.replace("°F", "°Fahr"), encoding="utf-8")
    wrong = drumtower("foreign", "check", str(path))
    assert wrong.returncode == 2
    assert "plant.yaml:11" in wrong.stderr


def test_enrolling_says_what_the_broker_has_to_allow(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "covers.yaml"
    path.write_text(COVERS, encoding="utf-8")
    folder = tmp_path / "credentials"
    ran = drumtower("foreign", "enrol", str(path), "--credentials", str(folder), url=database_url)
    assert ran.returncode == 0, ran.stderr
    assert "application/+/device/+/event/up" in ran.stdout
    secret = (folder / "foreign-covers").read_text().strip()
    assert secret not in ran.stdout + ran.stderr
    assert rows(database_url, "SELECT name, mapping FROM device") == [("cover-1", "covers")]
