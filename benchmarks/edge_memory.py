"""Peak memory of one box: ``python -m benchmarks.edge_memory [--json] [--seconds N]``.

A real agent process with one camera at ten frames a second, the real model, two scenes and twenty sensors, on a
real broker. The peak is the kernel's own high-water mark of resident memory. Nobody sends receipts, so that
the window fills as well.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.vision import find_footage
from edge.database import open_read_only
from edge.outbox_stats import read_stats
from local.broker import Broker

LIMIT_MB = 350.0
_KINDS = ("smoke", "manhole", "flood", "rain", "button")
_SENSORS = 20


def device(footage: Path) -> dict[str, Any]:
    """The box's configuration: the demo's scenes, four sensors of each kind."""
    demo = Path(__file__).resolve().parent.parent / "firmware_configs" / "devices" / "lamp-01.yaml"
    (camera,) = yaml.safe_load(demo.read_text(encoding="utf-8"))["cameras"]
    del camera["footage"]
    return {
        "site": "bench",
        "device": "box-1",
        "storm": {"seed": 7, "time_scale": 36},
        "cameras": [{**camera, "path": str(footage)}],
        "sensors": [
            {"name": f"{_KINDS[n % 5]}-{n}", "kind": _KINDS[n % 5], "every_s": 0.5} for n in range(_SENSORS)
        ],
    }


def measure(seconds: float, footage: Path) -> dict[str, Any]:
    """Run the box for so long; the figures of that run."""
    with tempfile.TemporaryDirectory(prefix="edge-memory-") as temporary:
        directory = Path(temporary)
        password = secrets.token_urlsafe(16)
        (directory / "credential").write_text(password + "\n", encoding="utf-8")
        (directory / "box.yaml").write_text(yaml.safe_dump(device(footage)), encoding="utf-8")
        with Broker(directory / "broker") as broker:
            broker.add_device("bench", "box-1", password)
            broker.reload()
            environment = {
                **os.environ,
                "DRUMTOWER_BROKER_URL": broker.url,
                "DRUMTOWER_CA_FILE": str(broker.ca_file),
                "DRUMTOWER_CREDENTIAL_FILE": str(directory / "credential"),
            }
            command = ["edge", "run", str(directory / "box.yaml"), "--data", str(directory / "box")]
            with (directory / "log").open("wb") as log:
                box = subprocess.Popen(
                    [sys.executable, "-m", "common.runtime.cli", *command], env=environment, stderr=log
                )
                try:
                    figures = _watch(box, seconds)
                finally:
                    box.terminate()
                    box.wait(20)
        connection = open_read_only(directory / "box")
        stats = read_stats(connection)
        connection.close()
        assert stats.numbered > 0, (directory / "log").read_text(encoding="utf-8")
        return {**figures, "packets": stats.numbered, "exit_code": box.returncode}


def _watch(box: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    status: dict[str, str] = {}
    while time.monotonic() < deadline:
        if box.poll() is not None:
            raise SystemExit(f"the box ended early with exit code {box.returncode}")
        lines = Path(f"/proc/{box.pid}/status").read_text(encoding="ascii").splitlines()
        status = dict(line.split(":", 1) for line in lines)
        time.sleep(0.2)
    return {
        "peak_mb": round(int(status["VmHWM"].split()[0]) * 1024 / 1e6, 1),
        "at_the_end_mb": round(int(status["VmRSS"].split()[0]) * 1024 / 1e6, 1),
        "threads": int(status["Threads"]),
    }


def main() -> int:
    """Measure and print; 1 when it is more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--seconds", type=float, default=45.0)
    arguments = parser.parse_args()
    footage = find_footage(None)
    found = measure(arguments.seconds, footage)
    peak = found["peak_mb"]
    result = {
        "name": "edge_memory",
        "value": peak,
        "unit": "MB",
        "limit": LIMIT_MB,
        "ratio": round(peak / LIMIT_MB, 3),
        "detail": {**found, "footage": footage.name, "sensors": _SENSORS, "seconds": arguments.seconds},
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"peak {peak} MB of at most {LIMIT_MB:g} MB; {found}")
        print("next: python -m benchmarks runs all of them")
    return int(peak > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
