"""``make chaos`` for a minute: a few kills, bad links, a full disk and a wrong clock cost nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.timeout(1000),  # the run itself waits three times up to 180 s, and says for what
    pytest.mark.xdist_group("whole-system"),
]


def test_nothing_is_lost_doubled_or_opened_twice_under_chaos(tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.chaos",
            "--kills",
            "5",
            "--every",
            "2",
            "--seed",
            "11",
            "--no-camera",
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["faults"] == [], ran.stderr[-4000:]
    assert (ran.returncode, found["ok"]) == (0, True)
    assert found["kills"]["total"] == 5
    assert set(found["kills"]) >= {"box", "gateway", "broker", "database"}
    assert found["packets_numbered"] == found["packets_committed"] + found["packets_abandoned"] > 100
    # Boxes whose disk was full let go of packets that the store had: they can no longer show all they sent.
    assert found["readings_stored"] >= found["readings_sent"] > 1000
    assert found["disks_full"] > 0
    assert found["disk_full"] in {"by filesystem", "by limit"}
    assert found["clock_jumps"] > 0
    assert found["deadlocks"] == found["serialization_failures"] == found["panics"] == 0
    assert found["incidents_without_one_ticket"] == found["matters_with_two_open_tickets"] == 0
