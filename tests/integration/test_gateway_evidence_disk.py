"""Evidence on a full disk: said, kept as far as it came, and taken up where it stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.runtime.clock import SystemClock
from common.runtime.stop import Stop
from edge.config import EvidenceDoor as Where
from edge.database import Database
from edge.evidence import EvidenceStore
from edge.settings import UploadSettings
from edge.upload import Uploader
from tests.fixtures.full_files import files_up_to
from tests.fixtures.gateway_door import Rig, code, jpeg, opened_door, sha
from tests.integration.gateway_rig import eventually, rows

pytestmark = pytest.mark.services


@pytest.fixture
def rig(tmp_path: Path, database_url: str) -> Iterator[Rig]:
    """An open door."""
    with opened_door(tmp_path, database_url) as opened:
        yield opened


def impatient(rig: Rig, store: EvidenceStore, tmp_path: Path) -> Uploader:
    """What sends a box's pictures to the door, and tries again soon."""
    certificate = tmp_path / "certificates" / "ca.pem"
    door = Where((f"https://127.0.0.1:{rig.port}",), "kiln/box-0", "right", certificate)
    return Uploader(store, door, UploadSettings(retry_s=0.1, longest_retry_s=0.3), lambda: False)


def test_a_full_disk_is_said_and_the_file_goes_on_where_it_stopped_when_there_is_room(rig: Rig) -> None:
    content = jpeg(900_000)
    with files_up_to(400_000):
        answer = rig.put(content)
        assert (answer.status_code, code(answer)) == (507, "evidence.disk_full")
        assert int(answer.headers["retry-after"]) > 0
        assert rig.put(jpeg(5000)).status_code == 201, "what has room goes in"
    kept = int(rig.head(sha(content)).headers["upload-offset"])
    assert 0 < kept <= 400_000
    assert rig.part(content, kept, len(content)).status_code == 201
    stored = list(rig.directory.glob(f"*/{sha(content)}.jpg"))
    assert [path.read_bytes() for path in stored] == [content]


def test_a_box_brings_its_picture_once_the_full_disk_has_room(rig: Rig, tmp_path: Path) -> None:
    database = Database(tmp_path / "box")
    store = EvidenceStore(database, SystemClock())
    content = jpeg(900_000)
    store.keep(content, "image/jpeg", 3)
    uploader = impatient(rig, store, tmp_path)
    stop = Stop()
    thread = threading.Thread(target=uploader.run, args=(stop,))
    try:
        with files_up_to(400_000):
            thread.start()
            eventually(lambda: (waiting := store.next()) is not None and waiting.attempts > 1)
        eventually(lambda: uploader.uploaded == 1)
        assert store.stats().parked == 0
    finally:
        stop.set("test")
        uploader.wake()
        thread.join()
        database.close()
    assert rows(rig.url, "SELECT sha256, size FROM evidence") == [(sha(content), len(content))]


def test_a_picture_that_the_door_has_no_room_for_keeps_no_smaller_one(rig: Rig, tmp_path: Path) -> None:
    database = Database(tmp_path / "box")
    store = EvidenceStore(database, SystemClock())
    large, small = jpeg(900_000), [jpeg(5000) for _ in range(12)]
    store.keep(large, "image/jpeg", 4)
    for content in small:
        store.keep(content, "image/jpeg", 1)
    uploader = impatient(rig, store, tmp_path)
    stop = Stop()
    thread = threading.Thread(target=uploader.run, args=(stop,))
    try:
        with files_up_to(400_000):
            thread.start()
            eventually(lambda: uploader.uploaded == len(small))
            assert (store.stats().waiting, store.stats().parked) == (1, 0)
        eventually(lambda: uploader.uploaded == len(small) + 1)
    finally:
        stop.set("test")
        uploader.wake()
        thread.join()
        database.close()
    assert rows(rig.url, "SELECT count(*)::int FROM evidence") == [(13,)]
