"""The ticket centre as processes on a database of its own, for whoever measures it."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from cloud.auth.service import AuthService
from cloud.db import Database
from cloud.district.service import load_district
from cloud.incidents.repo import sync_categories
from common.runtime.clock import SystemClock
from common.schema.runner import migrate
from gateway.fleet import repo
from gateway.fleet.sites import DeviceEntry, Site
from local.demo.part import Part
from local.paths import REPOSITORY
from local.ports import free_port

SITE = "bench"
_START_S = 90.0
_COOKIE = "drumtower_session"
# Over the demo's district, 90 m and more apart, so that no two boxes share a place.
_WEST, _SOUTH, _STEP, _COLUMNS = 119.2905, 26.0705, 0.0012, 16


@dataclass(frozen=True, slots=True)
class Centre:
    """A running web interface and somebody who is signed in to it."""

    address: str
    cookies: dict[str, str]
    part: Part


def place_of(box: int) -> tuple[float, float]:
    """Longitude and latitude (WGS-84 degrees) of a box."""
    row, column = divmod(box, _COLUMNS)
    return round(_WEST + column * _STEP, 6), round(_SOUTH + row * _STEP, 6)


def prepare(url: str, boxes: int) -> dict[str, int]:
    """The schema, the demo's district and so many boxes over it; the boxes' numbers by name."""
    migrate(url)
    places = [(f"box-{n:03d}", place_of(n)) for n in range(boxes)]
    devices = [DeviceEntry(name=name, lon=lon, lat=lat) for name, (lon, lat) in places]
    with repo.connect(url, "benchmark") as connection:
        repo.seed_categories(connection)
        # Nobody is to be found silent while this lasts: those would be tickets of their own.
        repo.upsert_devices(connection, [Site(site=SITE, silent_after_s=86_400, devices=tuple(devices))])
    with Database(url, size=2) as database:
        load_district(database, REPOSITORY / "firmware_configs" / "districts" / "demo.yaml")
        with database.transaction() as transaction:
            sync_categories(transaction)
            rows = transaction.rows("SELECT name, device_id FROM device WHERE site = %(site)s", site=SITE)
    return {row["name"]: row["device_id"] for row in rows}


@contextmanager
def centre(url: str, directory: Path, role: str = "api") -> Iterator[Centre]:
    """A ``drumtower cloud run`` that serves, and a session of a dispatcher of the whole district."""
    port = free_port()
    part = Part(
        "centre",
        directory / "centre.log",
        ["cloud", "run", "--role", role, "--port", str(port)],
        _environment(url),
    )
    address = f"http://127.0.0.1:{port}"
    part.start()
    try:
        _await_answer(part, address)
        with Database(url, size=2) as database:
            auth, password = AuthService(database, SystemClock()), secrets.token_urlsafe(12)
            name = f"bench-{secrets.token_hex(4)}"
            auth.add_account(name, password, "dispatcher", "centre")
            token = auth.sign_in(name, password, "127.0.0.1").token
        yield Centre(address, {_COOKIE: token}, part)
    finally:
        part.stop()


@contextmanager
def workers(url: str, directory: Path, number: int) -> Iterator[Sequence[Part]]:
    """So many ``drumtower cloud run --role worker`` processes, all of which have begun."""
    with ExitStack() as stack:
        parts = []
        for one in range(number):
            log = directory / f"worker-{one}.log"
            part = Part(f"worker {one}", log, ["cloud", "run", "--role", "worker"], _environment(url))
            part.start()
            stack.callback(part.stop)
            parts.append(part)
        deadline = time.monotonic() + _START_S
        while not all("the ticket centre works" in _said(part) for part in parts):
            for part in parts:
                if fault := part.fault():
                    raise RuntimeError(f"the {part.name} ended: {fault}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"expected {number} workers within {_START_S:.0f} s")
            time.sleep(0.1)
        yield parts


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that at least that share of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


def _environment(url: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "DRUMTOWER_DATABASE_URL": url}


def _said(part: Part) -> str:
    return part.log.read_text(encoding="utf-8") if part.log.is_file() else ""


def _await_answer(part: Part, address: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if fault := part.fault():
            raise RuntimeError(f"the ticket centre ended: {fault}")
        try:
            if httpx.get(f"{address}/healthz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"the ticket centre did not answer within {_START_S:.0f} s")
