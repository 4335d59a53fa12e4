"""The outbox on a disk that is full or broken."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from common.runtime.clock import ManualClock
from common.runtime.errors import DrumtowerError
from common.wire.codec import decode_packet
from common.wire.messages import Abandoned
from edge.database import FILE_NAME, Database, DiskFullError, open_read_only
from edge.evidence import EvidenceStore
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import ADDRESS, events, readings, receipt
from tests.fixtures.edge_outboxes import REPOSITORY, make, start

WRITE_UNTIL_FULL = """
import resource, signal, sys
from pathlib import Path
from common.runtime.clock import SystemClock
from edge.database import Database, DiskFullError
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import ADDRESS, readings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
outbox = SqliteOutbox(Database(Path(sys.argv[1])), ADDRESS, SystemClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
accepted = refused = 0
for n in range(1000):
    try:
        outbox.append(readings(n, count=100))
        accepted += 1
    except DiskFullError as error:
        code = error.code
        refused += 1
stats = outbox.stats()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
outbox.append(readings())
print(accepted, refused, stats.numbered, stats.unreceipted, stats.abandoned)
"""

ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from common.runtime.clock import SystemClock
from edge.database import Database
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import ADDRESS, events, readings
directory, mounted = Path(sys.argv[1]), "mounted" in sys.argv
for opening in range(2):
    database = Database(directory, max_bytes=None if mounted else 3_000_000)
    outbox = SqliteOutbox(database, ADDRESS, SystemClock())
    alarm = outbox.append(events(opening))
    for n in range(3000):
        outbox.append(readings(n, count=100))
    assert outbox.payload(alarm) is not None
    if mounted and opening:
        subprocess.run(["mount", "-o", "remount,size=40m", directory], check=True)
        outbox.trim()
        before = outbox.stats().abandoned
        for n in range(3000):
            outbox.append(readings(n, count=100))
        assert outbox.stats().abandoned == before
    stats = outbox.stats()
    database.close()
print(stats.numbered, stats.unreceipted, stats.abandoned)
"""
RECEIPTS_ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from common.runtime.clock import SystemClock
from edge.database import Database, DiskFullError
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import ADDRESS, readings, receipt
directory, mounted = Path(sys.argv[1]), "mounted" in sys.argv
database = Database(directory, max_bytes=None if mounted else 3_000_000)
outbox = SqliteOutbox(database, ADDRESS, SystemClock())
try:
    while True:
        with outbox.group():
            outbox.append(readings(count=30))
except DiskFullError:
    if mounted:  # and somebody else takes the rest
        try:
            with (directory / "ballast").open("wb", buffering=0) as ballast:
                while True:
                    ballast.write(bytes(4096))
        except OSError:
            pass
epoch, numbered = outbox.epoch, outbox.stats().numbered
assert numbered > 900
if STARTED_ANEW:
    database.close()
    database = Database(directory, max_bytes=None if mounted else 3_000_000)
    outbox = SqliteOutbox(database, ADDRESS, SystemClock())
for upto in (1, numbered // 3, numbered):
    outbox.receipt(receipt(epoch, upto))
stats = outbox.stats()
print(stats.receipted == numbered, stats.unreceipted, stats.abandoned)
"""
#: A file system of 6 MB where a mount is allowed; elsewhere SQLite's own bound stands for the disk's.
MOUNTED = 'mount -t tmpfs -o size=6m tmpfs "$0" && exec "$@" "$0" mounted'
NOT_MOUNTED = 'exec "$@" "$0"'


def test_a_broken_file_is_moved_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 1000)
    database, outbox = make(tmp_path)
    assert database.moved_aside == tmp_path / f"{FILE_NAME}.corrupt-1"
    assert database.moved_aside.read_bytes().startswith(b"no database")
    assert outbox.append(readings()).seq == 1
    database.close()


def test_a_file_damaged_in_the_middle_is_noticed(tmp_path: Path) -> None:
    database, outbox = make(tmp_path)
    for n in range(200):
        outbox.append(readings(n, count=50))
    database.close()
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    for page in range(8, len(content) // 4096, 3):
        content[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    (tmp_path / FILE_NAME).write_bytes(content)
    database, outbox = make(tmp_path)
    assert database.moved_aside is not None
    assert outbox.stats().numbered == 0
    database.close()


def test_a_directory_that_cannot_be_written_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DrumtowerError) as refused:
        Database(tmp_path / "file" / "box")
    assert refused.value.code == "database.unusable"


def test_a_file_of_another_release_is_refused_not_moved(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(DrumtowerError) as refused:
        Database(tmp_path)
    assert refused.value.code == "database.layout"


def test_a_full_disk_gives_up_old_readings_to_accept_new_ones_and_says_which(tmp_path: Path) -> None:
    database = Database(tmp_path, max_bytes=1_000_000)
    outbox = SqliteOutbox(database, ADDRESS, ManualClock(), max_bytes=100_000_000)
    alarm = outbox.append(events())
    for n in range(1000):
        outbox.append(readings(n, count=100))
    stats = outbox.stats()
    waiting = {packet.id for packet in outbox.pending(10_000)}
    assert alarm in waiting
    assert stats.abandoned > 0
    said: set[int] = set()
    for packet in waiting:
        held = outbox.payload(packet)
        assert held is not None
        data = decode_packet(held[1], ADDRESS).data
        if isinstance(data, Abandoned):
            said |= {seq for first, last in data.ranges for seq in range(first, last + 1)}
    assert said | {packet.seq for packet in waiting} == set(range(1, stats.numbered + 1))
    database.close()


def of_a_megabyte(directory: Path) -> tuple[Database, SqliteOutbox]:
    """An outbox whose file may grow no more long before it is as full as it may be."""
    database = Database(directory, max_bytes=1_000_000)
    return database, SqliteOutbox(database, ADDRESS, ManualClock(), max_bytes=100_000_000)


def fill_to_the_brim(outbox: SqliteOutbox, count: int) -> None:
    """Until one packet more would have no room; nothing is given up."""
    has_room = True
    while has_room:
        try:
            with outbox.group():
                outbox.append(readings(count=count))
        except DiskFullError:
            has_room = False


@pytest.mark.parametrize("started_anew", [False, True])
@pytest.mark.parametrize("count", [1, 10, 30, 100])
def test_what_the_store_has_is_believed_on_a_disk_without_room_to_note_it(
    tmp_path: Path, count: int, started_anew: bool
) -> None:
    """Also by a box that numbers nothing any more, so that nothing else makes room."""
    database, outbox = of_a_megabyte(tmp_path)
    fill_to_the_brim(outbox, count)
    epoch, numbered = outbox.epoch, outbox.stats().numbered
    if started_anew:
        database.close()
        database, outbox = of_a_megabyte(tmp_path)
    told = [outbox.receipt(receipt(epoch, upto)).packets for upto in (10, numbered // 2, numbered - 3)]
    assert sum(told) == numbered - 3
    assert (outbox.stats().unreceipted, outbox.stats().abandoned) == (3, 0)
    assert [packet.id.seq for packet in outbox.pending(9)] == [numbered - 2, numbered - 1, numbered]
    assert outbox.receipt(receipt(epoch, numbered)).packets == 3
    assert outbox.stats().receipted == numbered
    database.close()


def test_a_receipt_that_speaks_of_anothers_numbers_lets_nothing_go_on_a_full_disk(tmp_path: Path) -> None:
    database, outbox = of_a_megabyte(tmp_path)
    fill_to_the_brim(outbox, 30)
    before = outbox.stats()
    with suppress(DiskFullError):  # there may be no room to number all of it anew either
        outbox.receipt(receipt(outbox.epoch, before.numbered + 1))
    assert (outbox.stats().receipted, outbox.stats().unreceipted) == (0, before.unreceipted)
    database.close()


def test_a_picture_that_the_district_has_goes_where_there_is_no_room_to_note_that(tmp_path: Path) -> None:
    database, outbox = of_a_megabyte(tmp_path)
    pictures = EvidenceStore(database, ManualClock())
    names = [pictures.keep(bytes([n]) * 9, "image/jpeg", 1) for n in range(200)]
    fill_to_the_brim(outbox, 1)
    for name in names:
        pictures.receipted(name)
    assert pictures.stats().waiting == 0
    kept = {path.stem for path in (tmp_path / "evidence").iterdir()}
    with database.reading() as connection:
        assert {sha256 for (sha256,) in connection.execute("SELECT sha256 FROM evidence")} == kept
    assert len(kept) < len(names), "there was room for all of it, so that this has shown nothing"
    database.close()


def test_a_group_that_finds_the_disk_full_is_not_accepted_and_the_outbox_goes_on(tmp_path: Path) -> None:
    database = Database(tmp_path, max_bytes=400_000)
    outbox = SqliteOutbox(database, ADDRESS, ManualClock(), max_bytes=100_000_000)
    before = outbox.append(readings()).seq

    def append_too_many() -> None:
        with outbox.group():
            for n in range(1000):
                outbox.append(readings(n, count=100))

    with pytest.raises(DiskFullError) as refused:
        append_too_many()
    assert refused.value.code == "outbox.disk_full"
    assert outbox.append(readings()).seq == before + 1
    database.close()


def test_a_disk_that_refuses_to_grow_files_neither_crashes_the_box_nor_loses_what_was_accepted(
    tmp_path: Path,
) -> None:
    process = start(WRITE_UNTIL_FULL, tmp_path)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    accepted, refused, numbered, unreceipted, abandoned = map(int, out.split()[-5:])
    assert accepted + refused == 1000
    assert abandoned > 0
    assert numbered >= accepted
    assert numbered == unreceipted + abandoned
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1_000_000


def small_disk(directory: Path) -> list[str]:
    """What runs a command with the directory as its last argument, in which there is room for 6 MB."""
    for alone in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        tried = [*alone, "sh", "-c", 'mount -t tmpfs tmpfs "$0"', str(directory)]
        if (
            shutil.which("unshare")
            and subprocess.run(tried, capture_output=True, check=False).returncode == 0
        ):
            return [*alone, "sh", "-c", MOUNTED, str(directory)]
    return ["sh", "-c", NOT_MOUNTED, str(directory)]


def test_a_box_on_a_full_disk_goes_on_by_giving_up_what_is_missed_least_until_there_is_room(
    tmp_path: Path,
) -> None:
    """The log could not even be carried over on a full disk, so nothing could be given up: hence the reserve."""
    ran = subprocess.run(
        [*small_disk(tmp_path), sys.executable, "-c", ON_A_SMALL_DISK],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    numbered, unreceipted, abandoned = map(int, ran.stdout.split()[-3:])
    assert abandoned > 0
    assert numbered == unreceipted + abandoned


@pytest.mark.parametrize("started_anew", [False, True])
def test_a_box_on_a_full_disk_that_measures_nothing_any_more_takes_in_what_the_store_has(
    tmp_path: Path, started_anew: bool
) -> None:
    ran = subprocess.run(
        [
            *small_disk(tmp_path),
            sys.executable,
            "-c",
            f"STARTED_ANEW = {started_anew}\n{RECEIPTS_ON_A_SMALL_DISK}",
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "True 0 0"


def test_looking_where_no_box_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(DrumtowerError) as missing:
        open_read_only(tmp_path)
    assert missing.value.code == "database.missing"
    (tmp_path / FILE_NAME).write_bytes(b"nonsense" * 999)
    with pytest.raises(DrumtowerError) as broken:
        open_read_only(tmp_path)
    assert broken.value.code == "database.corrupt"
