"""``drumtower services run``: the database and the broker for work on one tier, as its user meets them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from local.paths import data_directory
from local.ports import free_port

pytestmark = [pytest.mark.services, pytest.mark.xdist_group("local-services")]
PATIENCE = 120.0


@dataclass(frozen=True)
class Services:
    """The running command, what it printed to be copied, and where it looks for boxes."""

    process: subprocess.Popen[str]
    variables: dict[str, str]
    credentials: Path


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    directory = tmp_path_factory.mktemp("services")
    data, credentials = directory / "data", directory / "credentials"
    data.mkdir()
    prefix = data_directory() / "prefix"
    if prefix.is_dir():
        (data / "prefix").symlink_to(prefix)
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "common.runtime.cli", "services", "run"),
            *("--database-port", str(free_port()), "--broker-port", str(free_port())),
            *("--credentials", str(credentials)),
        ],
        env={**os.environ, "DRUMTOWER_DATA": str(data), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C stops both" in line:
                break
        yield Services(
            process, dict(re.findall(r"^export (\w+)=(\S+)", "".join(said), re.MULTILINE)), credentials
        )
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0, "".join(said) + process.stdout.read()


def answer_to(services: Services, username: str, password: str) -> str:
    """What the broker says to somebody who wants in."""
    said: list[ReasonCode] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="anybody", protocol=mqtt.MQTTv5)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: said.append(reason)
    client.username_pw_set(username, password)
    client.tls_set(services.variables["DRUMTOWER_CA_FILE"])
    host, port = services.variables["DRUMTOWER_BROKER_URL"].removeprefix("mqtts://").split(":")
    client.connect(host, int(port))
    deadline = time.monotonic() + PATIENCE
    while not said and time.monotonic() < deadline:
        client.loop(0.1)
    client.disconnect()
    return str(said[0])


def test_what_is_printed_is_all_that_a_gateway_needs(services: Services) -> None:
    assert services.process.poll() is None
    with psycopg.connect(services.variables["DRUMTOWER_DATABASE_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'")
        assert row.fetchone() == (1,)
    password = Path(services.variables["DRUMTOWER_CREDENTIAL_FILE"]).read_text(encoding="utf-8")
    assert answer_to(services, "gateway", password) == "Success"


def test_a_box_is_let_in_once_enrolment_has_written_its_credential(services: Services) -> None:
    assert answer_to(services, "example/lamp-09", "a-credential") == "Not authorized"
    services.credentials.mkdir()
    (services.credentials / "README.md").write_text("nobody of that name\n", encoding="utf-8")
    (services.credentials / "example.lamp-09").write_text("a-credential\n", encoding="utf-8")
    deadline = time.monotonic() + PATIENCE
    while answer_to(services, "example/lamp-09", "a-credential") != "Success":
        assert time.monotonic() < deadline
        time.sleep(0.2)
