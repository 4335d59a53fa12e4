r"""How fast packets become committed rows, against the fastest that PostgreSQL itself takes the same rows.

100 boxes, each with its own TLS connection to the real broker and its own credential; 50 readings a packet, ten
series, each under a rule, one packet in 200 with a reading beyond its threshold; a real ``drumtower gateway run``
process with deduplication, rules, rollups and receipts on. The load is one process that encodes beforehand and sends
no further than 200 packets ahead of each box's receipts. The ceiling is ``psql \copy`` (binary) of the very rows that
a round brought, into an empty hypertable with the same columns and index, committed in transactions as large as the
gateway's largest; the same in one single transaction is printed beside it. Rounds and ceilings take turns and the
medians are compared. A round is over before its rollups are due; ``sustained`` is of six times the length, with rollups,
checkpoints and all.

Latency is from a packet's sending to the first look (every 10 ms) that finds it committed, at half of the sustained rate
and with packets sent as in the rounds, up to eight of a box in a row. What half is changes with the machine's speed, which
on shared processors is another a minute later. So long rounds and *minutes* take turns too, a long round on either side
of each minute: each is at half of the round before it, ``of_maximum`` says what share of both beside it that was, and
the median of the minutes counts. Beside them, for twenty seconds each: ``singly``, with each packet alone, which costs
load, broker and gateway twice as much a packet; and ``at_half_of_rounds``, at half of what short rounds reach.

``value`` is the intake that speaks MQTT itself (``intake.client: frames``); paho, the default, is in ``detail``, as
are 1,000 and 10,000 boxes (one round each), the rules' share of the gateway's processor time, and one gateway against two
that have a partition each; ``seconds`` is what each part took. docs/adr/0012 says what was found on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.disk_pace import DiskPace, calm_disk
from benchmarks.ingest_hold import Held
from benchmarks.ingest_judge import (
    MINUTES,
    asked,
    counting,
    is_undisturbed,
    median_of_counted,
    missed,
    stolen_of,
    told,
)
from benchmarks.ingest_load import BURST, READINGS_A_PACKET
from benchmarks.ingest_rig import BATCH_ROWS, Rig, Round, latencies
from benchmarks.stolen import Stolen

_PACED_SECONDS = 60
_MINUTES_AT_MOST = 6
_BESIDE_SECONDS = 20
_SUSTAINED_ROUNDS = 6
#: How long the disk may take to be done with the tables thrown away before; see ``benchmarks.disk_pace``.
_CALM_WITHIN_S = 120.0
#: How long the rollups of a long round may take.
_SETTLED_WITHIN_S = 120.0
#: Of the time that each gateway may run where what a second one adds is to be seen beside everything else.
_HELD_SHARE = 0.2


@contextmanager
def rig_of(boxes: int, sites: Sequence[str] = ("bench",)) -> Iterator[Rig]:
    """A rig in a directory of its own, with nothing running afterwards."""
    with tempfile.TemporaryDirectory(prefix="drumtower-ingest-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        rig = Rig(directory, boxes, sites)
        try:
            yield rig
        finally:
            rig.close()


_BEGAN = time.monotonic()


def _say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {text}", file=sys.stderr, flush=True)


class Measurement:
    """Rounds of one rig and their ceilings."""

    def __init__(self, rig: Rig, packets: int) -> None:
        self.rig = rig
        self.boxes = len(rig.accounts)
        self.each = max(packets // self.boxes, 2)
        self.packets = self.each * self.boxes
        self.seq = 0
        self.ceilings: list[float] = []
        self.whole: list[float] = []
        #: The share of the last long round that the host took.
        self.stolen = 0.0

    def warm_up(self) -> None:
        """Caches, series, prepared statements."""
        self._round(max(self.each // 10, 2))
        self.rig.empty()

    def rounds(self, count: int, *, with_ceiling: bool = False, whole: bool = False) -> list[Round]:
        """So many rounds, each counted; with the ceilings of their rows between them, ``whole`` in one transaction too."""
        measured = []
        rows = self.packets * READINGS_A_PACKET
        for _ in range(count):
            measured.append(self._round(self.each))
            if with_ceiling:
                found = self.rig.export()
                self.ceilings.append(self.rig.ceiling(rows, BATCH_ROWS))
                if whole:
                    self.whole.append(self.rig.ceiling(rows, rows))
            else:
                found = self.rig.rows()
                self.rig.empty()
            _say(f"{self.boxes} boxes: {rows:,} rows in {measured[-1].seconds:.1f} s")
            if found != rows:
                raise AssertionError(f"expected {rows} rows, found {found}: lost or doubled")
        return measured

    def sustained(self) -> float:
        """Rows a second of one long round, whose rows stay."""
        each = self.each * _SUSTAINED_ROUNDS
        rows = each * self.boxes * READINGS_A_PACKET
        self.rig.empty(checkpoint=False)
        with Stolen() as stolen:
            measured = self._round(each)
        self.stolen = stolen.share
        _say(f"{self.boxes} boxes: {rows:,} rows in {measured.seconds:.1f} s")
        if (found := self.rig.rows()) != rows:
            raise AssertionError(f"expected {rows} rows, found {found}: lost or doubled")
        return rows / measured.seconds

    def ceiling_of_all(self) -> float:
        """Rows a second of the ceiling, with the rows that are there."""
        return self.rig.ceiling(self.rig.export(), BATCH_ROWS)

    def delays(self, rate: float, at_once: int, seconds: float) -> dict[str, float]:
        """Publish to commit of every packet at a rate, ``at_once`` of a box in a row, in ms.

        It begins when what came before it is rolled up and the disk is calm: what is measured is this rate alone. Beside
        it, what the disk took meanwhile for a flush of a file that has nothing to do with it.
        """
        first = self.seq + 1
        count = max(int(rate * seconds) // self.boxes, 10)
        _say(f"rolled up after {self.rig.settle(_SETTLED_WITHIN_S):.0f} s")
        self.rig.empty(checkpoint=False)
        os.sync()
        waited = calm_disk(self.rig.directory, _CALM_WITHIN_S)
        _say(f"the disk was calm after {waited:.0f} s")
        _say(f"{self.boxes} boxes: publish to commit at {rate:,.0f} packets/s, {at_once} at once")
        with DiskPace(self.rig.directory) as disk, Stolen() as stolen:
            paced = self.rig.round(count, rate, at_once)
        self.seq += count
        found, flushes = latencies(paced, first), sorted(disk.flushes_ms)
        return {
            "packets_per_s": round(rate),
            "p50": _percentile(found, 0.5),
            "p99": _percentile(found, 0.99),
            "max": round(found[-1], 1),
            "disk_flush_p99": _percentile(flushes, 0.99),
            "disk_flush_max": round(flushes[-1], 1),
            "stolen": round(stolen.share, 4),
            "cpu_us_per_packet": round(sum(paced.processor_s.values()) / (count * self.boxes) * 1e6),
        }

    def rows_per_s(self, measured: Sequence[Round]) -> list[float]:
        """Of each round."""
        return [self.packets * READINGS_A_PACKET / one.seconds for one in measured]

    def cpu_us(self, measured: Sequence[Round]) -> dict[str, int]:
        """Processor time a packet, of each part."""
        spent = {name: sum(one.processor_s[name] for one in measured) for name in measured[0].processor_s}
        return {name: round(total / (len(measured) * self.packets) * 1e6) for name, total in spent.items()}

    def _round(self, count: int) -> Round:
        self.seq += count
        return self.rig.round(count)


def measure_main(boxes: int, packets: int, rounds: int) -> dict[str, Any]:
    """The headline: both intakes with 100 boxes, the ceilings, latency at half of the maximum, the rules' share."""
    with rig_of(boxes) as rig:
        measurement = Measurement(rig, packets)
        rig.start_gateway("frames")
        measurement.warm_up()
        measured = measurement.rounds(rounds, with_ceiling=True, whole=True)
        ours = measurement.rows_per_s(measured)
        value, limit = statistics.median(ours), statistics.median(measurement.ceilings)
        rig.age()
        sustained, minutes = measure_minutes(measurement)
        sustained_limit = measurement.ceiling_of_all()
        singly = measurement.delays(sustained[-1] / READINGS_A_PACKET / 2, 1, _BESIDE_SECONDS)
        harder = measurement.delays(value / READINGS_A_PACKET / 2, BURST, _BESIDE_SECONDS)
        rig.empty()
        rss = rig.gateway_memory()
        rig.stop_gateways()
        rig.start_gateway("paho")
        paho = measurement.rounds(max(rounds - 1, 1))
    default = statistics.median(measurement.rows_per_s(paho))
    whole = statistics.median(measurement.whole)
    return {
        "name": "ingest",
        "value": round(value),
        "unit": "rows/s",
        "limit": round(limit),
        "ratio": round(value / limit, 3),
        "detail": {
            "asked": asked(),
            "boxes": boxes,
            "readings_a_packet": READINGS_A_PACKET,
            "packets_a_round": measurement.packets,
            "tls": True,
            "rounds": [round(one) for one in ours],
            "ceilings": [round(one) for one in measurement.ceilings],
            "rows_a_transaction_at_most": BATCH_ROWS,
            "one_transaction_copy": [round(one) for one in measurement.whole],
            "ratio_to_one_transaction_copy": round(value / whole, 3),
            "sustained_rows_per_s": round(statistics.median(sustained)),
            "sustained": [round(one) for one in sustained],
            "sustained_ratio": round(sustained[-1] / sustained_limit, 3),
            "publish_to_commit_ms_p50": median_of_counted(minutes, "p50"),
            "publish_to_commit_ms_p99": median_of_counted(minutes, "p99"),
            "publish_to_commit_ms": minutes,
            "undisturbed": sum(map(is_undisturbed, minutes)),
            "singly_ms": singly,
            "at_half_of_rounds_ms": harder,
            "rules_share": _rules_share(measured),
            "cpu_us_per_packet": measurement.cpu_us(measured),
            "gateway_rss_mb": round(rss / 2**20),
            "paho": {
                "rows_per_s": round(default),
                "ratio": round(default / limit, 3),
                "ratio_to_one_transaction_copy": round(default / whole, 3),
                "cpu_us_per_packet": measurement.cpu_us(paho),
            },
        },
    }


