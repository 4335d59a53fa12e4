r"""How fast single readings of plain devices become committed rows, with both intakes.

1,000 devices, each with its own TLS connection to the real broker and its own credential, say one number a message at
QoS 1; a real ``drumtower gateway run`` process reads them by a mapping file, with rules on, and acknowledges after the
commit. One message in a thousand is beyond its rule's threshold. The load is one process that encodes beforehand and
stays at most ``AHEAD`` messages ahead of what is committed. Load, broker, database and gateway share the machine.

``rows_per_s`` is with the gateway's own MQTT, ``rows_per_s_default`` with paho, which is what runs unless
``intake.client`` says otherwise; ``counted_rows_per_s`` is with JSON whose counter is looked up in the store, so that
a repeat is stored once. What is asked: 40,000/s on two cores, or 0.2 of ``psql \copy`` (binary) of the very rows into
an empty hypertable with the same columns and index, in transactions of the gateway's size, where that is less.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import yaml

from benchmarks.gateway_process import gateway_process
from benchmarks.ingest_rig import BATCH_ROWS, CEILING_TABLE, in_pieces
from benchmarks.intake_single_load import BURST
from common.schema.runner import migrate
from gateway.adapters.accounts import readable_by_gateways
from gateway.adapters.mapping import MappingFile, load_mappings
from gateway.foreign.enrol import enrol_foreign
from gateway.metrics_catalogue import catalogue
from local.broker import Broker, ClientAccount
from local.postgres import PostgresServer
from local.processes import installed_binaries

ASKED_PER_S = 40_000
ASKED_RATIO = 0.2
AHEAD = 20_000
_REPOSITORY = Path(__file__).parents[1]
_QUIET, _LOUD = "0.42", "1.61"  # metres in the manhole; the rule's threshold is 1.5
_SIZE = "SELECT coalesce(sum(pg_relation_size(c)), 0)::bigint FROM show_chunks('reading') c"


@dataclass(frozen=True)
class Way:
    """A way to measure: the intake's client, and whether messages are counted."""

    client: str
    counted: bool = False


