"""A backup onto a disk that is full, or fills: said with what to do, and nothing is left that looks like a backup."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from common.runtime.errors import ConfigError, DrumtowerError, TransientError
from gateway.backup.folder import backup_folder
from gateway.evidence import whole_path
from local.processes import installed_binaries
from tests.integration.gateway_rig import register, rows
from tests.integration.test_gateway_backup import some_store, take

pytestmark = pytest.mark.services
#: Less than the dump of an empty store takes; and more than it, but less than the evidence.
_LITTLE, _SOME = 32 * 1024, 6 * 2**20


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let the kernel refuse to write any file of this process, and of those that it starts, beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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
