"""Services, gateways and load of one run of ``benchmarks.ingest``, and what each of them costs the processor."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import yaml

from common.schema.runner import migrate
from gateway.config import IntakeSettings
from gateway.fleet import repo
from gateway.fleet.sites import DeviceEntry, Site
from local.broker import Broker, ClientAccount
from local.ports import free_port
from local.postgres import PostgresServer
from local.processes import installed_binaries

REPOSITORY = Path(__file__).parents[1]
#: Rows a transaction, of the gateway (its default) and of the ceiling.
BATCH_ROWS = IntakeSettings().batch_rows
CEILING_TABLE = """
DROP TABLE IF EXISTS ceiling;
CREATE TABLE ceiling (LIKE reading INCLUDING DEFAULTS);
SELECT create_hypertable('ceiling', by_range('captured_at', INTERVAL '1 day'), create_default_indexes => false);
CREATE INDEX ON ceiling (series_id, captured_at) WITH (deduplicate_items = off);
"""
_FEW = 1000
#: As much as comes between two checkpoints under load.
_LOG_OF_A_CHECKPOINT = (
    "SELECT count(pg_logical_emit_message(false, 'age', repeat('x', 1000000))) FROM generate_series(1, 4400)"
)
_COMMITTED = "SELECT coalesce(sum(upper(received) - 1), 0)::bigint FROM device_stream"
#: Of all, and of each box in one text that is read later: looking must not take what it looks at its processor time.
_COMMITTED_BY_BOX = """
SELECT sum(upto)::bigint, string_agg(device_id || ' ' || upto, ',')
FROM (SELECT device_id, coalesce(upper(received) - 1, 0) AS upto FROM device_stream)
"""
_NOTES = "SELECT count(*) FROM rollup_dirty"
_NAMES = "SELECT device_id, site || '/' || name FROM device"
_LOOK_S = 0.01


@dataclass
class Round:
    """What one round came to: seconds, processor seconds of each part, and for paced rounds when was sent and seen.

    ``rules_s`` are the gateways' processor seconds in their rules.
    """

    seconds: float
    processor_s: dict[str, float]
    rules_s: float
    sent_at: dict[str, list[float]] = field(default_factory=dict)
    looks: list[tuple[float, dict[str, int]]] = field(default_factory=list)


class Rig:
    """A database, a broker, the boxes' connections, and gateways as they are asked for.

    Args:
        directory: for everything; gone afterwards.
        boxes: how many, shared out evenly between the sites.
        sites: each one a partition of its own when there are several.
    """

    def __init__(self, directory: Path, boxes: int, sites: Sequence[str] = ("bench",)) -> None:
        self.directory = directory
        self._stack = ExitStack()
        self.postgres = self._stack.enter_context(PostgresServer(directory / "postgres"))
        self.url = self.postgres.create_database("ingest")
        migrate(self.url)
        self._register(boxes, sites)
        self.broker = Broker(directory / "broker")
        self.accounts = self._add_accounts(boxes, sites)
        self._stack.enter_context(self.broker)
        self._gateways: list[subprocess.Popen[bytes]] = []
        self._metrics_ports: list[int] = []
        self._load: subprocess.Popen[str] | None = None
        self._seq = 0
        self._started = 0
        self._file = directory / "rows.bin"
        self.start_ms = time.time_ns() // 1_000_000 - 40 * 3_600_000

    def close(self) -> None:
        """Leave nothing running."""
        if self._load is not None:
            self._load.kill()
            self._load.wait(15)
        self.stop_gateways()
        self._stack.close()

    def start_gateway(
        self, client: str = "frames", *, rules: bool = True, partitions: Sequence[str] = ("default",)
    ) -> None:
        """A gateway that takes in a partition, or several of them each by a process of its own, once connected."""
        settings = yaml.safe_load((REPOSITORY / "firmware_configs/gateway.yaml").read_text(encoding="utf-8"))
        settings.setdefault("intake", {})["client"] = client
        if len(self.accounts) <= _FEW:
            # A round ends with the last receipt. Sooner ones ask more of the gateway, not less, and spare us seconds.
            settings["receipts"]["every_s"] = 2
        if not rules:
            settings["rules"] = []
        config = self.directory / "gateway.yaml"
        config.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
        for partition in partitions:
            self._start_gateway(config, partition)

    def stop_gateways(self) -> None:
        """Stop them in good order."""
        for process in self._gateways:
            process.terminate()
        for process in self._gateways:
            process.wait(30)
        self._gateways.clear()
        self._metrics_ports.clear()

    def gateway_memory(self) -> int:
        """Resident bytes of the gateways."""
        return sum(psutil.Process(process.pid).memory_info().rss for process in self._gateways)

    def gateway_pids(self) -> list[int]:
        """For a profiler."""
        return [process.pid for process in self._gateways]

    def round(self, count: int, rate: float = 0.0, at_once: int = 1) -> Round:
        """Have every box send ``count`` packets, and wait until all are committed.

        Args:
            count: of each box.
            rate: packets a second over all boxes; 0: as fast as receipts allow.
            at_once: with a rate, how many packets a box sends in one go.
        """
        self._start_load()
        order = {"start_ms": self.start_ms, "first_seq": self._seq + 1, "count": count}
        self._tell({**order, "rate": rate, "at_once": at_once})
        self._hear()
        self._seq += count
        goal = self._seq * len(self.accounts)
        before, rules_before = self._processor_s(), self._rules_s()
        self._tell({"go": True})
        looks: list[tuple[float, str]] = []
        names: dict[int, str] = {}
        deadline = time.monotonic() + 300
        with psycopg.connect(self.url, autocommit=True) as connection:
            while True:
                row = connection.execute(_COMMITTED_BY_BOX if rate else _COMMITTED).fetchone()
                done = int(row[0] or 0) if row else 0
                if rate and row and row[1]:
                    looks.append((time.time(), row[1]))
                ended = time.time()
                if done >= goal:
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{done} of {goal} packets committed after 300 s")
                time.sleep(_LOOK_S if rate else 0.05)
            if rate:
                names = dict(connection.execute(_NAMES).fetchall())
        after, rules_after = self._processor_s(), self._rules_s()
        named = [(at, _by_name(said, names)) for at, said in looks]
        answer = self._hear()
        spent = {name: round(after[name] - before[name], 2) for name in after}
        return Round(ended - answer["began"], spent, rules_after - rules_before, answer["sent_at"], named)

    def rows(self) -> int:
        """How many readings are in the store."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT count(*) FROM reading").fetchone()
        return int(row[0]) if row else 0

    def ceiling(self, rows: int, batch_rows: int) -> float:
        r"""Rows a second of ``psql \\copy`` of what ``export`` wrote, so many rows a transaction, into a table of its kind."""
        self._psql(*[part for line in CEILING_TABLE.strip().splitlines() for part in ("-c", line)])
        self._psql("-c", "CHECKPOINT")
        script = in_pieces(self._file, rows, batch_rows)
        began = time.time()
        self._psql("-f", str(script))
        return rows / (time.time() - began)

    def export(self) -> int:
        """The rows of the last round to a file, and the table empty again; how many they were."""
        said = self._psql("-c", f"\\copy (SELECT * FROM reading) to '{self._file}' with (format binary)")
        self.empty()
        return int(said.split()[-1])

    def empty(self, *, checkpoint: bool = True) -> None:
        """An empty hypertable for the next round, like the ceiling's; without a checkpoint they come as they would."""
        self._psql("-c", "TRUNCATE reading", *(("-c", "CHECKPOINT") if checkpoint else ()))

    def settle(self, patience_s: float) -> float:
        """Wait until the rollups of what came before are computed; seconds waited, at most so many."""
        began = time.monotonic()
        with psycopg.connect(self.url, autocommit=True) as connection:
            while time.monotonic() - began < patience_s:
                row = connection.execute(_NOTES).fetchone()
                if row is not None and not row[0]:
                    break
                time.sleep(0.5)
        return time.monotonic() - began

    def age(self) -> None:
        """Have the database's log stand as after hours of work: its files are used again, no longer made."""
        for _ in range(2):
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(_LOG_OF_A_CHECKPOINT)
                connection.execute("CHECKPOINT")

    def _psql(self, *arguments: str) -> str:
        found = installed_binaries().postgres_programs / "psql"
        program = str(found) if found.exists() else shutil.which("psql")
        if program is None:
            raise FileNotFoundError("expected psql beside the database's programs or on the PATH")
        ran = subprocess.run(
            [program, "-X", "-v", "ON_ERROR_STOP=1", *arguments, self.url],
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.strip() or ran.stderr.strip()

    def _register(self, boxes: int, sites: Sequence[str]) -> None:
        with repo.connect(self.url, "benchmark") as connection:
            for site in sites:
                names = [f"box-{number:05d}" for number in range(boxes // len(sites))]
                devices = tuple(DeviceEntry(name=name, lon=119.3, lat=26.1) for name in names)
                repo.upsert_devices(connection, [Site(site=site, devices=devices)])
                if len(sites) > 1:
                    connection.execute("UPDATE device SET partition = %s WHERE site = %s", [site, site])

    def _add_accounts(self, boxes: int, sites: Sequence[str]) -> list[dict[str, Any]]:
        made = [
            {
                "username": f"{site}/box-{number:05d}",
                "password": secrets.token_hex(12),
                "epoch": secrets.randbits(60) + 1,
            }
            for number in range(boxes // len(sites))
            for site in sites
        ]
        self.broker.add_clients(
            ClientAccount(
                str(one["username"]),
                str(one["password"]),
                (f"dt/v1/{one['username']}/up/#",),
                (f"dt/v1/{one['username']}/down/#",),
            )
            for one in made
        )
        self._password = secrets.token_hex(16)
        for partition in {"default", *sites}:
            self.broker.add_gateway(f"gateway-{partition}", self._password)
        return made

    def _start_gateway(self, config: Path, partition: str) -> None:
        credential = self.directory / "credential"
        credential.write_text(self._password, encoding="utf-8")
        port = free_port()
        self._metrics_ports.append(port)
        self._started += 1
        log = self.directory / f"gateway-{self._started}.log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", "common.runtime.cli", "gateway", "run", "--config", str(config)]
            process = subprocess.Popen(
                [*command, "--partition", partition, "--metrics-port", str(port)],
                env={
                    "PATH": "/usr/bin:/bin",
                    "DRUMTOWER_DATABASE_URL": self.url,
                    "DRUMTOWER_BROKER_URL": self.broker.url.replace("://", f"://gateway-{partition}@"),
                    "DRUMTOWER_CA_FILE": str(self.broker.ca_file),
                    "DRUMTOWER_CREDENTIAL_FILE": str(credential),
                },
                stdout=output,
                stderr=output,
            )
        self._gateways.append(process)
        deadline = time.monotonic() + 60
        while "connected to the broker" not in (said := log.read_text(encoding="utf-8")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway did not connect: {said[-2000:]}")
            time.sleep(0.1)

    def _start_load(self) -> None:
        if self._load is not None:
            return
        self._load = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ingest_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell({"port": self.broker.port, "ca_file": str(self.broker.ca_file), "boxes": self.accounts})

    def _processor_s(self) -> dict[str, float]:
        """Processor seconds so far: gateways, database with all its processes, broker, load."""
        assert self.postgres.pid is not None
        assert self.broker.pid is not None
        assert self._load is not None
        parts = {
            "gateway": self.gateway_pids(),
            "database": [self.postgres.pid],
            "broker": [self.broker.pid],
            "load": [self._load.pid],
        }
        spent: defaultdict[str, float] = defaultdict(float)
        for name, pids in parts.items():
            for pid in pids:
                process = psutil.Process(pid)
                ended = process.cpu_times()
                spent[name] += ended.children_user + ended.children_system
                for one in (process, *process.children(recursive=True)):
                    # Of the database's workers one may end just now; the next reading has it among the ended.
                    with suppress(psutil.NoSuchProcess):
                        times = one.cpu_times()
                        spent[name] += times.user + times.system
        return dict(spent)

    def _rules_s(self) -> float:
        """Processor seconds that the gateways' rules took so far, as they say themselves."""
        total = 0.0
        for port in self._metrics_ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                said = answer.read().decode()
            found = re.search(r"^drumtower_gateway_rules_seconds_total (\S+)$", said, re.MULTILINE)
            total += float(found[1]) if found else 0.0
        return total

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._load is not None
        assert self._load.stdin is not None
        self._load.stdin.write(json.dumps(message) + "\n")
        self._load.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._load is not None
        assert self._load.stdout is not None
        heard: dict[str, Any] = json.loads(self._load.stdout.readline())
        return heard


def _by_name(said: str, names: Mapping[int, str]) -> dict[str, int]:
    """What ``_COMMITTED_BY_BOX`` said of each box."""
    pairs = (one.split(" ") for one in said.split(","))
    return {names[int(number)]: int(upto) for number, upto in pairs}


def latencies(measured: Round, first_seq: int) -> list[float]:
    """From sending to the first look that found it committed, of every packet, in ms, from the fastest on."""
    waiting = dict.fromkeys(measured.sent_at, 0)
    found = []
    for looked_at, committed in measured.looks:
        for name, sent_at in measured.sent_at.items():
            upto = committed.get(name, 0) - (first_seq - 1)
            found += [(looked_at - at) * 1000 for at in sent_at[waiting[name] : max(upto, waiting[name])]]
            waiting[name] = max(waiting[name], upto)
    return sorted(found)


def in_pieces(file: Path, rows: int, batch_rows: int) -> Path:
    """A script that copies a binary COPY file piece by piece; its rows are all of one width."""
    content = memoryview(file.read_bytes())
    header, body, trailer = content[:19], content[19:-2], content[-2:]
    width, rest = divmod(len(body), rows)
    assert not rest, "rows of different widths"
    lines = []
    for number, first in enumerate(range(0, rows, batch_rows)):
        piece = file.with_name(f"piece-{number}")
        piece.write_bytes(b"".join((header, body[first * width : (first + batch_rows) * width], trailer)))
        lines.append(f"\\copy ceiling from '{piece}' with (format binary)")
    script = file.with_name("pieces.sql")
    script.write_text("\n".join(lines), encoding="utf-8")
    return script
