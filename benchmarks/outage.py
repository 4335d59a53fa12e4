"""How much memory the gateway takes while the database is away for ten minutes and 5,000 readings a second come in.

100 simulated boxes (those of ``benchmarks.fleet``) send a packet of 50 readings a second each over the real broker;
the real gateway commits them to the real store, whose server is then killed. The gateway takes in what it may hold
without an acknowledgement and leaves the rest with the broker. The value is the most that the gateway had resident
from the kill until the last receipt. Afterwards every packet must be committed once.

The figure says nothing where less came in than was asked, so that is a fault too. The tests run it with a short outage.
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

import psutil

from benchmarks.fleet_rig import Fleet, Habits

LIMIT_MB: Final = 250.0
#: What has to come in meanwhile, or the figure says nothing.
LEAST_READINGS_PER_S: Final = 4900.0
#: From how long an outage on that is judged. The boxes tell once a second how far they are, so what is known of them is
#: late by a second or two: more than may be missing of a shorter one.
PACED_FROM_S: Final = 100.0
_BOXES: Final = 100
#: Ten metrics, each read five times for a packet.
_HABITS: Final = Habits(1.0, 5, ("smoke", "manhole", "flood", "rain", "button"))
_READINGS_A_PACKET: Final = 50
_STEADY_S: Final = 15.0


class Peaks:
    """The most that gateway and broker had resident, in MB."""

    def __init__(self, fleet: Fleet) -> None:
        assert fleet.broker.pid is not None
        self._gateway, self._broker = psutil.Process(fleet.gateway.pid), psutil.Process(fleet.broker.pid)
        self.gateway_mb = self.broker_mb = 0.0

    def look(self) -> None:
        """Look now."""
        self.gateway_mb = max(self.gateway_mb, self._gateway.memory_info().rss / 2**20)
        self.broker_mb = max(self.broker_mb, self._broker.memory_info().rss / 2**20)


def measure(seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it all; the result as ``benchmarks`` wants it."""
    with tempfile.TemporaryDirectory(prefix="drumtower-outage-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        fleet = Fleet(directory, _BOXES, _HABITS, 1, say)
        try:
            return _measure(fleet, seconds, say)
        finally:
            fleet.close()


def _measure(fleet: Fleet, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    fleet.order("connect")
    fleet.until("all receipts", fleet.all_current)
    time.sleep(_STEADY_S)
    before_mb = fleet.memory()["gateway_mb"]
    numbered = fleet.total("numbered")
    peaks = Peaks(fleet)
    fleet.postgres.kill()
    began, told = time.monotonic(), 0.0
    while (away := time.monotonic() - began) < seconds:
        peaks.look()
        if away - told >= 10:
            told = away
            say(f"the store is away for {away:.0f} s; gateway {peaks.gateway_mb:.0f} MB; {fleet.line()}")
        time.sleep(0.25)
    rate = (fleet.total("numbered") - numbered) * _READINGS_A_PACKET / away
    held_at_return, online_at_return = fleet.total("unreceipted"), fleet.total("online")
    fleet.postgres.start()
    back_at = time.monotonic()

    def caught_up() -> bool:
        peaks.look()
        # What is on its way to a receipt at any time: those come every ten seconds.
        return fleet.total("unreceipted") < _BOXES * 15

    def all_receipted() -> bool:
        peaks.look()
        return fleet.total("unreceipted") == 0

    fleet.until("the gateway to catch up", caught_up)
    caught_up_s = time.monotonic() - back_at
    fleet.order("hush")
    fleet.until("the last receipts", all_receipted)
    store = fleet.store()
    assert store["committed"] == fleet.total("numbered"), f"lost or doubled: {store}, {fleet.line()}"
    assert store["readings"] == store["committed"] * _READINGS_A_PACKET, store
    assert store["missing"] == store["rejects"] == 0, store
    return {
        "name": "outage",
        "value": round(peaks.gateway_mb, 1),
        "unit": "MB",
        "limit": LIMIT_MB,
        "ratio": round(peaks.gateway_mb / LIMIT_MB, 3),
        "detail": {
            "boxes": _BOXES,
            "boxes_online_at_return": online_at_return,
            "outage_s": round(away, 1),
            "readings_per_s": round(rate, 1),
            "least_readings_per_s": LEAST_READINGS_PER_S,
            "gateway_mb_before": before_mb,
            "broker_peak_mb": round(peaks.broker_mb, 1),
            "packets_held_by_boxes_at_return": held_at_return,
            "caught_up_s": round(caught_up_s, 1),
            **store,
        },
    }


def missed(result: dict[str, Any]) -> list[str]:
    """What falls short of what is asked."""
    detail, short = result["detail"], list[str]()
    if result["value"] > LIMIT_MB:
        short.append(f"the gateway had {result['value']} MB, at most {LIMIT_MB:.0f} are allowed")
    if detail["outage_s"] >= PACED_FROM_S and detail["readings_per_s"] < LEAST_READINGS_PER_S:
        short.append(
            f"expected {LEAST_READINGS_PER_S:.0f} readings/s during the outage, found {detail['readings_per_s']:.1f}"
        )
    if detail["boxes_online_at_return"] < detail["boxes"]:
        short.append(
            f"expected all {detail['boxes']} boxes to be sending when the store returned,"
            f" found {detail['boxes_online_at_return']}"
        )
    return short


def main() -> int:
    """Measure and print; 1 when anything asked is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, as JSON")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long the store is away")
    arguments = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        if not arguments.json:
            print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    result = measure(arguments.seconds, say)
    short = missed(result)
    result["detail"]["missed"] = short
    if not arguments.json:
        print(f"the gateway took {result['value']} MB of at most {LIMIT_MB:.0f}; {result['detail']}")
        print("missed: " + ("; ".join(short) or "nothing"))
    print(json.dumps(result))
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
