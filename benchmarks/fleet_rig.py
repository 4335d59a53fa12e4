"""Many simulated boxes on a real broker with a real gateway and store, for ``benchmarks.fleet`` and ``benchmarks.outage``."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from benchmarks.gateway_process import gateway_process
from common.schema.runner import migrate
from edge.sensors.simulated import Kind
from gateway.fleet import repo
from gateway.fleet.sites import DeviceEntry, Site
from local.broker import Broker, ClientAccount
from local.demo.stack import CONFIGS
from local.postgres import PostgresServer

_SITE: Final = "fleet"
_PATIENCE_S: Final = 900.0
_STORE: Final = """
SELECT coalesce(sum(committed), 0)::bigint, coalesce(sum(missing), 0)::bigint, coalesce(sum(duplicates), 0)::bigint,
       (SELECT count(*) FROM reading), (SELECT count(*) FROM observation), (SELECT count(*) FROM reject)
  FROM device_packets
"""


@dataclass(frozen=True, slots=True)
class Habits:
    """What each box does: a packet every so many seconds, of so many readings of each of its sensors.

    ``time_scale``: a storm of an hour passes in a hundred seconds, as in the demo.
    """

    every_s: float
    reads: int
    kinds: tuple[Kind, ...]
    status_every_s: float = 60.0
    time_scale: float = 36.0


class Load:
    """One process of simulated boxes, and what it said last."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.said: dict[str, Any] = {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fleet_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.tell(spec)
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, message: dict[str, Any]) -> None:
        """An order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(15)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said = json.loads(line)


class Fleet:
    """Services, gateway and boxes.

    Args:
        directory: for everything; gone afterwards.
        boxes: how many.
        habits: of each.
        loads: processes that they are shared out to.
        say: told what happens.
    """

    def __init__(
        self, directory: Path, boxes: int, habits: Habits, loads: int, say: Callable[[str], None]
    ) -> None:
        self._stack = ExitStack()
        self.boxes = boxes
        self._say = say
        names = [f"box-{number:05d}" for number in range(boxes)]
        postgres = self._stack.enter_context(PostgresServer(directory / "postgres"))
        self.postgres = postgres
        self.url = postgres.create_database("fleet")
        migrate(self.url)
        devices = tuple(DeviceEntry(name=name, lon=119.3, lat=26.1) for name in names)
        with repo.connect(self.url, "fleet") as connection:
            repo.upsert_devices(connection, [Site(site=_SITE, devices=devices)])
        self.broker = Broker(directory / "broker")
        entries = [{"username": f"{_SITE}/{name}", "password": secrets.token_hex(12)} for name in names]
        self.broker.add_clients(_account(**entry) for entry in entries)
        self._stack.enter_context(self.broker)
        self.empty_broker_kb = _resident_kb(self.broker.pid)
        self.gateway = self._stack.enter_context(
            gateway_process(directory / "gateway", self.url, self.broker, CONFIGS / "gateway.yaml")
        )
        spec = {"port": self.broker.port, "ca_file": str(self.broker.ca_file), **asdict(habits)}
        self.loads = [Load({**spec, "seed": n, "boxes": entries[n::loads]}) for n in range(loads)]
        for load in self.loads:
            self._stack.callback(load.close)

    def close(self) -> None:
        """Leave nothing running."""
        self._stack.close()

    def order(self, what: str) -> None:
        """Tell all boxes."""
        for load in self.loads:
            load.tell({"do": what})

    def total(self, name: str) -> int:
        """A figure of all processes together."""
        return sum(load.said.get(name, 0) for load in self.loads)

    def times(self, name: str) -> list[float]:
        """The instants of all boxes (monotonic seconds), in order."""
        return sorted(at for load in self.loads for at in load.said.get(name, []))

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something.

        Raises:
            TimeoutError: when it does not come about.
            RuntimeError: when a process ended meanwhile.
        """
        deadline, told = time.monotonic() + _PATIENCE_S, 0.0
        while not condition():
            now = time.monotonic()
            if any(load.process.poll() is not None for load in self.loads) or self.gateway.poll() is not None:
                raise RuntimeError(f"a process ended while waiting for {what}")
            if now > deadline:
                raise TimeoutError(f"waited {_PATIENCE_S:.0f} s for {what}: {self.line()}")
            if now - told > 5:
                told = now
                self._say(f"waiting for {what}: {self.line()}")
            time.sleep(0.2)

    def line(self) -> str:
        """How it stands."""
        return (
            f"{self.total('online'):,} online, {self.total('current'):,} current, {self.total('numbered'):,} numbered,"
            f" {self.total('unreceipted'):,} without a receipt"
        )

    def all_current(self) -> bool:
        """Whether every box is in and has its receipts."""
        return self.total("online") == self.total("current") == self.boxes

    def memory(self) -> dict[str, float]:
        """Resident memory now, in MB and in KB a box."""
        broker = _resident_kb(self.broker.pid)
        load = self.total("rss_kb")
        assert self.postgres.pid is not None
        family = [psutil.Process(self.postgres.pid)]
        family += family[0].children(recursive=True)
        database = 0
        for one in family:
            with suppress(psutil.NoSuchProcess):  # a worker of the database that ends just now
                database += one.memory_full_info().pss
        return {
            "broker_mb": round(broker / 1024, 1),
            "broker_kb_a_box": round((broker - self.empty_broker_kb) / self.boxes, 1),
            "gateway_mb": round(_resident_kb(self.gateway.pid) / 1024, 1),
            "simulated_box_kb": round(load / self.boxes, 1),
            "database_mb": round(database / 2**20, 1),
        }

    def store(self) -> dict[str, int]:
        """What the store has."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(_STORE.encode()).fetchone()
        assert row is not None, "an aggregate always gives one row"
        return dict(
            zip(("committed", "missing", "repeated", "readings", "observations", "rejects"), row, strict=True)
        )


def _account(username: str, password: str) -> ClientAccount:
    return ClientAccount(username, password, (f"dt/v1/{username}/up/#",), (f"dt/v1/{username}/down/#",))


def _resident_kb(pid: int | None) -> int:
    assert pid is not None
    return int(psutil.Process(pid).memory_info().rss) // 1024
