"""Run it: ``python -m benchmarks.chaos --kills 60 --seed 1``; see ``docs/operations.md``."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.chaos.disk import alone
from benchmarks.chaos.run import run
from benchmarks.last_line import LastLine
from common.runtime.stop import Stop


def main() -> int:
    """The last line is a JSON summary; 1 when anything was lost, doubled or ended by itself."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=60, help="SIGKILLs over boxes, gateways, broker and database"
    )
    parser.add_argument("--seed", type=int, help="the same seed, the same acts; by default a new one")
    parser.add_argument("--every", type=float, default=7.0, help="mean seconds between two kills")
    parser.add_argument("--no-camera", action="store_true", help="without the box that looks at video")
    parser.add_argument(
        "--keep",
        type=Path,
        help="a directory for data and logs, kept; by default they are after a fault only",
    )
    arguments = parser.parse_args()
    if arguments.kills < 1:
        parser.error("--kills: expected 1 or more")
    alone(["-m", "benchmarks.chaos", *sys.argv[1:]])
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    stop = Stop().on_signals()
    data = arguments.keep or Path(tempfile.mkdtemp(prefix="drumtower-chaos-")) / "run"
    with LastLine("chaos", seed=seed) as summary:
        try:
            summary.update(
                run(
                    data.absolute(),
                    arguments.kills,
                    arguments.every,
                    seed,
                    stop,
                    camera=not arguments.no_camera,
                )
            )
        finally:
            if arguments.keep is None and (summary["ok"] or stop.is_set()):
                shutil.rmtree(data.parent, ignore_errors=True)
            else:
                print(f"data and logs are kept in {data}", file=sys.stderr)
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
