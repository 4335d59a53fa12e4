"""A box that is started while its disk is full: it waits, says so, and begins when there is room."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from common.runtime.clock import ManualClock
from common.runtime.errors import DrumtowerError
from common.runtime.stop import Stop
from edge.database import FILE_NAME, Database, DiskFullError
from edge.evidence import EvidenceStore
from edge.outbox import SqliteOutbox
from edge.room import when_there_is_room
from tests.fixtures.edge_messages import ADDRESS, readings

REPOSITORY = Path(__file__).parents[2]

#: No file may be written at first, as on a full disk or with a quota used up; later it may.
STARTED_FULL = """
import json, resource, sys, threading
from pathlib import Path
from common.runtime.log import configure_logging
from common.runtime.stop import Stop
from edge.app import Agent
from edge.config import DeviceConfig
from edge.room import when_there_is_room
from tests.fixtures.edge_messages import readings
configure_logging("edge")
directory = Path(sys.argv[1])
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
config = DeviceConfig.model_validate({"site": "gulou", "device": "lamp-01"})
environment = {"DRUMTOWER_BROKER_URL": "mqtt://127.0.0.1:1", "DRUMTOWER_CREDENTIAL_FILE": str(directory / "credential")}
resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
tries = 0
def make():
    global tries
    tries += 1
    if tries == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    return Agent(config, directory / "box.yaml", directory / "data", environment)
agent = when_there_is_room(make, Stop(), first_s=0.01)
held = agent.outbox.stats().numbered
agent.outbox.append(readings())
print(json.dumps([tries, held, agent.outbox.stats().numbered]))
agent.close()
"""


def no_room(*_anything: object, **_named: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("held", [0, 3])
def test_a_box_that_is_started_on_a_full_disk_waits_and_goes_on_with_what_it_held(
    tmp_path: Path, held: int
) -> None:
    (tmp_path / "credential").write_text("secret")
    if held:
        database = Database(tmp_path / "data")
        outbox = SqliteOutbox(database, ADDRESS, ManualClock())
        for _ in range(held):
            outbox.append(readings())
        database.close()
        (tmp_path / "data" / "reserve").unlink(missing_ok=True)
    ran = subprocess.run(
        [sys.executable, "-c", STARTED_FULL, str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == f"[4, {held}, {held + 1}]"
    assert ran.stderr.count("outbox.disk_full") == 3
    assert "free space on the box's disk" in ran.stderr


def test_a_box_that_waits_for_room_can_be_stopped() -> None:
    stop = Stop()

    def never() -> None:
        threading.Timer(0.05, stop.set).start()
        raise DiskFullError("outbox.disk_full", "expected room", "free space")

    with structlog.testing.capture_logs() as logs:
        assert when_there_is_room(never, stop, first_s=60) is None
    assert [(log["event"], log["retry_in_s"]) for log in logs] == [("outbox.disk_full", 60)]


def test_whatever_else_keeps_a_box_from_starting_is_no_reason_to_wait() -> None:
    def broken() -> None:
        raise DrumtowerError("database.layout", "expected another layout")

    with pytest.raises(DrumtowerError, match="another layout"):
        when_there_is_room(broken, Stop())


def _directory(directory: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "mkdir", no_room)


def _lock(directory: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "open", no_room)


def _file(directory: Path, patch: pytest.MonkeyPatch) -> None:
    directory.mkdir()
    (directory / FILE_NAME).mkdir()  # SQLite cannot open it, and says no more than that
    patch.setattr(Path, "touch", no_room)


@pytest.mark.parametrize("takes", [_directory, _lock, _file])
def test_a_disk_that_takes_no_file_more_is_full_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    with monkeypatch.context() as patch:
        takes(tmp_path / "box", patch)
        with pytest.raises(DiskFullError) as refused:
            Database(tmp_path / "box")
    assert refused.value.code == "outbox.disk_full"


def test_a_file_that_cannot_be_opened_for_another_reason_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(DrumtowerError) as refused:
        Database(tmp_path)
    assert refused.value.code == "database.failed"
    assert not isinstance(refused.value, DiskFullError)


def test_pictures_that_have_no_place_yet_are_waited_for_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", no_room)
        with pytest.raises(DiskFullError):
            EvidenceStore(database, ManualClock())
    EvidenceStore(database, ManualClock())
    database.close()
