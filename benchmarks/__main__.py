"""Run every benchmark in a process of its own and show what each came to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

#: Name → the least or the most that is asked of it, in the words of the table.
ASKED = {
    "rules": ("value", "<=", 0.25),
    "ingest": ("ratio", ">=", 0.6),
    "intake_single": ("ratio", ">=", 1.0),
    "vision": ("ratio", ">=", 0.9),
    "detection": ("ratio", ">=", 1.0),
    "tracker": ("ratio", ">=", 1.0),
    "blur": ("ratio", ">=", 1.0),
    "edge_memory": ("value", "<=", 350.0),
    "cameras": ("ratio", ">=", 1.0),
    "alarm_latency": ("value", "<=", 500.0),
    "fleet": ("value", "<=", 120.0),
    "outage": ("value", "<=", 250.0),
    "dispatch": ("value", "<=", 250.0),
    "sse": ("value", "<=", 500.0),
    "tickets": ("value", "<=", 100.0),
}


def meets(found: float, sign: str, bound: float) -> bool:
    """Whether a figure is what was asked."""
    return found >= bound if sign == ">=" else found <= bound


def main() -> int:
    """Run them all; the exit code is the number that missed what was asked."""
    console = Console()
    table = Table("benchmark", "value", "limit", "ratio", "asked", "met")
    missed = 0
    for name, (key, sign, bound) in ASKED.items():
        with console.status(f"{name} …"):
            ran = subprocess.run(
                [sys.executable, "-m", f"benchmarks.{name}", "--json"],
                stdout=subprocess.PIPE,
                text=True,
                check=False,
                cwd=Path(__file__).parents[1],
            )
        lines = ran.stdout.strip().splitlines()
        if not lines or not lines[-1].startswith("{"):
            table.add_row(name, "failed", "", "", f"{key} {sign} {bound:g}", "no")
            missed += 1
            continue
        result = json.loads(lines[-1])
        short = result["detail"].get("missed", [])  # in its own words, whatever else is asked of it
        met = meets(result[key], sign, bound) and not short and ran.returncode == 0
        missed += not met
        table.add_row(
            name,
            f"{result['value']:,.4g} {result['unit']}",
            f"{result['limit']:,.4g}",
            f"{result['ratio']:.3f}",
            f"{key} {sign} {bound:g}",
            "yes" if met else "; ".join(["no", *short]),
        )
        console.print(f"{name}: {json.dumps(result['detail'], ensure_ascii=False)}", style="dim")
    console.print(table)
    console.print("next: python -m benchmarks.NAME --json shows one alone")
    return missed


if __name__ == "__main__":
    sys.exit(main())
