"""Evidence on its way: resumed, refused, through another door, never before an alarm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from common.runtime.clock import SystemClock
from common.runtime.stop import Stop
from edge.config import EvidenceDoor
from edge.database import Database, DiskFullError
from edge.evidence import EvidenceStore
from edge.settings import UploadSettings
from edge.upload import Uploader
from local.certificates import ensure_certificates
from local.ports import free_port
from tests.fixtures.edge_door import PlayedDoor, play_door
from tests.fixtures.edge_gateway import eventually
from tests.fixtures.edge_pictures import make, picture

WHO, PASSWORD = "gulou/lamp-01", "pass word"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "box")
    yield database
    database.close()


@contextmanager
def uploading(
    store: EvidenceStore, door: EvidenceDoor, hold: Callable[[], bool] = lambda: False, part_kb: int = 16
) -> Iterator[Uploader]:
    settings = UploadSettings(part_kb=part_kb, retry_s=0.05, longest_retry_s=0.2, timeout_s=5)
    uploader = Uploader(store, door, settings, hold)
    stop = Stop()
    thread = threading.Thread(target=uploader.run, args=(stop,), name="upload")
    thread.start()
    try:
        yield uploader
    finally:
        stop.set()
        uploader.wake()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def door() -> Iterator[PlayedDoor]:
    with play_door(PlayedDoor(WHO, PASSWORD)) as running:
        yield running


def to(door: PlayedDoor, password: str = PASSWORD, ca_file: Path | None = None) -> EvidenceDoor:
    return EvidenceDoor((door.url,), WHO, password, ca_file)


def nowhere() -> str:
    """An address at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


def test_pictures_reach_the_district_over_tls(database: Database, tmp_path: Path) -> None:
    served = ensure_certificates(tmp_path / "certificates")
    store = make(database, SystemClock())
    names = {store.keep(picture(number), "image/jpeg", 2) for number in range(5)}
    with play_door(PlayedDoor(WHO, PASSWORD), served) as door:
        with uploading(store, to(door, ca_file=served.authority)) as uploader:
            eventually(lambda: store.stats().waiting == 0)
            assert uploader.uploaded == 5
        assert door.stored.keys() == names


def test_a_door_that_another_authority_signed_gets_nothing(database: Database, tmp_path: Path) -> None:
    served, other = ensure_certificates(tmp_path / "one"), ensure_certificates(tmp_path / "two")
    store = make(database, SystemClock())
    store.keep(picture(1), "image/jpeg", 2)
    with (
        play_door(PlayedDoor(WHO, PASSWORD), served) as door,
        structlog.testing.capture_logs() as logs,
        uploading(store, to(door, ca_file=other.authority)),
    ):
        eventually(lambda: any(log["event"] == "upload.unreachable" for log in logs))
    assert (store.stats().waiting, door.stored) == (1, {})


def test_a_large_file_goes_in_parts(database: Database, door: PlayedDoor) -> None:
    store = make(database, SystemClock())
    content = picture(1, 50_000)
    name = store.keep(content, "image/jpeg", 2)
    with uploading(store, to(door)):
        eventually(lambda: name in door.stored)
    assert door.stored[name] == content
    assert door.requests[0] == "PUT bytes 0-16383/50000"
    assert len(door.requests) == 4


def test_an_upload_that_broke_goes_on_where_it_was(database: Database, door: PlayedDoor) -> None:
    store = make(database, SystemClock())
    content = picture(1, 60_000)
    name = store.keep(content, "image/jpeg", 2)
    door.cut_after = 5000
    with uploading(store, to(door)):
        eventually(lambda: name in door.stored)
    assert door.stored[name] == content
    assert "HEAD" in door.requests
    assert any(request.startswith("PUT bytes 5000-") for request in door.requests)


def test_a_wrong_guess_of_the_offset_is_corrected(database: Database, door: PlayedDoor) -> None:
    store = make(database, SystemClock())
    content = picture(1, 60_000)
    name = store.keep(content, "image/jpeg", 2)
    door.answers = [(500, "broken")]
    door.kept[name] = content
    with uploading(store, to(door)):
        eventually(lambda: name in door.stored)
    assert door.stored[name] == content


