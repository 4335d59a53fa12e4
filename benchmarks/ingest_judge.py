"""What ``benchmarks.ingest`` is asked, which of its minutes count, and what is said of it in words. Figures in, words out."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from typing import Any

LIMIT_RATIO = 0.6
LIMIT_P99_MS = 120.0
LIMIT_RULES_SHARE = 0.25
#: How many times as much two gateways take in as one, each held to a share of the time.
LIMIT_GAIN_HELD = 1.2
#: So many minutes count.
MINUTES = 3
#: Of the processors' time; a minute of which the host took more is followed by another one.
_STOLEN_AT_MOST = 0.01


def asked() -> dict[str, float]:
    """All that is."""
    return {
        "ratio": LIMIT_RATIO,
        "p99_ms": LIMIT_P99_MS,
        "rules_share": LIMIT_RULES_SHARE,
        "gain_held": LIMIT_GAIN_HELD,
    }


def counting(minutes: list[dict[str, float]]) -> list[dict[str, float]]:
    """The same minutes; ``counted`` is 1 for the three of which the host took least, else 0."""
    least = sorted(minutes, key=stolen_of)[:MINUTES]
    return [minute | {"counted": int(any(minute is one for one in least))} for minute in minutes]


def stolen_of(minute: dict[str, float]) -> float:
    """The share of it, or of the round before it, that the host took: the larger one."""
    return max(minute["stolen"], minute["stolen_before"])


def is_undisturbed(minute: dict[str, float]) -> bool:
    """Whether the host took too little to matter."""
    return stolen_of(minute) <= _STOLEN_AT_MOST


def median_of_counted(minutes: list[dict[str, float]], name: str) -> float:
    """Of a figure over the minutes that count."""
    return statistics.median(one[name] for one in minutes if one["counted"])


def _minute(minute: dict[str, float]) -> str:
    aside = "" if minute["counted"] else ", not counted"
    return f"{minute['p99']} ms ({stolen_of(minute):.1%} stolen{aside})"


def missed(result: dict[str, Any]) -> list[str]:
    """What falls short of what is asked; what two gateways gain only where it was measured."""
    detail = result["detail"]
    p99_ms, rules_share = detail["publish_to_commit_ms_p99"], detail["rules_share"]
    judged = [
        (result["ratio"] >= LIMIT_RATIO, f"ratio {result['ratio']}, asked >= {LIMIT_RATIO}"),
        (p99_ms <= LIMIT_P99_MS, f"p99 {p99_ms} ms, asked <= {LIMIT_P99_MS:g}"),
        (rules_share <= LIMIT_RULES_SHARE, f"rules_share {rules_share}, asked <= {LIMIT_RULES_SHARE}"),
    ]
    if "split" in detail:
        gain = detail["split"]["gain_held"]
        judged.append((gain >= LIMIT_GAIN_HELD, f"gain_held {gain}, asked >= {LIMIT_GAIN_HELD}"))
    return [words for met, words in judged if not met]


def told(result: dict[str, Any]) -> Iterator[str]:
    """The result in lines for people."""
    detail = result["detail"]
    yield (
        f"{result['value']:,} rows/s of {result['limit']:,} by psql \\copy: {result['ratio']}"
        f" ({detail['ratio_to_one_transaction_copy']} of one transaction)"
    )
    yield (
        f"sustained {detail['sustained_rows_per_s']:,} rows/s ({detail['sustained_ratio']}); publish to commit at half"
        f" of that: p50 {detail['publish_to_commit_ms_p50']} ms, p99 {detail['publish_to_commit_ms_p99']} ms, of minutes"
        f" with {', '.join(_minute(one) for one in detail['publish_to_commit_ms'])} (each packet alone:"
        f" {detail['singly_ms']['p50']} and {detail['singly_ms']['p99']} ms); rules {detail['rules_share']:.0%} of the"
        " processor"
    )
    for how in ("frames", "paho", "held") if "split" in detail else ():
        one, two = (detail["split"][f"{count}_{how}"] for count in ("one_gateway", "two_gateways"))
        yield (
            f"split over two gateways ({how}): {one['rows_per_s']:,} to {two['rows_per_s']:,} rows/s,"
            f" with {one['cores']} and {two['cores']} of {os.cpu_count()} cores in use"
        )
    yield "missed: " + ("; ".join(detail["missed"]) or "nothing")
