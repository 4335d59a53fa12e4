"""A backup onto a disk that is full, or fills: said with what to do, and nothing is left that looks like a backup."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from common.runtime.errors import ConfigError, DrumtowerError, TransientError
from gateway.backup.folder import backup_folder
from gateway.backup.programs import run_program
from gateway.evidence import whole_path
from local.processes import installed_binaries
from tests.fixtures.full_files import files_up_to
from tests.integration.gateway_rig import register, rows
from tests.integration.test_gateway_backup import some_store, take

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
    register(database_url, "kiln", "box-0")
    evidence = tmp_path / "evidence"
    content = b"\xff\xd8\xff" + bytes(2 * _SOME)
    sha256 = hashlib.sha256(content).hexdigest()
    path = whole_path(evidence, sha256, "image/jpeg")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    insert = "INSERT INTO evidence SELECT %s, 'image/jpeg', %s, device_id FROM device RETURNING 1"
    rows(database_url, insert, sha256, len(content))
    place, refusing = disk(_SOME)
    with refusing:
        with pytest.raises(TransientError) as caught:
            take(database_url, place / "backup", evidence)
        assert_full(caught.value, place / "backup")
        made = take(database_url, place / "backup")
    assert made.evidence_files == 1, "once there is room, into the same folder: here without the pictures"


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
