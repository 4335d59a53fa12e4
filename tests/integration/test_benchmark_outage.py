"""``python -m benchmarks.outage`` with a short outage: what ten minutes are judged by holds, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.outage import LIMIT_MB

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(1000),  # the run itself waits up to 900 s, and says for what
]

_OUTAGE_S = 15


def test_the_gateway_stays_small_while_the_store_is_away_and_commits_everything_once_after() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.outage", "--seconds", str(_OUTAGE_S)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr[-4000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    detail = found["detail"]
    assert detail["missed"] == []
    assert (found["name"], found["unit"], found["limit"]) == ("outage", "MB", LIMIT_MB)
    assert 0 < found["value"] <= LIMIT_MB
    assert detail["outage_s"] >= _OUTAGE_S
    assert detail["boxes_online_at_return"] == detail["boxes"] == 100
    assert detail["missing"] == detail["rejects"] == 0
    # Each packet has 50 readings; none is stored twice, however often it came.
    assert detail["readings"] == detail["committed"] * 50 > 0
    assert detail["packets_held_by_boxes_at_return"] > 0
