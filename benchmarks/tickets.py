"""How long the ticket centre takes to answer with years of tickets in it: ``python -m benchmarks.tickets [--json]``.

TimescaleDB makes tickets and observations itself (``tickets_rows``), then a ``drumtower cloud run --role api`` process
is asked over HTTP, one request after another: the list by several filters and by cursors deep in it, the page with the
map, tickets, and the league of each kind of unit. Value: the p99 of the slowest of these, at the largest size.

By default 50,000 tickets with 1,000,000 observations and then twice that, so that the growth is seen;
``--size 1000000:20000000`` is the whole size, some minutes of loading and 9 GB. Each size may be named once more. The
league is asked a few times before it is counted: its first look after a quarter of an hour without one waits until a
month is counted, which at the whole size takes seconds.

What was found at the whole size, by profile and plans: the page with the map was the slowest. Two thirds of its own time
went into escaping 400 markers in the template; it counted what is open five times, once with every clock that any
ticket ever missed; and of a hundred requests one drew the district anew. Now markers are written in one piece each
(``cloud/console/marking.py``), one look at one index counts (migration 0140), and the drawing stays while what it
is made of is the same. No other plan grew with the size.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.tickets_load import DAYS, Loaded, load
from benchmarks.tickets_rig import centre, percentile, prepare
from cloud.db import Database
from cloud.paging import encode_cursor
from common.wire.ids import uuid7
from local.postgres import PostgresServer

LIMIT_MS: Final = 100.0
BOXES: Final = 160
SIZES: Final = ((50_000, 1_000_000), (100_000, 2_000_000))
#: What is asked before counting: connections, prepared statements, caches.
_WARM: Final = 12
Ask = Callable[[random.Random], str]


def asked(ids: list[str], units: dict[str, list[str]]) -> dict[str, Ask]:
    """What is asked, by name: each gives an address for the next request."""
    now = datetime.now(UTC)

    def cursor(dice: random.Random) -> str:
        at = now - timedelta(days=dice.random() * DAYS * 0.95)
        return encode_cursor(at, uuid7(round(at.timestamp() * 1000)))

    def day(dice: random.Random) -> str:
        since = now - timedelta(days=dice.random() * DAYS * 0.95)
        until = since + timedelta(days=1)
        return f"opened_since={since:%Y-%m-%dT%H:%M:%SZ}&opened_until={until:%Y-%m-%dT%H:%M:%SZ}"

    def box(dice: random.Random) -> str:
        west, south = 119.2905 + dice.random() * 0.014, 26.0705 + dice.random() * 0.009
        return f"bbox={west:.5f},{south:.5f},{west + 0.003:.5f},{south + 0.003:.5f}"

    lists: dict[str, Ask] = {
        "newest": lambda _dice: "",
        "open": lambda _dice: "open=true",
        "overdue": lambda _dice: "open=true&overdue=true",
        "state": lambda dice: f"state={dice.choice(('verifying', 'acknowledged', 'open', 'void'))}",
        "category": lambda dice: f"category={dice.choice(('smoke.alarm', 'manhole.open', 'street.stall'))}",
        "category_open": lambda _dice: "category=building.tilt&open=true",
        "nothing": lambda _dice: "category=gas.smell",
        "unassigned": lambda _dice: "unassigned=true",
        "critical": lambda _dice: "min_severity=4&open=true",
        "street": lambda dice: f"unit_code={dice.choice(units['street'])}",
        "community_open": lambda dice: f"unit_code={dice.choice(units['community'])}&open=true",
        "department": lambda dice: f"unit_code={dice.choice(units['department'])}",
        "grid": lambda dice: f"grid_code={dice.choice(units['grid'])}",
        "day": day,
        "bbox_open": lambda dice: f"{box(dice)}&open=true",
        "bbox": box,
        "page": lambda dice: f"cursor={cursor(dice)}",
        "page_category": lambda dice: f"category=air.quality_poor&cursor={cursor(dice)}",
        "page_street": lambda dice: f"unit_code={dice.choice(units['street'])}&cursor={cursor(dice)}",
    }
    found = {f"list.{name}": _list(query) for name, query in lists.items()}
    found["map"] = lambda _dice: "/map"
    found["detail"] = lambda dice: f"/api/tickets/{dice.choice(ids)}"
    for among in ("street", "community", "grid", "department"):
        found[f"league.{among}"] = lambda _dice, among=among: f"/api/assessment/league?among={among}"  # type: ignore[misc]
    return found


def _list(query: Ask) -> Ask:
    return lambda dice: f"/api/tickets?{query(dice)}"


def times(client: httpx.Client, ask: Ask, requests: int, seed: int) -> list[float]:
    """How long each request took, in ms.

    Raises:
        RuntimeError: an answer is not 200.
    """
    dice, found = random.Random(seed), []
    for number in range(_WARM + requests):
        address = ask(dice)
        began = time.monotonic()
        answer = client.get(address)
        took = (time.monotonic() - began) * 1000
        if answer.status_code != httpx.codes.OK:
            raise RuntimeError(f"expected 200 from {address}, got {answer.status_code}: {answer.text[:300]}")
        if number >= _WARM:
            found.append(took)
    return found


def ask_all(url: str, directory: Path, requests: int) -> dict[str, list[float]]:
    """The times of everything that is asked, by its name."""
    with Database(url, size=2) as database, database.transaction() as transaction:
        ids = [
            str(row["ticket_id"])
            for row in transaction.rows("SELECT ticket_id FROM ticket TABLESAMPLE SYSTEM (1) LIMIT 2000")
        ]
        units: dict[str, list[str]] = {}
        for row in transaction.rows("SELECT kind, unit_code FROM unit ORDER BY unit_code"):
            units.setdefault(row["kind"], []).append(row["unit_code"])
    with (
        centre(url, directory) as running,
        httpx.Client(base_url=running.address, cookies=running.cookies, timeout=120) as client,
    ):
        return {name: times(client, ask, requests, seed=9) for name, ask in asked(ids, units).items()}


def measure(sizes: list[tuple[int, int]], requests: int) -> dict[str, Any]:
    """Load and ask at each size; the result as ``benchmarks`` wants it."""
    by_size = []
    with tempfile.TemporaryDirectory(prefix="drumtower-tickets-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with PostgresServer(directory / "postgres") as server:
            for number, (tickets, observations) in enumerate(sizes):
                url = server.create_database(f"bench_{number}")
                prepare(url, BOXES)
                loaded = load(url, tickets, observations)
                by_size.append(_row(loaded, ask_all(url, directory, requests)))
                server.drop_database(f"bench_{number}")
    largest = by_size[-1]
    value = max(largest["p99_ms"].values())
    return {
        "name": "tickets",
        "value": value,
        "unit": "ms",
        "limit": LIMIT_MS,
        "ratio": round(value / LIMIT_MS, 3),
        "detail": {
            "slowest": max(largest["p99_ms"], key=lambda name: largest["p99_ms"][name]),
            "requests_each": requests,
            "sizes": [{key: value for key, value in one.items() if key != "p99_ms"} for one in by_size],
            # The growth with size, by the number of tickets.
            "p99_ms": {str(one["tickets"]): one["p99_ms"] for one in by_size},
        },
    }


def _row(loaded: Loaded, took: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "tickets": loaded.tickets,
        "observations": loaded.observations,
        "load_s": loaded.seconds,
        "megabytes": loaded.bytes // 2**20,
        "p50_ms": {name: round(percentile(ms, 0.5), 1) for name, ms in took.items()},
        "p99_ms": {name: round(percentile(ms, 0.99), 1) for name, ms in took.items()},
    }


def _size(text: str) -> tuple[int, int]:
    tickets, _, observations = text.partition(":")
    return int(tickets), int(observations or int(tickets) * 20)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, as JSON")
    parser.add_argument(
        "--size", type=_size, action="append", help="TICKETS:OBSERVATIONS; again for another one"
    )
    parser.add_argument("--requests", type=int, default=100, help="of each kind")
    arguments = parser.parse_args()
    result = measure(arguments.size or list(SIZES), arguments.requests)
    if not arguments.json:
        for size in result["detail"]["sizes"]:
            print(
                f"{size['tickets']:,} tickets, {size['observations']:,} observations, {size['megabytes']:,} MB,"
                f" loaded in {size['load_s']:.0f} s:"
            )
            for name, ms in result["detail"]["p99_ms"][str(size["tickets"])].items():
                print(f"  {name:24} p50 {size['p50_ms'][name]:8.1f}  p99 {ms:8.1f} ms")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
