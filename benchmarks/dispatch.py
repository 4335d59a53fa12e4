"""From an observation in the inbox to a dispatched ticket: ``python -m benchmarks.dispatch [--json]``.

Two ``drumtower cloud run --role worker`` processes on TimescaleDB that syncs to disk. Observations are written into
``observation_inbox`` as the gateway writes them (row and NOTIFY in one transaction), at random instants, 50 a second
(a Poisson process), each of a matter of its own, so each is a ticket. The time runs from just before that transaction
begins until a second connection, woken by NOTIFY, reads the committed ``ticket.opened`` in state ``dispatched``.
Whatever becomes no dispatched ticket fails the run.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from benchmarks.tickets_rig import percentile, place_of, prepare, workers
from cloud.db import Database
from cloud.incidents.domain import DEFAULT_RULES
from cloud.summary.service import summarise
from local.postgres import PostgresServer

LIMIT_MS: Final = 250.0
WORKERS: Final = 2
#: How long a machine that is too slow may take to catch up; its figure then says so.
_PATIENCE_S: Final = 120.0
BOXES: Final = 160
#: Conditions of cameras and sensors; at one place each of them is a matter of its own, and none of one family.
CATEGORIES: Final = (
    "camera.zone_occupied",
    "camera.fire",
    "camera.fire_lane_blocked",
    "camera.rubbish_overflow",
    "camera.zone_crowded",
    "smoke.alarm",
    "manhole.open",
    "manhole.water_high",
    "flood.water_level",
    "button.emergency",
    "air.quality_poor",
    "building.tilt",
)
Key = tuple[str, int, int]

# As the gateway's batch does it, but for the archive beside: see gateway/repo.py.
_PUT = """
WITH handed AS (
    INSERT INTO observation_inbox (device_id, observation_id, phase, revision, category, source, sensor, severity,
        started_at, at, count, unit, evidence, detail, received_at)
    VALUES (%(device_id)s, %(observation_id)s, 'start', 0, %(category)s, 'bench', 'eye-1', 3, clock_timestamp(),
        clock_timestamp(), 1, '', '[]', '{}', clock_timestamp())
)
SELECT pg_notify('observation_inbox', '')
"""
_OPENED = """
SELECT event_id, payload ->> 'category' AS category, (payload ->> 'lon')::float8 AS lon,
       (payload ->> 'lat')::float8 AS lat, payload ->> 'state' AS state
FROM stream_event WHERE event_id > %(after)s AND kind = 'ticket.opened' ORDER BY event_id
"""


@dataclass
class Seen(threading.Thread):
    """Reads committed tickets as soon as NOTIFY tells of them."""

    url: str
    at: dict[Key, float] = field(default_factory=dict)
    dispatched: int = 0

    def __post_init__(self) -> None:
        super().__init__(name="seen", daemon=True)
        self.ready = threading.Event()
        self._ended = threading.Event()

    def __hash__(self) -> int:
        """As a thread is told from others."""
        return id(self)

    def run(self) -> None:
        """Look until ended."""
        after = 0
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as connection:
            connection.execute("LISTEN stream_event")
            self.ready.set()
            while not self._ended.is_set():
                for row in connection.execute(_OPENED, {"after": after}).fetchall():
                    after = row["event_id"]
                    self.at[key_of(row["category"], row["lon"], row["lat"])] = time.monotonic()
                    self.dispatched += row["state"] == "dispatched"
                for _ in connection.notifies(timeout=0.2, stop_after=1):
                    pass

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()


def key_of(category: str, lon: float, lat: float) -> Key:
    """Category and place in millionths of a degree."""
    return category, round(lon * 1e6), round(lat * 1e6)


def put_all(
    url: str, devices: dict[str, int], matters: list[tuple[int, str]], rate: float, seed: int
) -> dict[Key, float]:
    """Write an observation of each matter at random instants; when each was begun to be written."""
    dice, sent = random.Random(seed), dict[Key, float]()
    with psycopg.connect(url, autocommit=True) as connection:
        next_at = time.monotonic()
        for box, category in matters:
            next_at += dice.expovariate(rate)
            time.sleep(max(next_at - time.monotonic(), 0))
            values = {
                "device_id": devices[f"box-{box:03d}"],
                "observation_id": uuid.uuid4(),
                "category": category,
            }
            sent[key_of(category, *place_of(box))] = time.monotonic()
            connection.execute(_PUT, values)
    return sent


def measure(rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Run it all; the result as ``benchmarks`` wants it."""
    matters = [(box, category) for box in range(BOXES) for category in CATEGORIES]
    random.Random(seed).shuffle(matters)
    warm = round(rate * 4)
    matters = matters[: warm + round(rate * seconds)]
    with tempfile.TemporaryDirectory(prefix="drumtower-dispatch-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with PostgresServer(directory / "postgres") as server:
            url = server.create_database("bench")
            devices = prepare(url, BOXES)
            seen = Seen(url)
            with workers(url, directory, WORKERS):
                seen.start()
                seen.ready.wait(30)
                began = time.monotonic()
                sent = put_all(url, devices, matters, rate, seed)
                wrote_s = time.monotonic() - began
                deadline = time.monotonic() + _PATIENCE_S
                while len(seen.at) < len(matters) and time.monotonic() < deadline:
                    time.sleep(0.05)
            seen.end()
            with Database(url, size=2) as database:
                summary = summarise(database, DEFAULT_RULES)
    missing = [key for key in sent if key not in seen.at]
    if missing or seen.dispatched != len(matters) or not summary.sound:
        raise RuntimeError(
            f"{len(missing)} of {len(sent)} observations became no ticket, {seen.dispatched} were dispatched: {summary}"
        )
    counted = [(seen.at[key] - at) * 1000 for key, at in list(sent.items())[warm:]]
    value = percentile(counted, 0.99)
    return {
        "name": "dispatch",
        "value": round(value, 1),
        "unit": "ms",
        "limit": LIMIT_MS,
        "ratio": round(value / LIMIT_MS, 3),
        "detail": {
            "tickets": len(counted),
            "before_counting": warm,
            "asked_per_s": rate,
            "written_per_s": round(len(matters) / wrote_s, 1),
            "workers": WORKERS,
            "dispatched": seen.dispatched,
            "p50_ms": round(percentile(counted, 0.5), 1),
            "p95_ms": round(percentile(counted, 0.95), 1),
            "max_ms": round(max(counted), 1),
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, as JSON")
    parser.add_argument("--rate", type=float, default=50.0, help="observations a second")
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    result = measure(arguments.rate, arguments.seconds, arguments.seed)
    if not arguments.json:
        detail = result["detail"]
        print(
            f"p50 {detail['p50_ms']} ms, p99 {result['value']} ms of {LIMIT_MS:.0f} at {detail['written_per_s']}/s"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
