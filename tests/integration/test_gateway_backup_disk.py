"""A backup onto a disk that is full, or fills, and its evidence back onto one: said, with nothing left that looks whole."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import msgspec
import pytest

from common.runtime.errors import ConfigError, DrumtowerError, InvalidError, TransientError
from gateway.backup.folder import backup_folder
from gateway.backup.manifest import DUMP, EVIDENCE, EVIDENCE_LIST, MANIFEST, sha256_of
from gateway.backup.pictures import NOTES
from gateway.backup.programs import run_program
from gateway.backup.restore import restore
from gateway.evidence import whole_path
from local.processes import installed_binaries
from tests.fixtures.full_files import files_up_to
from tests.integration.gateway_rig import register, rows
from tests.integration.test_gateway_backup import Silent, bring_back, some_store, take

pytestmark = pytest.mark.services
#: Less than the dump of an empty store takes; and more than it, but less than the evidence.
_LITTLE, _SOME = 32 * 1024, 6 * 2**20


#: A folder for backups on a disk with so many bytes, and what to take them in.
Disk = Callable[[int], tuple[Path, AbstractContextManager[None]]]


@pytest.fixture(params=["disk", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A real small file system where this account may mount one; the kernel's own refusal of large files anywhere."""
    mounted: list[Path] = []

    def made(size: int) -> tuple[Path, AbstractContextManager[None]]:
        place = tmp_path / "disk"
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(place)]
        may_mount = request.param == "disk" and os.geteuid() == 0 and shutil.which("mount") is not None
        if not may_mount or subprocess.run(mount, capture_output=True, check=False).returncode:
            return place, files_up_to(size)
        mounted.append(place)
        return place, nullcontext()

    yield made
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A place, and what makes it read-only: its file system's mount, or for an account that may not mount, its mode."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        yield place, lambda: (place / "backup").chmod(0o500)
        (place / "backup").chmod(0o700)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root writes whatever the mode is, and may mount nothing here")

    def freeze() -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)

    yield place, freeze
    subprocess.run(["umount", str(place)], check=True)


def pictures(url: str, evidence: Path, *sizes: int) -> list[Path]:
    """A store that knows pictures of so many bytes, and where they are; in the order in which they are copied."""
    register(url, "kiln", "box-0")
    made = []
    for number, size in enumerate(sizes):
        content = b"\xff\xd8\xff" + bytes([number]) * (size - 3)
        sha256 = hashlib.sha256(content).hexdigest()
        path = whole_path(evidence, sha256, "image/jpeg")
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        insert = "INSERT INTO evidence SELECT %s, 'image/jpeg', %s, device_id FROM device RETURNING 1"
        rows(url, insert, sha256, size)
        made.append(path)
    return sorted(made)


def add_later_picture(backup: Path) -> Path:
    """One more in a backup, as if it had come after the snapshot of the store."""
    content = b"\xff\xd8\xff later"
    sha256 = hashlib.sha256(content).hexdigest()
    later = whole_path(backup / EVIDENCE, sha256, "image/jpeg")
    later.parent.mkdir(exist_ok=True)
    later.write_bytes(content)
    with (backup / EVIDENCE_LIST).open("a", encoding="ascii") as listed:
        listed.write(f"{sha256} {len(content)} image/jpeg\n")
    return later


def assert_full(error: DrumtowerError, folder: Path) -> None:
    """It says what was expected, what was found and what to do, and nothing is left."""
    assert (error.code, type(error)) == ("backup.disk_full", TransientError)
    assert f"room for the whole backup in {folder}" in error.message
    assert "larger disk" in error.hint
    assert not folder.exists()
    assert list(folder.parent.iterdir()) == []


def test_a_disk_that_fills_under_the_dump_is_said_and_nothing_is_left(database_url: str, disk: Disk) -> None:
    some_store(database_url).close()
    place, refusing = disk(_LITTLE)
    with refusing, pytest.raises(TransientError) as caught:
        take(database_url, place / "backup")
    assert_full(caught.value, place / "backup")


def test_a_disk_that_fills_under_the_evidence_is_said_and_nothing_is_left(
    database_url: str, disk: Disk, tmp_path: Path
) -> None:
    evidence = tmp_path / "evidence"
    pictures(database_url, evidence, 2 * _SOME)
    place, refusing = disk(_SOME)
    with refusing:
        with pytest.raises(TransientError) as caught:
            take(database_url, place / "backup", evidence)
        assert_full(caught.value, place / "backup")
        made = take(database_url, place / "backup")
    assert made.evidence_files == 1, "once there is room, into the same folder: here without the pictures"