def measure_minutes(measurement: Measurement) -> tuple[list[float], list[dict[str, float]]]:
    """Long rounds, and between them minutes at half of the one before: rows a second, and what each minute was like."""
    sustained, minutes = [measurement.sustained()], list[dict[str, float]]()
    while len(minutes) < _MINUTES_AT_MOST and sum(map(is_undisturbed, minutes)) < MINUTES:
        before = {"stolen_before": round(measurement.stolen, 4)}
        minute = before | measurement.delays(sustained[-1] / READINGS_A_PACKET / 2, BURST, _PACED_SECONDS)
        sustained.append(measurement.sustained())
        maximum = statistics.mean(sustained[-2:]) / READINGS_A_PACKET
        minutes.append(minute | {"of_maximum": round(minute["packets_per_s"] / maximum, 3)})
        _say(
            f"p99 {minute['p99']} ms at {minutes[-1]['of_maximum']} of the maximum; the host took {stolen_of(minute):.1%} of"
            " the time"
        )
    return sustained, counting(minutes)


def _percentile(ordered: Sequence[float], share: float) -> float:
    return round(ordered[int(len(ordered) * share)], 1)


def measure_boxes(boxes: int, packets: int) -> dict[str, Any]:
    """The same with more boxes, each of which sends less: one round."""
    with rig_of(boxes) as rig:
        measurement = Measurement(rig, max(packets, 3 * boxes))
        rig.start_gateway("frames")
        measurement.warm_up()
        measured = measurement.rounds(1, with_ceiling=True)
        rss = rig.gateway_memory()
    (value,) = measurement.rows_per_s(measured)
    return {
        "rows_per_s": round(value),
        "ratio": round(value / measurement.ceilings[0], 3),
        "packets": measurement.packets,
        "cpu_us_per_packet": measurement.cpu_us(measured),
        "gateway_rss_mb": round(rss / 2**20),
    }


