"""``drumtower demo`` as a new user runs it: it shows work, proves that nothing was lost, and leaves nothing running."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from local.paths import data_directory
from local.ports import free_port
from local.postgres import PostgresServer

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("whole-system"),
]
DEMO = [sys.executable, "-m", "common.runtime.cli", "demo"]
#: How long a slow machine may take for what takes some seconds here; only what fails waits so long.
PATIENCE = 240.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A data directory of its own, with the services that were set up."""
    data = tmp_path / "data"
    data.mkdir()
    prefix = data_directory() / "prefix"
    if prefix.is_dir():
        (data / "prefix").symlink_to(prefix)
    return {**os.environ, "DRUMTOWER_DATA": str(data)}


def running_below(directory: str) -> list[str]:
    """Processes that have the directory in their command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("DRUMTOWER_DATA", "")]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(word.startswith(directory) for word in words):
            found.append(" ".join(words))
    return found


def store_of(data: Path, told: Path) -> str | None:
    """The address of the running demo's database: what it says, with the password from its file."""
    found = re.search(r"store:\s+(\S+):\*\*\*@(\S+)", told.read_text(encoding="utf-8"))
    return f"{found[1]}:{(data / 'demo/postgres/password').read_text('ascii')}@{found[2]}" if found else None


def dispatched_channels(url: str | None) -> set[str]:
    """What tickets that were dispatched came from; nothing before the demo has said where its store is."""
    if url is None:
        return set()
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT DISTINCT channel FROM ticket WHERE dispatched_at IS NOT NULL")
        return {channel for (channel,) in rows.fetchall()}


def test_a_checked_run_opens_tickets_and_proves_that_nothing_was_lost(
    environment: dict[str, str], tmp_path: Path
) -> None:
    data, told = Path(environment["DRUMTOWER_DATA"]), tmp_path / "told"
    with (
        told.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(
            [*DEMO, "--check", "--port", str(free_port())],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as demo,
    ):
        # Not for so many seconds: how long tickets take is the machine's affair.
        deadline = time.monotonic() + PATIENCE
        while not dispatched_channels(store_of(data, told)) >= {"camera", "sensor"}:
            assert demo.poll() is None, told.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, told.read_text(encoding="utf-8")
            time.sleep(0.5)
        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, said + told.read_text(encoding="utf-8")
    summary = json.loads(said.splitlines()[-1])
    assert summary["ok"] is True
    assert summary["faults"] == []
    assert summary["camera_dispatched"] >= 1
    assert summary["sensor_dispatched"] >= 1
    assert summary["packets_numbered"] == summary["packets_committed"] > 0
    assert summary["readings_sent"] == summary["readings_stored"] > 0
    assert summary["matters_with_two_open_tickets"] == summary["incidents_without_one_ticket"] == 0
    assert "sign in as" in told.read_text(encoding="utf-8")
    assert "next:" in told.read_text(encoding="utf-8")
    assert running_below(environment["DRUMTOWER_DATA"]) == []


def test_a_database_elsewhere_serves_one_run_after_the_other(
    environment: dict[str, str], postgres_server: PostgresServer
) -> None:
    environment["DRUMTOWER_DATABASE_URL"] = postgres_server.create_database("elsewhere")
    for _ in range(2):
        ran = subprocess.run(
            [*DEMO, "--for", "12", "--port", str(free_port())],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "nothing lost, nothing doubled" in ran.stdout
        assert "sign in as duty" in ran.stdout
    postgres_server.drop_database("elsewhere")


def test_ctrl_c_stops_everything_that_was_started(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [*DEMO, "--port", str(free_port())],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "frames" in line:
                break
        assert len(running_below(environment["DRUMTOWER_DATA"])) > 5
        demo.send_signal(signal.SIGINT)
        said = demo.stdout.read()
        assert demo.wait(PATIENCE) == 0, said
    assert "nothing lost, nothing doubled" in said
    assert running_below(environment["DRUMTOWER_DATA"]) == []


def test_a_killed_demo_leaves_nothing_running_either(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [*DEMO, "--port", str(free_port())],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "frames" in line:
                break
        demo.kill()
    deadline = time.monotonic() + PATIENCE
    while running_below(environment["DRUMTOWER_DATA"]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running_below(environment["DRUMTOWER_DATA"]) == []


def test_a_taken_port_is_one_clear_line(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = subprocess.run(
            [*DEMO, "--for", "5", "--port", str(port)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in ran.stderr
    assert "what to do:" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_broker_elsewhere_without_its_credentials_is_said(environment: dict[str, str]) -> None:
    environment["DRUMTOWER_BROKER_URL"] = "mqtts://127.0.0.1:8883"
    ran = subprocess.run([*DEMO, "--for", "5"], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "DRUMTOWER_CREDENTIALS_DIR" in ran.stderr
