"""Where a gateway's metrics can be read: by this machine alone unless told otherwise, also while it stands by."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from local.ports import free_port
from tests.integration.gateway_rig import PATIENCE, eventually
from tests.integration.metrics_page import ANOTHER_ADDRESS, running, told

pytestmark = pytest.mark.services


def gateway(
    directory: Path, database_url: str, *options: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    """A gateway that waits for a broker which does not answer."""
    (directory / "gateway.yaml").write_text("{}", encoding="utf-8")
    return running(
        ["gateway", "run", "--config", "gateway.yaml", *options],
        directory,
        {"DRUMTOWER_DATABASE_URL": database_url, "DRUMTOWER_BROKER_URL": "mqtt://127.0.0.1:1"},
    )


def test_metrics_are_for_this_machine_alone_unless_told_otherwise(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    with gateway(tmp_path, database_url, "--metrics-port", str(port)) as process:
        eventually(lambda: "drumtower_gateway_broker_connected 0.0" in told("127.0.0.1", port))
        assert told(ANOTHER_ADDRESS, port) == ""
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_metrics_answer_where_they_are_told_to(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    with gateway(tmp_path, database_url, "--metrics-port", str(port), "--metrics-host", "0.0.0.0"):  # noqa: S104 - what is tested
        eventually(lambda: "drumtower_gateway_lease_held" in told(ANOTHER_ADDRESS, port))
        assert "drumtower_gateway_lease_held" in told("127.0.0.1", port)


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_a_place_that_cannot_be_had_is_said_with_what_to_do(
    tmp_path: Path, database_url: str, host: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ("--metrics-port", str(port), "--metrics-host", host)
        with gateway(tmp_path, database_url, *options) as process:
            _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert f"expected to serve metrics on {host}:{port}, got:" in said
    assert "--metrics-port" in said
    assert "Traceback" not in said
