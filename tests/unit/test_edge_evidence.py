"""Evidence on the box: synced, capped, in order, and there again after a power cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.runtime.clock import ManualClock
from common.wire.topics import Address
from edge.database import Database, DiskFullError
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import readings, receipt
from tests.fixtures.edge_pictures import make, picture


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "box")
    yield database
    database.close()


def files(database: Database) -> set[str]:
    return {path.stem for path in (database.directory / "evidence").iterdir()}


def test_a_picture_is_kept_under_its_sha256_once(database: Database) -> None:
    store = make(database)
    name = store.keep(picture(1), "image/jpeg", 2)
    assert name == hashlib.sha256(picture(1)).hexdigest()
    assert store.keep(picture(1), "image/jpeg", 2) == name
    assert files(database) == {name}
    assert store.stats().waiting == 1


def test_the_severest_goes_first_and_of_those_the_oldest(database: Database) -> None:
    clock = ManualClock()
    store = make(database, clock)
    names = []
    for number, severity in enumerate((2, 4, 1, 4)):
        names.append(store.keep(picture(number), "image/jpeg", severity))
        clock.advance(1)
    order = []
    while (waiting := store.next()) is not None:
        order.append(waiting.sha256)
        store.receipted(waiting.sha256)
    assert order == [names[1], names[3], names[0], names[2]]


def test_a_full_store_gives_up_what_the_district_has_then_the_least_severe(database: Database) -> None:
    store = make(database, max_bytes=4500)
    sent, mild, severe, parked = (
        store.keep(picture(number), "image/jpeg", severity) for number, severity in enumerate((4, 1, 4, 4))
    )
    store.receipted(sent)
    store.park(parked, "422 damaged")
    store.keep(picture(10), "image/jpeg", 2)
    assert sent not in files(database)
    store.keep(picture(11), "image/jpeg", 2)
    assert parked not in files(database)
    store.keep(picture(12), "image/jpeg", 2)
    assert mild not in files(database)
    assert severe in files(database)
    assert store.given_up == 2


def test_what_the_district_has_is_kept_for_a_while(database: Database) -> None:
    clock = ManualClock()
    store = make(database, clock, keep_receipted_s=100)
    name = store.keep(picture(1), "image/jpeg", 2)
    store.receipted(name)
    clock.advance(99)
    store.trim()
    assert files(database) == {name}
    clock.advance(2)
    store.trim()
    assert files(database) == set()


def test_files_and_queue_agree_after_a_power_cut(database: Database) -> None:
    store = make(database)
    lost = store.keep(picture(1), "image/jpeg", 2)
    kept = store.keep(picture(2), "image/jpeg", 2)
    (database.directory / "evidence" / f"{lost}.jpg").unlink()
    (database.directory / "evidence" / "half.jpg.new").write_bytes(b"half")
    again = make(database)
    assert files(database) == {kept}
    assert again.stats().waiting == 1


def test_a_picture_without_room_is_refused_clearly(database: Database) -> None:
    store = make(database)
    name = hashlib.sha256(picture(1)).hexdigest()
    # A directory where the file is to be written fails as any full or broken disk does.
    (database.directory / "evidence" / f"{name}.jpg").mkdir()
    with pytest.raises(DiskFullError) as refused:
        store.keep(picture(1), "image/jpeg", 2)
    assert refused.value.code == "evidence.disk_full"
    assert store.stats().waiting == 0


def test_a_picture_that_the_full_database_cannot_note_takes_no_room_either(database: Database) -> None:
    store = make(database)
    with database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 1")  # no larger than it is

    def keep_until_full() -> None:
        for number in range(1000):
            store.keep(picture(number), "image/jpeg", 2)

    with pytest.raises(DiskFullError):
        keep_until_full()
    noted = store.stats().waiting
    assert 0 < noted < 1000
    assert len(files(database)) == noted
    with pytest.raises(DiskFullError):
        store.keep(picture(1000), "image/jpeg", 2)
    assert len(files(database)) == noted


def test_pictures_wait_again_when_the_store_was_restored(database: Database) -> None:
    clock = ManualClock()
    store = make(database, clock)
    sent, parked = store.keep(picture(1), "image/jpeg", 3), store.keep(picture(2), "image/jpeg", 2)
    store.receipted(sent)
    store.park(parked, "refused")
    outbox = SqliteOutbox(database, Address("gulou", "lamp-01"), clock)
    outbox.append(readings(1.0))
    for incarnation in ("store-a", "store-a"):
        outbox.receipt(receipt(outbox.epoch, 1, incarnation=incarnation))
        assert store.next() is None
    outbox.receipt(receipt(outbox.epoch, 0, incarnation="store-b"))
    waiting = store.next()
    assert waiting is not None
    assert (waiting.sha256, waiting.attempts) == (sent, 1), "asked for first, then sent"
    assert store.stats().parked == 1
