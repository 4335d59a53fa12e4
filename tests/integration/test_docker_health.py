"""The images' health checks, word for word but for the ports: they pass where the tier runs, and fail where it does not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cloud.app import Cloud
from cloud.config import CloudSettings, Environment
from common.runtime.clock import SystemClock
from common.runtime.metrics import serve_metrics
from common.runtime.stop import Stop
from common.wire.topics import Address
from edge.database import Database
from edge.outbox import SqliteOutbox
from local.ports import free_port
from tests.integration.gateway_rig import eventually

DOCKER = Path(__file__).parents[2] / "docker"


def health_check(tier: str) -> list[str]:
    text = (DOCKER / f"{tier}.Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(r"^HEALTHCHECK .*?CMD (\[.*\])$", text, re.MULTILINE)
    assert found is not None
    words: list[str] = json.loads(found[1])
    program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "common.runtime.cli"]
    assert words[0] in {"python", "drumtower"}
    return [*program, *words[1:]]


def passes(words: list[str], *exchanges: tuple[str, str]) -> bool:
    for known, other in exchanges:
        assert any(known in word for word in words)
        words = [word.replace(known, other) for word in words]
    environment = {**os.environ, "PYTHONPATH": str(DOCKER.parent)}
    return subprocess.run(words, env=environment, capture_output=True, check=False).returncode == 0


def test_the_gateways_asks_for_its_metrics() -> None:
    words, port = health_check("gateway"), free_port()
    assert not passes(words, ("9464", str(port)))
    serve_metrics(CollectorRegistry(), port)
    assert passes(words, ("9464", str(port)))


@pytest.mark.services
def test_the_centres_asks_whether_it_is_well(database_url: str, tmp_path: Path) -> None:
    words, port = health_check("cloud"), free_port()
    assert not passes(words, ("8080", str(port)))
    centre = Cloud(CloudSettings(), Environment(database_url, tmp_path), SystemClock(), "api", port=port)
    stop = Stop()
    centre.start()
    thread = threading.Thread(target=centre.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: passes(words, ("8080", str(port))))
    finally:
        stop.set()
        thread.join(60)
        centre.close()


def test_a_boxs_reads_its_outbox(tmp_path: Path) -> None:
    words = health_check("edge")
    assert not passes(words, ("/var/lib/drumtower", str(tmp_path)))
    database = Database(tmp_path)
    SqliteOutbox(database, Address("gulou", "lamp-02"), SystemClock())
    assert passes(words, ("/var/lib/drumtower", str(tmp_path)))
    database.close()