def test_a_disk_that_fills_under_restored_evidence_is_said_before_the_database_is_touched(
    database_url: str, empty_url: str, disk: Disk, tmp_path: Path
) -> None:
    # One of them fits, whichever comes first; the kernel's refusal lets none through that is too large.
    pictures(database_url, tmp_path / "evidence", _SOME // 2 - 1000, _SOME + 1000)
    take(database_url, tmp_path / "backup", tmp_path / "evidence")
    place, refusing = disk(_SOME)
    with refusing, pytest.raises(TransientError) as caught:
        bring_back(empty_url, tmp_path / "backup", place / "evidence")
    assert caught.value.code == "backup.disk_full"
    assert (
        f"room for the backup's evidence in {place / 'evidence'}, found the disk full ("
        in caught.value.message
    )
    assert "restore again" in caught.value.hint
    left = [path for path in (place / "evidence").rglob("*") if path.is_file() and path.name != NOTES]
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.stem for path in left), "no half picture"
    assert rows(empty_url, "SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    assert bring_back(empty_url, tmp_path / "backup", tmp_path / "larger") == 0
    assert rows(empty_url, "SELECT count(*)::int FROM evidence") == [(2,)]


def test_a_restore_goes_on_with_the_evidence_that_is_missing_still(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    first, last = pictures(database_url, tmp_path / "evidence", 40_000, 50_000)
    take(database_url, tmp_path / "backup", tmp_path / "evidence")
    back = tmp_path / "restored"
    here = [back / path.relative_to(tmp_path / "evidence") for path in (first, last)]
    here[1].parent.mkdir(parents=True)
    blocked = here[1].with_name(f".{here[1].name}.partial")
    blocked.mkdir()
    with pytest.raises(TransientError, match=re.escape(str(blocked))) as caught:
        bring_back(empty_url, tmp_path / "backup", back)
    assert caught.value.code == "backup.evidence_not_restored"
    assert [path.exists() for path in here] == [True, False]
    made_at = here[0].stat().st_mtime_ns
    blocked.rmdir()
    assert bring_back(empty_url, tmp_path / "backup", back) == 0
    assert (here[0].stat().st_mtime_ns, here[1].read_bytes()) == (made_at, last.read_bytes())


def test_a_picture_that_cannot_be_put_in_its_place_leaves_no_part_behind(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    (known,) = pictures(database_url, tmp_path / "evidence", 1000)
    take(database_url, tmp_path / "backup", tmp_path / "evidence")
    place = tmp_path / "restored" / known.relative_to(tmp_path / "evidence")
    place.mkdir(parents=True)
    with pytest.raises(TransientError, match="Is a directory") as caught:
        bring_back(empty_url, tmp_path / "backup", tmp_path / "restored")
    assert caught.value.code == "backup.evidence_not_restored"
    assert list(place.parent.glob(".*.partial")) == []


def test_a_picture_that_came_after_the_stores_snapshot_is_not_left_behind(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    (known,) = pictures(database_url, tmp_path / "evidence", 1000)
    take(database_url, tmp_path / "backup", tmp_path / "evidence")
    add_later_picture(tmp_path / "backup")
    assert bring_back(empty_url, tmp_path / "backup", tmp_path / "restored") == 0
    came = [path for path in (tmp_path / "restored").rglob("*") if path.is_file()]
    assert [path.name for path in came] == [known.name]


def test_what_an_attempt_that_broke_off_brought_is_not_left_behind_by_the_next_one(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    (known,) = pictures(database_url, tmp_path / "evidence", 1000)
    take(database_url, tmp_path / "backup", tmp_path / "evidence")
    later = add_later_picture(tmp_path / "backup")
    back = tmp_path / "restored"
    dump, manifest = tmp_path / "backup" / DUMP, tmp_path / "backup" / MANIFEST
    whole, said = dump.read_bytes(), manifest.read_bytes()
    dump.write_bytes(whole[:-2000])
    manifest.write_bytes(msgspec.json.encode({**msgspec.json.decode(said), "dump_sha256": sha256_of(dump)}))
    with pytest.raises(TransientError, match="pg_restore ended with 1"):
        bring_back(empty_url, tmp_path / "backup", back)
    assert {path.name for path in back.rglob("*") if path.is_file()} == {known.name, later.name, NOTES}
    dump.write_bytes(whole)
    manifest.write_bytes(said)
    notes = (back / NOTES).read_bytes()
    (back / NOTES).write_bytes(notes[:20])
    with pytest.raises(InvalidError, match="line 1 is") as caught:
        bring_back(empty_url, tmp_path / "backup", back)
    assert caught.value.hint.startswith("remove it and restore again")
    (back / NOTES).write_bytes(notes)
    assert bring_back(empty_url, tmp_path / "backup", back) == 0
    assert [path.name for path in back.rglob("*") if path.is_file()] == [known.name]


def test_a_list_of_evidence_that_cannot_be_read_is_said_before_anything_is_touched(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    pictures(database_url, tmp_path / "evidence", 1000)
    take(database_url, tmp_path / "backup")
    listed = tmp_path / "backup" / EVIDENCE_LIST
    for line in ("ab 12", f"{'0' * 64} 12 image/webp"):
        listed.write_text(f"{line}\n", encoding="ascii")
        with pytest.raises(InvalidError, match=f"line 1 is '{line}'") as caught:
            bring_back(empty_url, tmp_path / "backup", tmp_path / "restored")
        assert caught.value.code == "backup.damaged"
    listed.unlink()
    with pytest.raises(InvalidError, match="No such file"):
        bring_back(empty_url, tmp_path / "backup", tmp_path / "restored")
    assert rows(empty_url, "SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    assert bring_back(empty_url, tmp_path / "backup") is None, "without the evidence it comes back"


def test_a_server_without_the_backups_timescaledb_is_said_before_any_evidence_is_copied(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    pictures(database_url, tmp_path / "evidence", 1000)
    take(database_url, tmp_path / "backup", tmp_path / "evidence")
    manifest = tmp_path / "backup" / MANIFEST
    manifest.write_bytes(
        msgspec.json.encode({**msgspec.json.decode(manifest.read_bytes()), "timescaledb": "1.0.0"})
    )
    with pytest.raises(
        InvalidError, match=r"has TimescaleDB 1\.0\.0, as the backup does, found \d"
    ) as caught:
        bring_back(empty_url, tmp_path / "backup", tmp_path / "restored")
    assert caught.value.code == "backup.timescaledb"
    assert not (tmp_path / "restored").exists()


class Dropping(Silent):
    """Ends the restore's connections while pictures are copied."""

    def __init__(self, url: str) -> None:
        self._url, self._copying = url, False

    def step(self, title: str, total: int) -> None:
        """Which one it is."""
        self._copying = title == "evidence"

    def advance(self, parts: int) -> None:
        """A picture is there."""
        if self._copying:
            drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drumtower backup'"
            rows(self._url, f"{drop} AND datname = current_database()")


def test_a_restore_whose_connections_are_dropped_while_it_copies_evidence_goes_on(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    pictures(database_url, tmp_path / "evidence", 1000)
    take(database_url, tmp_path / "backup", tmp_path / "evidence")
    programs, back = installed_binaries().postgres_programs, tmp_path / "restored"
    done = restore(empty_url, tmp_path / "backup", Dropping(empty_url), programs=programs, evidence=back)
    assert (done.evidence_copied, done.evidence_missing) == (1, 0)


def test_the_command_says_it_too(database_url: str, disk: Disk) -> None:
    some_store(database_url).close()
    place, refusing = disk(_LITTLE)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DRUMTOWER_")}
    environment |= {"DRUMTOWER_DATABASE_URL": database_url, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "common.runtime.cli", "backup", "create", str(place / "backup")]
    programs = str(installed_binaries().postgres_programs)
    with refusing:
        ran = subprocess.run(
            [*command, "--programs", programs],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=100,
        )
    assert ran.returncode == 1, ran.stderr
    assert "backup.disk_full" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (place / "backup").exists()


def test_a_folder_that_was_there_stays_and_is_empty_again(tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()

    def fail() -> None:
        (folder / "evidence" / "ab").mkdir(parents=True)
        (folder / "evidence" / "ab" / "picture").write_bytes(b"half")
        (folder / "store.dump").write_bytes(b"half")
        raise PermissionError(13, "Permission denied", "/elsewhere/picture")

    with (
        pytest.raises(TransientError, match=r"Permission denied \(/elsewhere/picture\)") as caught,
        backup_folder(folder),
    ):
        fail()
    assert caught.value.code == "backup.not_written"
    assert list(folder.iterdir()) == []
    (folder / "mine").write_bytes(b"")
    with pytest.raises(ConfigError, match="empty folder"), backup_folder(folder):
        pytest.fail("nothing is written there")
    assert (folder / "mine").exists(), "what was there before is nobody's to remove"


def test_a_disk_that_turns_read_only_is_said_although_nothing_can_be_removed_from_it(
    read_only: tuple[Path, Callable[[], None]],
) -> None:
    place, freeze = read_only
    folder = place / "backup"

    def write() -> None:
        (folder / "store.dump").write_bytes(b"half")
        freeze()
        (folder / "evidence.txt").write_bytes(b"")

    with pytest.raises(TransientError, match=r"evidence\.txt") as caught, backup_folder(folder):
        write()
    assert caught.value.code == "backup.not_written"
    assert (folder / "store.dump").exists()


def test_a_full_disk_that_cannot_be_measured_is_said_without_figures(tmp_path: Path) -> None:
    folder = tmp_path / "backup"

    def vanish() -> None:
        folder.rename(tmp_path / "elsewhere")
        raise OSError(28, "No space left on device")

    full = r"found the disk full: No space left"
    with pytest.raises(TransientError, match=full) as caught, backup_folder(folder):
        vanish()
    assert caught.value.code == "backup.disk_full"


def test_a_program_that_may_not_be_run_is_not_called_the_disks_fault(tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    with pytest.raises(TransientError) as caught, backup_folder(tmp_path / "backup"):
        run_program([program], {}, lambda _: None)
    assert "to run PostgreSQL's programs" in caught.value.message
    assert f"Permission denied ({program})" in caught.value.message
    assert "see to what it names" in caught.value.hint
