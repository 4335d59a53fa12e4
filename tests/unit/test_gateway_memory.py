"""What a gateway remembers of boxes that make up one thing after the other is bounded."""

from __future__ import annotations

import pytest

from common.runtime.clock import SystemClock
from gateway import memory as remembered
from gateway.memory import Memory


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """One that knows ten streams and ten categories at most."""
    monkeypatch.setattr(remembered, "_KNOWN_STREAMS", 10)
    monkeypatch.setattr(remembered, "_KNOWN_CATEGORIES", 10)
    return Memory("default", (), {}, series_per_device=1, reject_quota=1, clock=SystemClock())


def test_streams_are_known_until_there_are_too_many(memory: Memory) -> None:
    memory.know_streams((1, epoch) for epoch in range(10))
    assert len(memory.streams) == 10
    memory.know_streams([(1, 3)])
    assert len(memory.streams) == 10, "that one was known"
    for epoch in range(10, 100):
        memory.know_streams([(1, epoch)])
        assert len(memory.streams) <= 10


def test_categories_are_known_until_there_are_too_many(memory: Memory) -> None:
    for number in range(100):
        memory.know_categories([f"made.up_{number}"])
        assert len(memory.categories) <= 10
    memory.know_categories(["smoke.alarm"])
    assert "smoke.alarm" in memory.categories
