"""From the commit of a change to 500 browsers: ``python -m benchmarks.sse [--json]``.

A ``drumtower cloud run --role api`` process and 500 streams of server-sent events, held open over HTTP by one other
process. Tickets change meanwhile at an even rate, each in a transaction of its own on TimescaleDB that syncs to disk.
The time runs from the instant that the event carries (``stream_event.at``, just before its commit, so the wait for the
disk counts as well) to its receipt by each browser, by the one clock of this machine. Value: the p99 of the browser
whose p99 is the worst. An event that a browser did not get, or got twice or out of order, fails the run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry

from benchmarks.tickets_rig import Centre, centre, percentile, prepare
from cloud.auth.domain import Account
from cloud.db import Database
from cloud.incidents.domain import DEFAULT_RULES
from cloud.tickets.domain import Action
from cloud.tickets.service import TicketService
from cloud.worker import Worker, WorkerMetrics
from common.runtime.clock import SystemClock
from local.paths import REPOSITORY
from local.postgres import PostgresServer

LIMIT_MS: Final = 500.0
TICKETS: Final = 40
_OPENING = """
INSERT INTO observation_inbox (device_id, observation_id, phase, revision, category, source, sensor, severity,
    started_at, at, count, received_at)
SELECT device_id, gen_random_uuid(), 'start', 0, 'flood.water_level', 'bench', 'eye-1', 3, now(), now(), 1, now()
FROM device
"""


class Browsers:
    """The process that holds the streams."""

    def __init__(self, running: Centre, number: int, directory: Path) -> None:
        self._noted = directory / "noted.json"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sse_clients", running.address, str(number), str(self._noted)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        ((name, token),) = running.cookies.items()
        self._say(f"{name}={token}")
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "open":
            raise RuntimeError(
                f"expected {number} open streams, the browsers ended with {self._process.wait()}"
            )

    def end(self) -> dict[str, list[tuple[int, float]]]:
        """What each noted."""
        self._say("")
        if self._process.wait(60):
            raise RuntimeError(f"the browsers ended with {self._process.returncode}")
        noted: dict[str, list[tuple[int, float]]] = json.loads(self._noted.read_text(encoding="utf-8"))
        return noted

    def kill(self) -> None:
        """Leave nothing running."""
        self._process.kill()
        self._process.wait()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


def change_tickets(database: Database, ids: list[uuid.UUID], rate: float, seconds: float) -> float:
    """Note something on one ticket after another at an even rate; changes a second."""
    tickets = TicketService(database, SystemClock())
    with database.transaction() as transaction:
        units = frozenset(row["unit_code"] for row in transaction.rows("SELECT unit_code FROM unit"))
    somebody = Account(uuid.uuid4(), "bench", "dispatcher", "centre", "", units)
    began, wanted = time.monotonic(), round(rate * seconds)
    for number in range(wanted):
        time.sleep(max(began + number / rate - time.monotonic(), 0))
        tickets.act(ids[number % len(ids)], Action.NOTE, somebody, note=f"round {number}")
    return wanted / (time.monotonic() - began)


def open_tickets(database: Database) -> list[uuid.UUID]:
    """Have some tickets; their ids."""
    with database.transaction() as transaction:
        transaction.run(_OPENING)
    Worker(database, DEFAULT_RULES, SystemClock(), WorkerMetrics(CollectorRegistry())).drain()
    with database.transaction() as transaction:
        return [row["ticket_id"] for row in transaction.rows("SELECT ticket_id FROM ticket")]


def measure(clients: int, rate: float, seconds: float) -> dict[str, Any]:
    """Run it all; the result as ``benchmarks`` wants it."""
    with tempfile.TemporaryDirectory(prefix="drumtower-sse-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with PostgresServer(directory / "postgres") as server:
            url = server.create_database("bench")
            prepare(url, TICKETS)
            with Database(url, size=4) as database, centre(url, directory) as running:
                ids = open_tickets(database)
                browsers = Browsers(running, clients, directory)
                try:
                    with database.transaction() as transaction:
                        before = transaction.one("SELECT max(event_id) AS it FROM stream_event")["it"]
                    changed = change_tickets(database, ids, rate, seconds)
                    time.sleep(2)
                    noted = browsers.end()
                finally:
                    browsers.kill()
                with database.transaction() as transaction:
                    told = transaction.rows(
                        "SELECT event_id, extract(epoch FROM at)::float8 AS at FROM stream_event"
                        " WHERE event_id > %(before)s ORDER BY event_id",
                        before=before,
                    )
    return _result({row["event_id"]: row["at"] for row in told}, noted, rate, changed)


def _result(
    told: dict[int, float], noted: dict[str, list[tuple[int, float]]], rate: float, changed: float
) -> dict[str, Any]:
    wrong = [number for number, lines in noted.items() if [event_id for event_id, _ in lines] != list(told)]
    if wrong:
        raise RuntimeError(
            f"{len(wrong)} of {len(noted)} browsers did not get each of {len(told)} events once, in order"
        )
    by_client = [[(at - told[event_id]) * 1000 for event_id, at in lines] for lines in noted.values()]
    everything = [ms for one in by_client for ms in one]
    value = max(percentile(one, 0.99) for one in by_client)
    return {
        "name": "sse",
        "value": round(value, 1),
        "unit": "ms",
        "limit": LIMIT_MS,
        "ratio": round(value / LIMIT_MS, 3),
        "detail": {
            "clients": len(noted),
            "events": len(told),
            "asked_per_s": rate,
            "changes_per_s": round(changed, 2),
            "receipts_per_s": round(changed * len(noted)),
            "p50_ms": round(percentile(everything, 0.5), 1),
            "p95_ms": round(percentile(everything, 0.95), 1),
            "p99_ms": round(percentile(everything, 0.99), 1),
            "max_ms": round(max(everything), 1),
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, as JSON")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rate", type=float, default=4.0, help="changes a second")
    parser.add_argument("--seconds", type=float, default=45.0)
    arguments = parser.parse_args()
    result = measure(arguments.clients, arguments.rate, arguments.seconds)
    if not arguments.json:
        detail = result["detail"]
        print(
            f"{detail['clients']} browsers, {detail['changes_per_s']} changes/s: p50 {detail['p50_ms']} ms,"
            f" the worst browser's p99 {result['value']} ms of {LIMIT_MS:.0f}"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
