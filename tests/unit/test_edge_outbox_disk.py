"""The outbox on a disk that is full or broken."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.runtime.clock import ManualClock
from common.runtime.errors import DrumtowerError
from common.wire.codec import decode_packet
from common.wire.messages import Abandoned
from edge.database import FILE_NAME, Database, DiskFullError, open_read_only
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import ADDRESS, events, readings
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


def test_looking_where_no_box_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(DrumtowerError) as missing:
        open_read_only(tmp_path)
    assert missing.value.code == "database.missing"
    (tmp_path / FILE_NAME).write_bytes(b"nonsense" * 999)
    with pytest.raises(DrumtowerError) as broken:
        open_read_only(tmp_path)
    assert broken.value.code == "database.corrupt"