def measure_split(boxes: int, packets: int) -> dict[str, Any]:
    """One gateway with all boxes against two with half of them each, by either intake.

    Database, broker and load stand on the same machine: ``cores`` is what all of them use of it. Where one gateway leaves
    the others no core to grow into, two cannot show what they are worth; so each is also ``held`` to a share of the time,
    as on small machines of their own.
    """
    found: dict[str, Any] = {}
    for name, sites in (("one_gateway", ("bench",)), ("two_gateways", ("east", "west"))):
        with rig_of(boxes, sites) as rig:
            measurement = Measurement(rig, packets)
            for client in ("frames", "paho"):
                rig.start_gateway(client, partitions=sites if len(sites) > 1 else ("default",))
                if not measurement.seq:
                    measurement.warm_up()
                found[f"{name}_{client}"] = _rows_and_cores(measurement)
                if client == "frames":
                    with Held(rig.gateway_pids(), _HELD_SHARE):
                        found[f"{name}_held"] = _rows_and_cores(Measurement(rig, packets // 2))
                rig.stop_gateways()
    for how in ("frames", "paho", "held"):
        one, two = found[f"one_gateway_{how}"], found[f"two_gateways_{how}"]
        found[f"gain_{how}"] = round(two["rows_per_s"] / one["rows_per_s"], 2)
    return {"held_share": _HELD_SHARE, **found}


def _rows_and_cores(measurement: Measurement) -> dict[str, float]:
    """One round: rows a second, and how many cores everything together used for it."""
    (measured,) = measurement.rounds(1)
    (rows,) = measurement.rows_per_s([measured])
    return {
        "rows_per_s": round(rows),
        "cores": round(sum(measured.processor_s.values()) / measured.seconds, 2),
    }


def _rules_share(measured: Sequence[Round]) -> float:
    spent = sum(one.processor_s["gateway"] for one in measured)
    return round(sum(one.rules_s for one in measured) / spent, 3)


#: What goes into ``detail`` besides the headline, by its name; each with rigs of its own.
_BESIDE: dict[str, Callable[[int], dict[str, Any]]] = {
    "boxes_1000": lambda packets: measure_boxes(1000, packets),
    "boxes_10000": lambda packets: measure_boxes(10_000, packets),
    "split": lambda packets: measure_split(100, packets),
}


def main() -> int:
    """Measure and print; 1 when anything asked is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="only the last line, as JSON")
    parser.add_argument("--boxes", type=int, default=100)
    parser.add_argument("--packets", type=int, default=24_000, help="a round, over all boxes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", nargs="*", choices=sorted(_BESIDE), default=sorted(_BESIDE))
    arguments = parser.parse_args()
    result = measure_main(arguments.boxes, arguments.packets, arguments.rounds)
    took, ended = {"main": time.monotonic() - _BEGAN}, time.monotonic()
    for name in arguments.beside:
        result["detail"][name] = _BESIDE[name](arguments.packets)
        took[name], ended = time.monotonic() - ended, time.monotonic()
    result["detail"]["seconds"] = {name: round(seconds) for name, seconds in took.items()}
    short = missed(result)
    result["detail"]["missed"] = short
    if not arguments.json:
        print("\n".join(told(result)))
    print(json.dumps(result))
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
