"""How soon the receipts of a whole fleet are current after everybody came back at once.

10,000 simulated boxes, each with a credential, an outbox and a TLS connection of its own, on one real broker, with
one real gateway and the real store, in a storm: rules start and end conditions everywhere. When all is quiet the
broker is killed and loses all it held; the boxes go on measuring; then it returns and every box calls within a second.
The value is the time from the broker's return until the last box has a receipt for everything that it had numbered
when it was let in. Afterwards every packet must be committed once.

The boxes decide by ``edge.flow`` what to send and when, as real ones do; their outbox is in memory, and they share two
processes, so what is printed of a box's memory is that of a simulated one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.fleet_rig import Fleet, Habits

LIMIT_S: Final = 120.0
_LOADS: Final = 2


def measure(boxes: int, every_s: float, away_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it all; the result as ``benchmarks`` wants it."""
    with tempfile.TemporaryDirectory(prefix="drumtower-fleet-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        began = time.monotonic()
        fleet = Fleet(directory, boxes, Habits(every_s, 2, ("manhole", "flood", "rain")), _LOADS, say)
        try:
            return _measure(fleet, every_s, away_s, began)
        finally:
            fleet.close()


def _measure(fleet: Fleet, every_s: float, away_s: float, began: float) -> dict[str, Any]:
    called_at = time.monotonic()
    fleet.order("connect")
    fleet.until("everybody to be in", lambda: fleet.total("online") == fleet.boxes)
    first_s = fleet.times("connected_at")[-1] - called_at
    fleet.until("all receipts", fleet.all_current)
    memory_before = fleet.memory()
    fleet.order("stay away")
    fleet.broker.kill(delete_persistence=True)
    fleet.until("everybody to notice", lambda: fleet.total("online") == 0)
    time.sleep(away_s)
    waiting = fleet.total("unreceipted")
    fleet.broker.start()
    back_at = time.monotonic()
    fleet.order("connect")
    fleet.until("everybody to be current again", fleet.all_current)
    connected, current = fleet.times("connected_at"), fleet.times("current_at")
    value = current[-1] - back_at
    memory_after = fleet.memory()
    fleet.order("hush")
    fleet.until("the last receipts", lambda: fleet.total("unreceipted") == 0)
    store = fleet.store()
    assert store["committed"] == fleet.total("numbered"), f"lost or doubled: {store}, {fleet.line()}"
    assert store["missing"] == store["rejects"] == 0, store
    return {
        "name": "fleet",
        "value": round(value, 1),
        "unit": "s",
        "limit": LIMIT_S,
        "ratio": round(value / LIMIT_S, 3),
        "detail": {
            "boxes": fleet.boxes,
            "packet_every_s": every_s,
            "away_s": away_s,
            "waiting_at_return": waiting,
            "first_connection_of_all_s": round(first_s, 1),
            "connected_s_p50": round(connected[len(connected) // 2] - back_at, 1),
            "connected_s_last": round(connected[-1] - back_at, 1),
            "current_s_p50": round(current[len(current) // 2] - back_at, 1),
            "current_s_p99": round(current[int(len(current) * 0.99)] - back_at, 1),
            "memory_before": memory_before,
            "memory_after": memory_after,
            "seconds": round(time.monotonic() - began, 1),
            **store,
        },
    }


def main() -> int:
    """Measure and print; 1 when it took longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, as JSON")
    parser.add_argument("--boxes", type=int, default=10_000)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two packets of a box")
    parser.add_argument("--away", type=float, default=20.0, help="seconds without a broker")
    arguments = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        if not arguments.json:
            print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    result = measure(arguments.boxes, arguments.every, arguments.away, say)
    if not arguments.json:
        memory = result["detail"]["memory_after"]
        print(
            f"all receipts of {arguments.boxes:,} boxes current after {result['value']} s of {LIMIT_S:.0f}; {memory}"
        )
    print(json.dumps(result))
    return int(result["value"] > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
