"""What the rules cost of a gateway's processor time, under the load of ``benchmarks.ingest``.

100 boxes over TLS, 50 readings a packet, ten series each; a real ``drumtower gateway run`` with deduplication, rules
and receipts on, by the leaner of the two intakes (by the other the rules' share is smaller). Three gateways take turns:
one without rules, one with those that are shipped (a threshold on every series), one with rules of every kind: besides
those two rates, a sum over an hour, standstill and silence of all ten series, and two combinations.

The value is the share of the last: processor time in the rules (each thread's own clock around everything that they
do: looking up what they have to know, stepping, writing down where they stand) over that of the whole process. What
the process takes more than the one without rules stands beside it, as a check that nothing was left out.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import yaml

from benchmarks.ingest_load import READINGS_A_PACKET
from common.schema.runner import migrate
from gateway.fleet import repo
from gateway.fleet.sites import DeviceEntry, Site
from local.broker import Broker, ClientAccount
from local.postgres import PostgresServer

LIMIT_SHARE = 0.25
_SHIPPED = Path(__file__).parents[1] / "firmware_configs/gateway.yaml"
_METRICS = ("smoke_density", "cover_tilt", "water_level", "water_depth", "rain_intensity")
_COMMITTED = "SELECT coalesce(sum(upper(received) - 1), 0)::bigint FROM device_stream"


def every_kind() -> list[dict[str, Any]]:
    """Rules of the kinds that the shipped configuration has none of, over all series of the load."""
    measured: list[dict[str, Any]] = [
        {
            "id": f"rate-{metric.replace('_', '-')}",
            "kind": "rate",
            "metric": metric,
            "category": "manhole.water_high",
            "span_s": 600,
            "raise_at": 5.0,
            "clear_at": 1.0,
            "severity": [{"at": 5.0, "severity": 3}],
        }
        for metric in ("water_level", "water_depth")
    ]
    measured.append(
        {
            "id": "intensity-hour",
            "kind": "window_sum",
            "of": "intensity",
            "metric": "rain_intensity",
            "category": "rain.intense",
            "window_s": 3600,
            "raise_at": 20,
            "clear_at": 10,
            "severity": [{"at": 20, "severity": 2}],
        }
    )
    for metric in _METRICS:
        name = metric.replace("_", "-")
        measured += [
            {
                "id": f"stuck-{name}",
                "kind": "stuck",
                "metric": metric,
                "category": "device.sensor_stuck",
                "after_s": 3600,
                "severity": 1,
            },
            {
                "id": f"silent-{name}",
                "kind": "silence",
                "metric": metric,
                "category": "device.sensor_silent",
                "after_s": 600,
                "severity": 1,
            },
        ]
    for number, kind in enumerate(("all_of", "any_of")):
        members = ["intensity-hour", "manhole-water"]
        category = "flood.water_level"
        combined = {
            "id": f"both-{number}",
            "kind": kind,
            "members": members,
            "category": category,
            "severity": 4,
        }
        measured.append(combined)
    return measured


@dataclass(frozen=True)
class Cost:
    """Of one gateway: processor microseconds a packet in all and in the rules, and rows a second."""

    whole: float
    rules: float
    rows_per_s: float

    @property
    def share(self) -> float:
        """The rules' part."""
        return self.rules / self.whole


