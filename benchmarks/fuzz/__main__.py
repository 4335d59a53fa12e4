"""Run it: ``python -m benchmarks.fuzz --messages 1000000 --seed 1``; see ``docs/operations.md``."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from benchmarks.fuzz.run import run
from benchmarks.last_line import LastLine


def main() -> int:
    """The last line is a JSON summary; 1 when the gateway crashed or grew, or a message is not accounted for."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument(
        "--messages", type=int, default=1_000_000, help="mutated ones; whole ones and repeats come on top"
    )
    parser.add_argument("--broker-share", type=float, default=0.05, help="of them go through the broker")
    parser.add_argument("--boxes", type=int, default=200)
    parser.add_argument("--seed", type=int, help="the same seed, the same messages; by default a new one")
    parser.add_argument("--keep", type=Path, help="a directory for data and logs, kept; by default none is")
    arguments = parser.parse_args()
    if arguments.messages < 1000:
        parser.error("--messages: expected 1,000 or more")
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    with (
        LastLine("fuzz", seed=seed) as summary,
        tempfile.TemporaryDirectory(prefix="drumtower-fuzz-", ignore_cleanup_errors=True) as made,
    ):
        data = (arguments.keep or Path(made) / "run").absolute()
        data.mkdir(parents=True, exist_ok=True)
        data.parent.chmod(0o755)
        summary.update(run(data, arguments.messages, arguments.broker_share, arguments.boxes, seed))
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