def test_a_picture_whose_part_was_damaged_at_the_district_is_sent_anew(
    database: Database, door: PlayedDoor
) -> None:
    store = make(database, SystemClock())
    content = picture(1, 60_000)
    name = store.keep(content, "image/jpeg", 2)
    door.answers = [(503, "")]
    door.kept[name] = bytes(16_384)  # its machine lost power, and the file is as long as it was but empty
    with uploading(store, to(door)):
        eventually(lambda: name in door.stored)
    assert door.stored[name] == content
    assert store.stats().parked == 0


@pytest.mark.parametrize(
    "headers", [{"Content-Encoding": "gzip"}, {"Upload-Offset": "9" * 5000}], ids=["encoding", "offset"]
)
def test_an_answer_that_cannot_be_read_is_no_reason_to_end(
    database: Database, door: PlayedDoor, headers: dict[str, str]
) -> None:
    """As a gate page or a proxy on the way may give it."""
    store = make(database, SystemClock())
    name = store.keep(picture(1), "image/jpeg", 2)
    door.strange = [headers, headers]
    with uploading(store, to(door)):
        eventually(lambda: name in door.stored)


def test_a_district_that_is_away_is_asked_again(database: Database, door: PlayedDoor) -> None:
    store = make(database, SystemClock())
    store.keep(picture(1), "image/jpeg", 2)
    door.answers = [(503, ""), (500, ""), (507, "evidence.disk_full"), (413, "evidence.day_full")]
    with uploading(store, to(door)):
        eventually(lambda: len(door.stored) == 1)
    assert store.stats().parked == 0


def test_evidence_goes_through_the_next_door_when_one_is_gone_without_a_pause(
    database: Database, door: PlayedDoor
) -> None:
    store = make(database, SystemClock())
    first = store.keep(picture(1), "image/jpeg", 2)
    several = EvidenceDoor((nowhere(), door.url, nowhere()), WHO, PASSWORD)
    with structlog.testing.capture_logs() as logs, uploading(store, several):
        eventually(lambda: first in door.stored)
        second = store.keep(picture(2), "image/jpeg", 2)
        eventually(lambda: second in door.stored)
    # The door that answered is asked first from then on.
    assert [log["event"] for log in logs] == ["upload.next_door"]


def test_a_door_that_dies_within_a_file_hands_over_to_another_that_keeps_nothing_of_it(
    database: Database, door: PlayedDoor
) -> None:
    store = make(database, SystemClock())
    content = picture(1, 60_000)
    name = store.keep(content, "image/jpeg", 2)
    with play_door(PlayedDoor(WHO, PASSWORD)) as other:
        other.cut_after = 5000
        with uploading(store, EvidenceDoor((other.url, door.url), WHO, PASSWORD)):
            eventually(lambda: name in door.stored)
    assert door.stored[name] == content


def test_a_receipt_that_a_full_disk_cannot_note_is_asked_for_again(
    database: Database, door: PlayedDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(database, SystemClock())
    name = store.keep(picture(1), "image/jpeg", 4)
    note = store.receipted
    refused: list[str] = []

    def full_at_first(sha256: str) -> None:
        if len(refused) < 2:
            refused.append(sha256)
            raise DiskFullError("outbox.disk_full", "expected room to write", "free space")
        note(sha256)

    monkeypatch.setattr(store, "receipted", full_at_first)
    with uploading(store, to(door)) as uploader:
        eventually(lambda: store.stats().waiting == 0)
        assert uploader.uploaded == 1
    assert refused == [name, name]
    assert name in door.stored


def test_only_when_no_door_can_be_reached_is_there_a_pause(database: Database) -> None:
    store = make(database, SystemClock())
    store.keep(picture(1), "image/jpeg", 2)
    one, two = nowhere(), nowhere()
    with (
        structlog.testing.capture_logs() as logs,
        uploading(store, EvidenceDoor((one, two), WHO, PASSWORD)),
    ):
        eventually(lambda: any(log["event"] == "upload.unreachable" for log in logs))
    said = next(log for log in logs if log["event"] == "upload.unreachable")
    assert one in said["message"]
    assert two in said["message"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(413, "evidence.too_large"), (422, "evidence.wrong_hash")],
)
def test_a_refusal_is_said_and_not_tried_for_ever(
    database: Database, door: PlayedDoor, status: int, code: str
) -> None:
    store = make(database, SystemClock())
    store.keep(picture(1), "image/jpeg", 4)
    door.answers = [(status, code)]
    with structlog.testing.capture_logs() as logs, uploading(store, to(door)):
        eventually(lambda: store.stats().parked == 1)
        second = store.keep(picture(2), "image/jpeg", 2)
        eventually(lambda: second in door.stored)
    assert store.stats().waiting == 0
    (said,) = [log for log in logs if log["event"] == "upload.refused"]
    assert (said["status"], bool(said["hint"])) == (status, True)


