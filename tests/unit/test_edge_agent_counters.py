"""What an agent says of itself, to the district and to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from prometheus_client import generate_latest

from edge.app import Agent
from edge.config import DeviceConfig
from edge.metrics import ANALYSED_BY, COUNTERS


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    threads = cv2.getNumThreads()
    credential = tmp_path / "credential"
    credential.write_text("secret")
    config = DeviceConfig.model_validate(
        {
            "site": "gulou",
            "device": "lamp-01",
            "cameras": [{"name": "cam-1", "path": "a.mp4"}, {"name": "cam-2", "path": "b.mp4"}],
        }
    )
    environment = {
        "DRUMTOWER_BROKER_URL": "mqtt://127.0.0.1:1",
        "DRUMTOWER_CREDENTIAL_FILE": str(credential),
    }
    built = Agent(config, tmp_path / "devices" / "box.yaml", tmp_path / "data", environment)
    yield built
    built.close()
    cv2.setNumThreads(threads)


def test_each_camera_has_its_own_count_of_looks(agent: Agent) -> None:
    counters = agent.counters()
    assert (counters["analysed"], counters["analysed.cam-1"], counters["analysed.cam-2"]) == (0, 0, 0)


def test_as_many_cameras_as_are_allowed_fit_into_one_status(agent: Agent) -> None:
    assert len(agent.counters()) - 2 + 32 + 1 <= 64  # and the clock offset


def test_prometheus_is_told_of_each_camera_under_one_name(agent: Agent) -> None:
    told = generate_latest(agent.registry).decode()
    assert 'drumtower_edge_camera_analysed{camera="cam-2"} 0.0' in told
    assert "drumtower_edge_analysed 0.0" in told


def test_opencv_leaves_the_other_cores_to_the_inference(agent: Agent) -> None:
    assert agent.counters()
    assert cv2.getNumThreads() == 1


def test_every_counter_of_a_status_is_one_that_is_documented(agent: Agent) -> None:
    told = {name for name in agent.counters() if not name.startswith(ANALYSED_BY)}
    assert told == set(COUNTERS) - {"clock_offset_ms"}, "edge/metrics.py says what each means"
