r"""How fast packets become committed rows, against the fastest that PostgreSQL itself takes the same rows.

100 boxes, each with its own TLS connection to the real broker and its own credential; 50 readings a packet, ten
series, each under a rule, one packet in 200 with a reading beyond its threshold; a real ``drumtower gateway run``
process with deduplication, rules and receipts on. The load is one process that encodes beforehand and sends no
further than 200 packets ahead of each box's receipts. The ceiling is ``psql \copy`` (binary) of the very rows that
a round brought, into an empty hypertable with the same columns and index, committed in transactions as large as the
gateway's; the same in one single transaction is printed beside it. Rounds and ceilings take turns and the medians
are compared. Latency is from a packet's sending to the first look (every 5 ms) that finds it committed.

Found by profiling (py-spy, per-thread processor time; µs a packet, two busy threads of one core): paho 99, decoding
and flattening 59, the two committers 107, PostgreSQL 150, broker 35. Matching names against their patterns was half
of decoding (names seen to be right are remembered); the cycle collector was as much again (it looks rarely now);
adapting lists to arrays was a quarter of a commit (arrays are written as text); one committer left a core idle
while the other computed (devices are shared between two). What is left to gain is in the MQTT client.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.ingest_load import READINGS_A_PACKET
from common.schema.runner import migrate
from gateway.config import IntakeSettings
from gateway.fleet import repo
from gateway.fleet.sites import DeviceEntry, Site
from local.broker import Broker, ClientAccount
from local.postgres import PostgresServer
from local.processes import installed_binaries

LIMIT_RATIO = 0.4
#: Rows a transaction, of the gateway (its default) and of the ceiling.
BATCH_ROWS = IntakeSettings().batch_rows
_CEILING_TABLE = """
DROP TABLE IF EXISTS ceiling;
CREATE TABLE ceiling (LIKE reading INCLUDING DEFAULTS);
SELECT create_hypertable('ceiling', by_range('captured_at', INTERVAL '1 day'), create_default_indexes => false);
CREATE INDEX ON ceiling (series_id, captured_at DESC);
"""
_COMMITTED = "SELECT coalesce(sum(upper(received) - 1), 0)::bigint FROM device_stream"


class Rig:
    """Services, gateway and load of one run."""

    def __init__(self, directory: Path, boxes: int) -> None:
        self.directory = directory
        self._stack = ExitStack()
        self.postgres = self._stack.enter_context(PostgresServer(directory / "postgres"))
        self.url = self.postgres.create_database("ingest")
        migrate(self.url)
        self._site = Site(
            site="bench",
            devices=tuple(
                DeviceEntry(name=f"box-{number:05d}", lon=119.3, lat=26.1) for number in range(boxes)
            ),
        )
        with repo.connect(self.url, "benchmark") as connection:
            repo.upsert_devices(connection, [self._site])
        self.broker = Broker(directory / "broker")
        self.accounts = self._accounts()
        self._stack.enter_context(self.broker)
        self.gateway = self._start_gateway()
        self._load = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ingest_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell({"port": self.broker.port, "ca_file": str(self.broker.ca_file), "boxes": self.accounts})
        self.start_ms = time.time_ns() // 1_000_000 - 6 * 3_600_000

    def close(self) -> None:
        """Leave nothing running."""
        for process in (self._load, self.gateway):
            process.terminate()
            process.wait(15)
        self._stack.close()

    def round(self, first_seq: int, count: int, rate: float = 0.0) -> dict[str, Any]:
        """Have every box send ``count`` packets; how long until all were committed, and when each was sent."""
        order = {"start_ms": self.start_ms, "first_seq": first_seq, "count": count, "rate": rate}
        self._tell(order)
        self._hear()
        goal = (first_seq - 1 + count) * len(self.accounts)
        self._tell({"go": True})
        looks: list[tuple[float, dict[str, int]]] = []
        began = time.time()
        with psycopg.connect(self.url, autocommit=True) as connection:
            while True:
                if rate:
                    looks.append((0.0, _committed_by_box(connection)))
                    looks[-1] = (time.time(), looks[-1][1])
                    done = sum(looks[-1][1].values())
                else:
                    row = connection.execute(_COMMITTED).fetchone()
                    done = int(row[0]) if row else 0
                ended = time.time()
                if done >= goal:
                    break
                if ended - began > 300:
                    raise TimeoutError(f"{done} of {goal} packets committed after 300 s")
                time.sleep(0.005 if rate else 0.05)
        answer = self._hear()
        return {"seconds": ended - answer["began"], "sent_at": answer["sent_at"], "looks": looks}

    def ceiling(self, file: Path, rows: int, batch_rows: int) -> float:
        r"""Rows a second of ``psql \\copy`` of a file, so many rows a transaction, into a hypertable of the same kind."""
        self._psql(*[part for line in _CEILING_TABLE.strip().splitlines() for part in ("-c", line)])
        self._psql("-c", "CHECKPOINT")
        script = _in_pieces(file, rows, batch_rows)
        began = time.time()
        self._psql("-f", str(script))
        return rows / (time.time() - began)

    def export(self, file: Path) -> int:
        """The rows of the last round to a file, and the table empty again; how many they were."""
        said = self._psql("-c", f"\\copy (SELECT * FROM reading) to '{file}' with (format binary)")
        self.empty()
        return int(said.split()[-1])

    def empty(self) -> None:
        """An empty hypertable for the next round, like the ceiling's."""
        self._psql("-c", "TRUNCATE reading", "-c", "CHECKPOINT")

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

    def _accounts(self) -> list[dict[str, Any]]:
        made = [
            {
                "username": f"bench/{device.name}",
                "password": secrets.token_hex(12),
                "epoch": secrets.randbits(60) + 1,
            }
            for device in self._site.devices
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
        self.broker.add_gateway("gateway", self._password)
        return made

    def _start_gateway(self) -> subprocess.Popen[str]:
        credential = self.directory / "credential"
        credential.write_text(self._password, encoding="utf-8")
        log = self.directory / "gateway.log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "common.runtime.cli", "gateway", "run"],
                env={
                    "PATH": "/usr/bin:/bin",
                    "DRUMTOWER_DATABASE_URL": self.url,
                    "DRUMTOWER_BROKER_URL": self.broker.url,
                    "DRUMTOWER_CA_FILE": str(self.broker.ca_file),
                    "DRUMTOWER_CREDENTIAL_FILE": str(credential),
                },
                stdout=output,
                stderr=output,
                text=True,
            )
        deadline = time.monotonic() + 30
        while "connected to the broker" not in log.read_text(encoding="utf-8"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway did not connect: {log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.1)
        return process

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._load.stdin is not None
        self._load.stdin.write(json.dumps(message) + "\n")
        self._load.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._load.stdout is not None
        heard: dict[str, Any] = json.loads(self._load.stdout.readline())
        return heard


def _committed_by_box(connection: psycopg.Connection[Any]) -> dict[str, int]:
    rows = connection.execute(
        "SELECT d.site || '/' || d.name, (upper(s.received) - 1)::bigint FROM device_stream s"
        " JOIN device d USING (device_id)"
    ).fetchall()
    return {name: int(upto or 0) for name, upto in rows}


def _in_pieces(file: Path, rows: int, batch_rows: int) -> Path:
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


def latencies(measured: dict[str, Any], first_seq: int) -> list[float]:
    """From sending to the first look that found it committed, of every packet, in ms."""
    waiting = dict.fromkeys(measured["sent_at"], 0)
    found = []
    for looked_at, committed in measured["looks"]:
        for name, sent_at in measured["sent_at"].items():
            upto = committed.get(name, 0) - (first_seq - 1)
            found += [(looked_at - at) * 1000 for at in sent_at[waiting[name] : max(upto, waiting[name])]]
            waiting[name] = max(waiting[name], upto)
    return found


def measure(boxes: int, packets: int, rounds: int) -> dict[str, Any]:
    """Run it all; the result as ``benchmarks`` wants it."""
    with tempfile.TemporaryDirectory(prefix="drumtower-ingest-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        rig = Rig(directory, boxes)
        try:
            return _measure(rig, packets, rounds)
        finally:
            rig.close()


def _measure(rig: Rig, packets: int, rounds: int) -> dict[str, Any]:
    boxes = len(rig.accounts)
    each = max(packets // boxes, 20)
    file = rig.directory / "rows.bin"
    seq = 1
    rig.round(seq, max(each // 10, 10))  # caches, series, prepared statements
    seq += max(each // 10, 10)
    rig.empty()
    ours, ceilings, whole = [], [], []
    process = psutil.Process(rig.gateway.pid)
    processor_s = 0.0
    for _ in range(rounds):
        before = process.cpu_times()
        seconds = rig.round(seq, each)["seconds"]
        after = process.cpu_times()
        processor_s += after.user + after.system - before.user - before.system
        seq += each
        ours.append(each * boxes * READINGS_A_PACKET / seconds)
        rows = each * boxes * READINGS_A_PACKET
        assert rig.export(file) == rows, "rows lost or doubled"
        ceilings.append(rig.ceiling(file, rows, BATCH_ROWS))
        whole.append(rig.ceiling(file, rows, rows))
    value, limit = statistics.median(ours), statistics.median(ceilings)
    rate = value / READINGS_A_PACKET / 2
    paced = max(int(rate * 8) // boxes, 10)
    delays = sorted(latencies(rig.round(seq, paced, rate), seq))
    return {
        "name": "ingest",
        "value": round(value),
        "unit": "rows/s",
        "limit": round(limit),
        "ratio": round(value / limit, 3),
        "detail": {
            "boxes": boxes,
            "readings_a_packet": READINGS_A_PACKET,
            "packets_a_round": each * boxes,
            "rounds": [round(one) for one in ours],
            "ceilings": [round(one) for one in ceilings],
            "one_transaction_copy": [round(one) for one in whole],
            "ratio_to_one_transaction_copy": round(value / statistics.median(whole), 3),
            "tls": True,
            "asked_ratio": LIMIT_RATIO,
            "half_load_packets_per_s": round(rate),
            "publish_to_commit_ms_p50": round(delays[len(delays) // 2], 1),
            "publish_to_commit_ms_p99": round(delays[int(len(delays) * 0.99)], 1),
            "gateway_cpu_us_per_packet": round(processor_s / (rounds * each * boxes) * 1e6),
            "gateway_rss_mb": round(process.memory_info().rss / 2**20),
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, as JSON")
    parser.add_argument("--boxes", type=int, default=100)
    parser.add_argument("--packets", type=int, default=24_000, help="a round, over all boxes")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    result = measure(arguments.boxes, arguments.packets, arguments.rounds)
    if not arguments.json:
        detail = result["detail"]
        print(f"{result['value']:,} rows/s of {result['limit']:,} by psql \\copy: {result['ratio']}")
        print(
            f"publish to commit at half load: p50 {detail['publish_to_commit_ms_p50']} ms,"
            f" p99 {detail['publish_to_commit_ms_p99']} ms"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