def test_a_device_that_is_kept_out_brings_all_its_pictures_once_it_is_let_in(
    database: Database, door: PlayedDoor
) -> None:
    store = make(database, SystemClock())
    names = {store.keep(picture(number), "image/jpeg", 2) for number in range(3)}
    door.answers = [(403, "evidence.quarantined")] * 4 + [(403, "evidence.unknown_device")]
    with structlog.testing.capture_logs() as logs, uploading(store, to(door)):
        eventually(lambda: door.stored.keys() == names)
    assert store.stats().parked == 0
    assert [log["status"] for log in logs if log["event"] == "upload.refused"] == [403] * 5


def test_a_wrong_credential_is_said_and_costs_no_picture(database: Database, door: PlayedDoor) -> None:
    store = make(database, SystemClock())
    name = store.keep(picture(1), "image/jpeg", 2)
    with structlog.testing.capture_logs() as logs, uploading(store, to(door, "wrong")):
        eventually(lambda: any(log["event"] == "upload.refused" for log in logs))
    assert (store.stats().waiting, store.stats().parked) == (1, 0)
    with uploading(make(database, SystemClock()), to(door)):
        eventually(lambda: name in door.stored)


def test_a_door_that_cannot_say_how_far_a_picture_came_is_asked_again(
    database: Database, door: PlayedDoor
) -> None:
    store = make(database, SystemClock())
    content = picture(1, 60_000)
    name = store.keep(content, "image/jpeg", 2)
    door.cut_after = 5000
    door.unable = [503, 429]
    with uploading(store, to(door)):
        eventually(lambda: name in door.stored)
    assert door.stored[name] == content
    puts = [request for request in door.requests if request.startswith("PUT")]
    assert [put.split("-")[0] for put in puts[:2]] == ["PUT bytes 0", "PUT bytes 5000"]


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503, 0], ids=lambda status: str(status or "cut"))
def test_a_picture_that_the_door_always_fails_keeps_no_other_and_is_not_lost(
    database: Database, door: PlayedDoor, status: int
) -> None:
    """The severest, so it would always be first; and one more, for two that fail in a row look like a door that does."""
    store = make(database, SystemClock())
    bad = [store.keep(picture(number), "image/jpeg", 4) for number in range(2)]
    door.never = dict.fromkeys(bad, status)
    good = {store.keep(picture(number), "image/jpeg", 1) for number in range(2, 30)}
    with structlog.testing.capture_logs() as logs, uploading(store, to(door)):
        eventually(lambda: good <= door.stored.keys())
        tries = len(door.refused)
        later = store.keep(picture(30), "image/jpeg", 1)
        eventually(lambda: later in door.stored and store.stats().waiting == 2)
        assert store.stats().parked == 0
        assert set(door.refused) == set(bad)
        eventually(lambda: len(door.refused) >= tries + 4)
        door.never.clear()
        eventually(lambda: store.stats().waiting == 0)
    assert set(bad) <= door.stored.keys()
    if status != 403:
        assert any("others pass, so it is this one" in log.get("hint", "") for log in logs)


def test_nothing_is_sent_while_an_alarm_waits(database: Database, door: PlayedDoor) -> None:
    store = make(database, SystemClock())
    store.keep(picture(1), "image/jpeg", 2)
    alarms = [True]
    with uploading(store, to(door), hold=lambda: alarms[0]):
        time.sleep(0.3)
        assert door.requests == []
        alarms[0] = False
        eventually(lambda: len(door.stored) == 1)
