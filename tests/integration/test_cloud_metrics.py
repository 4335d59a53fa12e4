"""Where the ticket centre's metrics can be read: at a place of their own, by this machine alone unless told otherwise."""

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


def centre(database_url: str, *options: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """The ticket centre as an operator starts it."""
    return running(["cloud", "run", *options], Path.cwd(), {"DRUMTOWER_DATABASE_URL": database_url})


@pytest.mark.parametrize(
    ("role", "metric"),
    [
        ("all", "drumtower_stream_clients"),
        ("api", "drumtower_stream_clients"),
        ("worker", "drumtower_observations_applied_total"),
    ],
)
def test_each_role_serves_metrics_to_this_machine_alone_unless_told_otherwise(
    database_url: str, role: str, metric: str
) -> None:
    port, page = free_port(), free_port()
    options = ("--role", role, "--port", str(page), "--metrics-port", str(port))
    with centre(database_url, *options) as process:
        eventually(lambda: metric in told("127.0.0.1", port))
        assert told(ANOTHER_ADDRESS, port) == ""
        assert told("127.0.0.1", page) == "", "whoever reaches the page reads no metrics"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_metrics_answer_where_they_are_told_to(database_url: str) -> None:
    port = free_port()
    options = ("--port", str(free_port()), "--metrics-port", str(port), "--metrics-host", "0.0.0.0")  # noqa: S104 - what is tested
    with centre(database_url, *options):
        eventually(lambda: "drumtower_stream_clients" in told(ANOTHER_ADDRESS, port))


def test_a_place_that_cannot_be_had_is_said_with_what_to_do(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with centre(database_url, "--port", str(free_port()), "--metrics-port", str(port)) as process:
            _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert f"expected to serve metrics on 127.0.0.1:{port}, got:" in said
    assert "Traceback" not in said
