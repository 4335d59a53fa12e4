"""The embedded database: real PostgreSQL, real TimescaleDB, real SIGKILL."""

from __future__ import annotations

import datetime
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.paths import REPOSITORY
from local.ports import free_port
from local.postgres import PostgresServer
from local.processes import ServiceError
from local.procfs import children_of

pytestmark = pytest.mark.services


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    """A database server of this test alone."""
    with PostgresServer(tmp_path / "database") as running:
        yield running


def write_readings(url: str, count: int) -> None:
    """Make a hypertable and COPY `count` hourly rows into it, committed."""
    midnight = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        connection.execute("CREATE TABLE reading (device_id int, time timestamptz NOT NULL, value float8)")
        connection.execute("SELECT create_hypertable('reading', 'time')")
        with connection.cursor().copy("COPY reading FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "timestamptz", "float8"])
            for hour in range(count):
                copy.write_row((hour % 7, midnight + datetime.timedelta(hours=hour), hour / 2))


def count_readings(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM reading").fetchone()
    assert row is not None
    return int(row[0])


def answers(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(30)
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_hypertable_takes_binary_copy_and_tells_its_size(server: PostgresServer) -> None:
    url = server.create_database("readings")
    write_readings(url, 1000)
    assert count_readings(url) == 1000
    with psycopg.connect(url) as connection:
        chunks = connection.execute("SELECT count(*) FROM show_chunks('reading')").fetchone()
        size = connection.execute("SELECT hypertable_size('reading')").fetchone()
    assert chunks is not None
    assert chunks[0] > 1
    assert size is not None
    assert size[0] > 0


def test_committed_rows_survive_sigkill_of_every_process_and_uncommitted_ones_do_not(
    server: PostgresServer,
) -> None:
    url = server.create_database("readings")
    write_readings(url, 500)
    postmaster = server.pid
    assert postmaster is not None
    unfinished = psycopg.connect(url)
    unfinished.execute("DELETE FROM reading")
    children = children_of(postmaster)
    server.kill()
    assert server.pid is None
    assert len(children) > 3
    assert not [child for child in children if is_alive(child)]
    server.start()
    assert count_readings(url) == 500
    with pytest.raises(psycopg.OperationalError):
        unfinished.execute("SELECT 1")
    unfinished.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that only waits to be reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_address_stays_the_same_over_stop_and_start(server: PostgresServer) -> None:
    url = server.create_database("kept")
    server.restart()
    assert server.create_database("kept") == url
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1")


def test_settings_keep_what_was_promised_to_boxes(server: PostgresServer) -> None:
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "jit": "off",
        "timescaledb.telemetry_level": "off",
        "server_encoding": "UTF8",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
    }
    with psycopg.connect(server.url) as connection:
        for name, value in expected.items():
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row is not None
            assert row[0] == value, name


def test_a_wrong_password_is_refused_and_the_right_one_is_private(server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://drumtower:wrong@127.0.0.1:{server.port}/postgres")
    assert (server.directory / "password").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ServiceError, match=f"port {port} of 127.0.0.1 is taken") as refused:
            PostgresServer(tmp_path / "database", port).start()
    assert refused.value.code == "service.port_taken"
    assert refused.value.hint


def test_a_broken_configuration_is_told_with_the_end_of_the_log(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "database")
    server.start()
    server.stop()
    with (server.directory / "cluster" / "postgresql.conf").open("a") as settings:
        settings.write("max_connections = many\n")
    with pytest.raises(ServiceError, match="did not start") as refused:
        server.start()
    assert "max_connections" in refused.value.hint
    assert server.pid is None


def test_a_second_run_on_the_same_directory_is_refused(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.procfs.PREDECESSOR_SECONDS", 0.3)
    with pytest.raises(ServiceError, match="another run of the database") as refused:
        PostgresServer(server.directory).start()
    assert refused.value.code == "service.running"


def test_a_server_started_from_a_thread_outlives_that_thread(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "database")
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    try:
        time.sleep(0.3)  # in which the kernel would have told the server of the thread's end
        assert answers(server.port)
    finally:
        server.stop()


def test_the_server_stops_when_its_parent_is_killed_and_can_be_started_again_at_once(tmp_path: Path) -> None:
    directory = tmp_path / "database"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from local.postgres import PostgresServer;"
            "server = PostgresServer(Path(sys.argv[1])); server.start(); print(server.port, flush=True); time.sleep(600)",
            str(directory),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    assert answers(port)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    with PostgresServer(directory) as successor:
        assert answers(successor.port)
        assert successor.port == port or not answers(port)


def test_the_server_does_not_run_as_root(server: PostgresServer) -> None:
    assert server.pid is not None
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0


def test_a_clone_below_a_closed_home_directory_works(tmp_path: Path) -> None:
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    with PostgresServer(closed / "clone" / "data") as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE EXTENSION timescaledb")