class Rig:
    """Database, broker and load, for one gateway after the other."""

    def __init__(self, directory: Path, boxes: int) -> None:
        self._directory = directory
        self._stack = ExitStack()
        postgres = self._stack.enter_context(PostgresServer(directory / "postgres"))
        self._url = postgres.create_database("rules")
        migrate(self._url)
        names = [f"box-{number:05d}" for number in range(boxes)]
        site = Site(
            site="bench", devices=tuple(DeviceEntry(name=name, lon=119.3, lat=26.1) for name in names)
        )
        with repo.connect(self._url, "benchmark") as connection:
            repo.upsert_devices(connection, [site])
        self._broker = Broker(directory / "broker")
        self._password = secrets.token_hex(16)
        self._broker.add_gateway("gateway", self._password)
        accounts = [
            {
                "username": f"bench/{name}",
                "password": secrets.token_hex(12),
                "epoch": secrets.randbits(60) + 1,
            }
            for name in names
        ]
        self._broker.add_clients(
            ClientAccount(
                str(one["username"]),
                str(one["password"]),
                (f"dt/v1/{one['username']}/up/#",),
                (f"dt/v1/{one['username']}/down/#",),
            )
            for one in accounts
        )
        self._stack.enter_context(self._broker)
        self._boxes = boxes
        self._seq = 0
        self._start_ms = time.time_ns() // 1_000_000 - 6 * 3_600_000
        self._load = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ingest_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell({"port": self._broker.port, "ca_file": str(self._broker.ca_file), "boxes": accounts})

    def close(self) -> None:
        """Leave nothing running."""
        self._load.kill()
        self._load.wait(15)
        self._stack.close()

    def measure(self, rules: list[dict[str, Any]], packets: int) -> Cost:
        """What a gateway with these rules spends on so many packets of every box."""
        with self._gateway(rules) as (process, port):
            self._round(max(packets // 5, 10))  # caches, series, prepared statements, what rules have to know
            before, rules_before = process.cpu_times(), _rules_seconds(port)
            seconds = self._round(packets)
            after, rules_after = process.cpu_times(), _rules_seconds(port)
        count = packets * self._boxes
        whole = after.user + after.system - before.user - before.system
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("TRUNCATE reading")
        return Cost(
            whole / count * 1e6,
            (rules_after - rules_before) / count * 1e6,
            count * READINGS_A_PACKET / seconds,
        )

    @contextmanager
    def _gateway(self, rules: list[dict[str, Any]]) -> Iterator[tuple[psutil.Process, int]]:
        """A gateway with these rules and nothing else, and the port of its figures."""
        settings = {"intake": {"client": "frames"}, "rules": rules}
        config, credential = self._directory / "gateway.yaml", self._directory / "credential"
        config.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
        credential.write_text(self._password, encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        log = self._directory / f"gateway-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "common.runtime.cli", "gateway", "run", "--config", str(config)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--metrics-port", str(port)],
                env={
                    "PATH": "/usr/bin:/bin",
                    "DRUMTOWER_DATABASE_URL": self._url,
                    "DRUMTOWER_BROKER_URL": self._broker.url,
                    "DRUMTOWER_CA_FILE": str(self._broker.ca_file),
                    "DRUMTOWER_CREDENTIAL_FILE": str(credential),
                },
                stdout=output,
                stderr=output,
            )
        try:
            deadline = time.monotonic() + 60
            while "connected to the broker" not in (said := log.read_text(encoding="utf-8")):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the gateway did not connect: {said[-2000:]}")
                time.sleep(0.1)
            yield psutil.Process(process.pid), port
        finally:
            process.terminate()
            process.wait(30)

    def _round(self, count: int) -> float:
        """Have every box send so many packets; the seconds until all are committed."""
        self._tell({"start_ms": self._start_ms, "first_seq": self._seq + 1, "count": count, "rate": 0.0})
        self._hear()
        self._seq += count
        self._tell({"go": True})
        deadline = time.monotonic() + 300
        with psycopg.connect(self._url, autocommit=True) as connection:
            while True:
                row = connection.execute(_COMMITTED).fetchone()
                ended = time.time()
                if row is not None and int(row[0]) >= self._seq * self._boxes:
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{row} of {self._seq * self._boxes} packets committed after 300 s")
                time.sleep(0.05)
        return float(ended - self._hear()["began"])

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._load.stdin is not None
        self._load.stdin.write(json.dumps(message) + "\n")
        self._load.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._load.stdout is not None
        heard: dict[str, Any] = json.loads(self._load.stdout.readline())
        return heard


def _rules_seconds(port: int) -> float:
    """Processor seconds in the rules so far, as the gateway tells them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r"^drumtower_gateway_rules_seconds_total (\S+)$", text, re.MULTILINE)
    assert found is not None, "the gateway tells nothing of its rules"
    return float(found[1])


def measure(boxes: int, packets: int) -> dict[str, Any]:
    """Run it all; the result as ``benchmarks`` wants it."""
    shipped = yaml.safe_load(_SHIPPED.read_text(encoding="utf-8"))["rules"]
    each = max(packets // boxes, 20)
    with tempfile.TemporaryDirectory(prefix="drumtower-rules-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        rig = Rig(directory, boxes)
        try:
            without = rig.measure([], each)
            plain = rig.measure(shipped, each)
            full = rig.measure(shipped + every_kind(), each)
        finally:
            rig.close()
    return {
        "name": "rules",
        "value": round(full.share, 3),
        "unit": "share of the gateway's processor time",
        "limit": LIMIT_SHARE,
        "ratio": round(full.share / LIMIT_SHARE, 3),
        "detail": {
            "boxes": boxes,
            "packets": each * boxes,
            "readings_a_packet": READINGS_A_PACKET,
            "share_shipped": round(plain.share, 3),
            "share_every_kind": round(full.share, 3),
            "rules": {"shipped": len(shipped), "every_kind": len(shipped) + len(every_kind())},
            "rules_us_per_packet": {"shipped": round(plain.rules, 1), "every_kind": round(full.rules, 1)},
            "gateway_us_per_packet": {
                "without": round(without.whole, 1),
                "shipped": round(plain.whole, 1),
                "every_kind": round(full.whole, 1),
            },
            "more_than_without": {
                "shipped": round((plain.whole - without.whole) / plain.whole, 3),
                "every_kind": round((full.whole - without.whole) / full.whole, 3),
            },
            "rows_per_s": {
                "without": round(without.rows_per_s),
                "shipped": round(plain.rows_per_s),
                "every_kind": round(full.rows_per_s),
            },
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, as JSON")
    parser.add_argument("--boxes", type=int, default=100)
    parser.add_argument("--packets", type=int, default=20_000, help="a gateway, over all boxes")
    arguments = parser.parse_args()
    result = measure(arguments.boxes, arguments.packets)
    if not arguments.json:
        detail = result["detail"]
        print(
            f"rules take {result['value']:.1%} of the gateway's processor time with every kind on,"
            f" {detail['share_shipped']:.1%} with those that are shipped (at most {LIMIT_SHARE:.0%})"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
