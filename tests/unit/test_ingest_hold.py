"""What holds a benchmark's gateways to a share of the time lets them go in the end."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from benchmarks.ingest_hold import Held

_PATIENCE_S = 60.0


def test_a_held_process_is_stopped_again_and_again_and_runs_freely_afterwards() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        try:
            held = psutil.Process(child.pid)
            with Held([child.pid], 0.5):
                seen: set[bool] = set()
                deadline = time.monotonic() + _PATIENCE_S
                while seen != {True, False}:
                    assert time.monotonic() < deadline, seen
                    seen.add(held.status() == psutil.STATUS_STOPPED)
            assert held.status() != psutil.STATUS_STOPPED
        finally:
            child.kill()


def test_holding_a_process_that_has_ended_is_no_trouble() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(_PATIENCE_S)
    with Held([child.pid], 0.5):
        time.sleep(0.1)
