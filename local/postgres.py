"""A real PostgreSQL with TimescaleDB for one machine: made, started, stopped and killed from Python."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from local.paths import write_atomically
from local.ports import PortTakenError, ServicePort
from local.processes import (
    Account,
    ServiceError,
    ServiceProcess,
    installed_binaries,
    service_account,
)
from local.procfs import await_predecessor, kill_family

_SERVICE = "the database"
_USER = "drumtower"
_START_SECONDS = 60.0
# Only TCP on the loopback address, only with the password.
_HBA = "host all all 127.0.0.1/32 scram-sha-256\n"
_SETTINGS = """\
# Written at every start by local/postgres.py.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
timescaledb.max_background_workers = 16
max_worker_processes = 24
max_locks_per_transaction = 256
# The just-in-time compiler's library is not unpacked, and short statements do not gain from it.
jit = off
# Committed means on the disk: the receipts that boxes get stand on it.
fsync = on
synchronous_commit = on
shared_buffers = {shared_buffers_mb}MB
effective_cache_size = {cache_mb}MB
work_mem = 8MB
maintenance_work_mem = 64MB
# Under load every page in memory is written anew at each checkpoint: with this much log between them every few minutes,
# instead of all the time.
max_wal_size = 8GB
# Logs are used again rather than made anew, which whoever commits just then would wait for.
min_wal_size = 1GB
# Pages are written out beside the batches, not by them, and no faster than 40 MB/s, so that a commit's flush does not
# stand behind them: by default at most a hundred every 200 ms.
bgwriter_delay = 20ms
bgwriter_lru_maxpages = 100
bgwriter_lru_multiplier = 4
checkpoint_completion_target = 0.9
# A checkpoint has minutes for its pages: told to take each quarter of a megabyte at once, the disk has the commits wait.
checkpoint_flush_after = 0
random_page_cost = 1.1
max_parallel_workers_per_gather = 1
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_line_prefix = '%m [%p] '
"""


class PostgresServer:
    """One PostgreSQL cluster in `directory`, listening on 127.0.0.1.

    Args:
        directory: holds the cluster (`cluster/`), the password (`password`, mode 0600) and the log
            (`postgres.log`); created where missing.
        port: the TCP port; None chooses a free one, kept for the life of this object.
        programs: PostgreSQL's directory of programs; None takes the system's or the set-up's.

    Usable as a context manager, which starts and stops it. The server also stops when this process dies.
    """

    def __init__(self, directory: Path, port: int | None = None, programs: Path | None = None) -> None:
        self.directory = directory.absolute()
        self._programs = programs if programs is not None else installed_binaries().postgres_programs
        self._port = ServicePort(_SERVICE, port)
        self._cluster = self.directory / "cluster"
        self._password_file = self.directory / "password"
        self._process = ServiceProcess(_SERVICE, self.directory / "postgres.log", signal.SIGINT)

    @property
    def port(self) -> int:
        """The TCP port; raises ServiceError before the first start where none was given."""
        return self._port.number

    @property
    def url(self) -> str:
        """`postgresql://user:password@127.0.0.1:port/postgres`, the password included."""
        return self.database_url("postgres")

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster while it runs."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file of the server's messages."""
        return self._process.log

    def database_url(self, name: str) -> str:
        """The address of the database `name` on this server, whether it exists or not."""
        password = self._password_file.read_text(encoding="ascii")
        return f"postgresql://{_USER}:{password}@127.0.0.1:{self.port}/{name}"

    def create_database(self, name: str) -> str:
        """Create the database `name` unless it exists, and return its address."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop the database `name` with the connections that use it, if it exists."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def start(self) -> None:
        """Make the cluster if need be, start the server and wait until it answers; raises ServiceError."""
        if self.pid is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        account = service_account(self._programs / "postgres", self.directory)
        self._initialise(account)
        self._write_settings(account)
        await_predecessor(self._cluster / "postmaster.pid", self._cluster, _SERVICE)
        self._port.start(lambda port: self._launch(account, port))

    def stop(self) -> None:
        """Stop at once but in order (PostgreSQL's fast shutdown): open transactions are rolled back."""
        self._process.stop(timeout_seconds=60.0)

    def restart(self) -> None:
        """Stop in order and start on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL the postmaster and all its children, as a power cut would, and wait until they are gone."""
        if self.pid is not None:
            kill_family(self.pid)
            self._process.kill()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _initialise(self, account: Account) -> None:
        if (self._cluster / "PG_VERSION").exists() and self._password_file.exists():
            return
        fresh = self.directory / "cluster.new"
        for remains in (fresh, self._cluster):  # of an interrupted first start
            shutil.rmtree(remains, ignore_errors=True)
        write_atomically(self._password_file, secrets.token_urlsafe(24).encode(), 0o600)
        account.own(self.directory)
        made = subprocess.run(
            [
                *(("setpriv", *account.command_prefix()) if account.uid is not None else ()),
                *(self._programs / "initdb", "--pgdata", fresh, "--username", _USER),
                *("--pwfile", self._password_file, "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--locale", "C"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if made.returncode != 0:
            said = [line for line in made.stderr.splitlines() if "error" in line.lower() or "FATAL" in line]
            raise ServiceError(
                "service.start_failed",
                f"initdb could not make {self._cluster}: {(said or [made.stderr.strip()])[-1]}",
                "check the space and the permissions of that directory",
            )
        (fresh / "pg_hba.conf").write_text(_HBA, encoding="ascii")
        with (fresh / "postgresql.conf").open("a", encoding="utf-8") as main:
            main.write("\ninclude = 'drumtower.conf'\n")
        account.own(fresh)
        fresh.rename(self._cluster)

    def _write_settings(self, account: Account) -> None:
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        settings = _SETTINGS.format(
            shared_buffers_mb=max(64, min(512, memory_mb // 8)), cache_mb=memory_mb // 4
        )
        path = self._cluster / "drumtower.conf"
        write_atomically(path, settings.encode(), 0o600)
        account.own(path)

    def _launch(self, account: Account, port: int) -> None:
        self._process.start([self._programs / "postgres", "-D", self._cluster, "-p", str(port)], account)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            if self._process.exit_code() is not None:
                raise self._start_failure(port)
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    self._process.kill()
                    raise ServiceError(
                        "service.start_failed",
                        f"the database did not answer within {_START_SECONDS:.0f} s: {error}",
                        f"its log {self.log} ends: {self._process.log_tail()}",
                    ) from error
            time.sleep(0.03)

    def _start_failure(self, port: int) -> ServiceError:
        tail = self._process.log_tail()
        if "Address already in use" in tail:
            return PortTakenError(port, _SERVICE)
        return ServiceError(
            "service.start_failed",
            f"the database did not start (exit code {self._process.exit_code()})",
            f"its log {self.log} ends: {tail}",
        )