class Rig:
    """Services, devices and, for each way, a gateway and a load."""

    def __init__(self, directory: Path, devices: int) -> None:
        self.directory = directory
        self._stack = ExitStack()
        self.postgres = self._stack.enter_context(PostgresServer(directory / "postgres"))
        self.url = self.postgres.create_database("single")
        migrate(self.url)
        self.broker = Broker(directory / "broker")
        self._mapping = self._write_mapping(devices)
        self._devices = self._add_devices()
        self._stack.enter_context(self.broker)
        self._row_bytes = 0.0

    def close(self) -> None:
        """Leave nothing running."""
        self._stack.close()

    def measure(
        self, way: Way, messages: int, rounds: int
    ) -> tuple[list[float], list[float], dict[str, float]]:
        """Rows a second, the ceilings between the rounds, and processor µs a message of each part."""
        messages -= messages % BURST
        with ExitStack() as stack:
            log = self.directory / f"gateway-{way.client}-{way.counted}"
            topics = readable_by_gateways([self._mapping])
            gateway = stack.enter_context(
                gateway_process(log, self.url, self.broker, self._settings(way), topics)
            )
            time.sleep(1.0)  # until it is subscribed
            load = self._start_load(way)
            stack.callback(_end, load)
            self._round(
                load, max(messages // 3 // BURST * BURST, 2 * BURST * len(self._devices))
            )  # caches, series
            ours, ceilings = [], []
            spent: dict[str, float] = {}
            for _ in range(rounds):
                before = self._processor_s(gateway, load)
                seconds = self._round(load, messages)
                after = self._processor_s(gateway, load)
                for part in after:
                    spent[part] = spent.get(part, 0.0) + after[part] - before[part]
                ours.append(messages / seconds)
                ceilings.append(self._ceiling(messages))
            return ours, ceilings, {part: s / messages / rounds * 1e6 for part, s in spent.items()}

    def _round(self, load: subprocess.Popen[str], messages: int) -> float:
        """Seconds until so many messages were committed; the table is empty before."""
        self._psql("-c", "TRUNCATE reading", "-c", "CHECKPOINT")
        _tell(load, {"ahead_to": AHEAD, "from": 0})
        began = time.monotonic()
        with psycopg.connect(self.url, autocommit=True) as connection:
            while True:
                done = self._done(connection, messages)
                seconds = time.monotonic() - began
                if done >= messages:
                    break
                if seconds > 200:
                    raise TimeoutError(f"{done} of {messages} readings committed after 200 s")
                _tell(load, {"ahead_to": min(done + AHEAD, messages)})
                time.sleep(0.02)
            time.sleep(1.0)
            rows = _count(connection)
            size = _one(connection, _SIZE)
        if rows != messages:
            said = "".join(
                log.read_text(encoding="utf-8")[-1500:] for log in self.directory.rglob("gateway.log")
            )
            raise AssertionError(f"{messages} messages became {rows} readings; {said}")
        self._row_bytes = size / rows
        return seconds

    def _done(self, connection: psycopg.Connection[Any], messages: int) -> int:
        """How many are committed: guessed by the table's size, which costs nothing, and counted towards the end."""
        if self._row_bytes:
            guess = int(_one(connection, _SIZE) / self._row_bytes)
            if guess < messages * 0.95:
                return guess
        return _count(connection)

    def _ceiling(self, rows: int) -> float:
        file = self.directory / "rows.bin"
        self._psql("-c", f"\\copy (SELECT * FROM reading) to '{file}' with (format binary)")
        self._psql(*[part for line in CEILING_TABLE.strip().splitlines() for part in ("-c", line)])
        self._psql("-c", "CHECKPOINT")
        script = in_pieces(file, rows, BATCH_ROWS)
        began = time.monotonic()
        self._psql("-f", str(script))
        return rows / (time.monotonic() - began)

    def _psql(self, *arguments: str) -> None:
        found = installed_binaries().postgres_programs / "psql"
        program = str(found) if found.exists() else shutil.which("psql")
        if program is None:
            raise FileNotFoundError("expected psql beside the database's programs or on the PATH")
        command = [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", *arguments, self.url]
        subprocess.run(command, capture_output=True, text=True, check=True)

    def _write_mapping(self, devices: int) -> MappingFile:
        folder = self.directory / "foreign"
        folder.mkdir()
        value = {"sensor": "gauge", "metric": "water_level", "unit": "m"}
        counter = {"path": "n", "bits": 32}
        mapping = {
            "mapping": "bench",
            "site": "bench",
            "devices": [
                {"name": f"gauge-{number:04d}", "lon": 119.3, "lat": 26.1} for number in range(devices)
            ],
            "topics": [
                {"topic": "bench/{device}/level", "payload": "number", "value": value},
                {
                    "topic": "bench/{device}/counted",
                    "payload": "json",
                    "counter": counter,
                    "values": [value | {"path": "v"}],
                },
            ],
        }
        (folder / "bench.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
        (loaded,) = load_mappings(folder, catalogue())
        return loaded

    def _add_devices(self) -> list[dict[str, str]]:
        accounts = enrol_foreign(self.url, [self._mapping], self.directory / "credentials")
        self.broker.add_clients(
            ClientAccount(one.account.username, one.password, one.account.publish, ()) for one in accounts
        )
        return [{"username": one.account.username, "password": one.password} for one in accounts]

    def _settings(self, way: Way) -> Path:
        settings = yaml.safe_load((_REPOSITORY / "firmware_configs/gateway.yaml").read_text(encoding="utf-8"))
        settings.setdefault("intake", {})["client"] = way.client
        config = self.directory / "gateway.yaml"
        config.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
        return config

    def _start_load(self, way: Way) -> subprocess.Popen[str]:
        kind = "counted" if way.counted else "level"
        devices = [
            one
            | {
                "topic": f"bench/{one['username'].split('/')[1]}/{kind}",
                "bursts": _bursts(number, counted=way.counted),
            }
            for number, one in enumerate(self._devices)
        ]
        spec = {"port": self.broker.port, "ca_file": str(self.broker.ca_file), "devices": devices}
        file = self.directory / "load.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        load = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.intake_single_load", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert load.stdout is not None
        json.loads(load.stdout.readline())
        return load

    def _processor_s(self, gateway: subprocess.Popen[bytes], load: subprocess.Popen[str]) -> dict[str, float]:
        assert self.postgres.pid is not None
        assert self.broker.pid is not None
        parts = {
            "gateway": gateway.pid,
            "load": load.pid,
            "broker": self.broker.pid,
            "database": self.postgres.pid,
        }
        return {name: _processor_s(psutil.Process(pid)) for name, pid in parts.items()}


def _bursts(device: int, *, counted: bool) -> list[list[str]]:
    """Ten bursts of a device: of every ten devices, one has one loud message in them."""
    made = []
    for turn in range(10):
        values = [_QUIET] * BURST
        if turn == device % 100:
            values[device % BURST] = _LOUD
        first = turn * BURST
        made.append(
            [f'{{"n":{first + n},"v":{value}}}' for n, value in enumerate(values)] if counted else values
        )
    return made


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        # Of the database's workers one may end just now; the next reading has it among the ended.
        with suppress(psutil.NoSuchProcess):
            own = child.cpu_times()
            total += own.user + own.system
    return float(total)


def _tell(load: subprocess.Popen[str], message: dict[str, Any]) -> None:
    assert load.stdin is not None
    load.stdin.write(json.dumps(message) + "\n")
    load.stdin.flush()


def _one(connection: psycopg.Connection[Any], question: str) -> int:
    row = connection.execute(question.encode()).fetchone()
    return int(row[0]) if row else 0


def _count(connection: psycopg.Connection[Any]) -> int:
    return _one(connection, "SELECT count(*) FROM reading")


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    process.wait(30)


def _alone(
    devices: int, way: Way, messages: int, rounds: int
) -> tuple[list[float], list[float], dict[str, float]]:
    """One way with services of its own: what a way leaves behind is not the next one's."""
    with tempfile.TemporaryDirectory(prefix="drumtower-single-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        rig = Rig(directory, devices)
        try:
            return rig.measure(way, messages, rounds)
        finally:
            rig.close()


def measure(devices: int, messages: int, rounds: int) -> dict[str, Any]:
    """Run it all; the result as ``benchmarks`` wants it."""
    ways = {
        "rows_per_s": Way("frames"),
        "rows_per_s_default": Way("paho"),
        "counted_rows_per_s": Way("frames", counted=True),
    }
    found = {
        # The slower ways get as many messages as keep them busy for about as long.
        key: _alone(devices, way, messages if key == "rows_per_s" else messages // 3, rounds)
        for key, way in ways.items()
    }
    speed = {key: round(statistics.median(ours)) for key, (ours, _, _) in found.items()}
    ceiling = statistics.median([one for _, ceilings, _ in found.values() for one in ceilings])
    value = max(speed["rows_per_s"], speed["rows_per_s_default"])
    limit = min(ASKED_PER_S, ASKED_RATIO * ceiling)
    return {
        "name": "intake_single",
        "value": value,
        "unit": "rows/s",
        "limit": round(limit),
        "ratio": round(value / limit, 3),
        "detail": {
            **speed,
            "devices": devices,
            "messages_a_round": messages,
            "copy_ceiling_rows_per_s": round(ceiling),
            "ratio_to_copy": round(value / ceiling, 3),
            "rounds": {key: [round(one) for one in ours] for key, (ours, _, _) in found.items()},
            "processor_us_per_message": {
                key: {part: round(us, 1) for part, us in spent.items()}
                for key, (_, _, spent) in found.items()
            },
            "tls": True,
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, as JSON")
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=200_000, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    result = measure(arguments.devices, arguments.messages, arguments.rounds)
    if not arguments.json:
        print(
            f"{result['value']:,} rows/s of {result['limit']:,} asked: {result['ratio']};"
            f" paho {result['detail']['rows_per_s_default']:,}"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
