"""Evidence on disk: files named by their SHA-256, in parts until whole, whole only when verified and synced.

``{sha[0:2]}/{sha}.jpg`` (or ``.mp4``) is whole; ``partial/{device}/{sha}`` is what came so far. A file counts as
stored when its row is in the database, which is written after file and folder are synced.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from common.runtime.disk import sync
from common.runtime.errors import InvalidError, TransientError
from common.schema.evidence import SEALED_MEDIA_TYPE, SEALED_SUFFIX

_SUFFIX: Final = {"image/jpeg": ".jpg", "video/mp4": ".mp4"}
#: What the ticket centre puts there besides, and no box may send: sealed photos of reporters.
_KEPT: Final = {**_SUFFIX, SEALED_MEDIA_TYPE: SEALED_SUFFIX}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
#: No room on the disk, none left of the account's quota, or the largest file that this process may write.
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PART_MODE: Final = 0o640
_WHOLE_MODE: Final = 0o440


class BusyError(TransientError):
    """Another connection writes this file just now."""


class DiskFullError(TransientError):
    """The disk takes no more just now; what came so far is kept."""


@contextmanager
def _with_room() -> Iterator[None]:
    """Say in our words that the disk is full, or the account's share of it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(
            "evidence.disk_full",
            f"the disk for evidence takes no more: {error.strerror}",
            "free space where DRUMTOWER_EVIDENCE_DIR is; boxes keep their pictures and send them later",
        ) from error


class Part:
    """A file on its way, locked from the first byte until it is in its place or closed.

    The lock belongs to the open file, so what was verified is what is moved: nobody can write between the two.
    """

    def __init__(self, path: Path, sha256: str, offset: int) -> None:
        """Open, lock and cut; raises BusyError."""
        self.sha256 = sha256
        self._path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _PART_MODE)
        self._file = os.fdopen(descriptor, "r+b")
        # What was there when somebody asked how far it came may be gone: cut longer, it would begin with zeros.
        if not self._lock() or os.fstat(descriptor).st_size < offset:
            self._file.close()
            raise BusyError("evidence.busy", "another connection sends this file", "ask again")
        self._file.truncate(offset)
        self._file.seek(offset)

    def write(self, chunk: bytes) -> None:
        """Add some bytes; raises DiskFullError."""
        with _with_room():
            self._file.write(chunk)

    def close(self) -> None:
        """Sync what came and let others at it."""
        if self._file.closed:
            return
        with _with_room():
            try:
                self._sync()
            finally:
                self._file.close()

    def verify(self, media_type: str) -> int:
        """The size of what came, if it is what its name and type say; raises InvalidError and removes it if not."""
        with _with_room():
            self._sync()
        self._file.seek(0)
        head = self._file.read(16)
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256").hexdigest()
        if digest != self.sha256:
            self._path.unlink()
            raise InvalidError(
                "evidence.wrong_hash",
                f"expected content with SHA-256 {self.sha256}, got {digest}",
                "send it again",
            )
        if not _is_of_type(head, media_type):
            self._path.unlink()
            raise InvalidError(
                "evidence.not_media", f"expected a file of {media_type}, got one that begins {head[:8].hex()}"
            )
        return self._file.tell()

    def move_to(self, target: Path) -> None:
        """Put it in its place, never to be written again."""
        os.fchmod(self._file.fileno(), _WHOLE_MODE)
        self._path.replace(target)

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had the lock may have moved or removed the file meanwhile: then this is no part any more.
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except (BlockingIOError, FileNotFoundError):
            return False

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


class EvidenceFiles:
    """The folder of evidence.

    Args:
        directory: shared with the ticket centre, which reads.
        keep_free_bytes: what other users of the disk are left.
    """

    def __init__(self, directory: Path, keep_free_bytes: int) -> None:
        self._directory = directory
        self._keep_free_bytes = keep_free_bytes
        self._is_made()

    def path(self, sha256: str, media_type: str) -> Path:
        """Where a whole file is."""
        return whole_path(self._directory, sha256, media_type)

    def kept(self, device_id: int, sha256: str) -> int:
        """How many bytes of a file came so far."""
        return _size(self._partial(device_id, sha256))

    def partial_bytes(self, device_id: int) -> int:
        """How many bytes of a device wait to become whole files."""
        folder = self._directory / "partial" / str(device_id)
        return sum(_size(entry) for entry in folder.iterdir()) if folder.is_dir() else 0

    def has_room(self, size: int) -> bool:
        """Whether a file of that size leaves enough of the disk."""
        return self._is_made() and shutil.disk_usage(self._directory).free - size >= self._keep_free_bytes

    def open_part(self, device_id: int, sha256: str, offset: int) -> Part:
        """The part of a file that came so far, cut at ``offset`` and locked; the caller closes it.

        Raises:
            BusyError: when another connection writes it, or has just finished it.
            DiskFullError: when there is no room to begin.
        """
        path = self._partial(device_id, sha256)
        with _with_room():
            path.parent.mkdir(parents=True, exist_ok=True)
            return Part(path, sha256, offset)

    def finish(self, part: Part, media_type: str) -> int:
        """Verify a part that is complete and put it in its place, all under its lock; its size.

        Raises:
            InvalidError: when it is not what its name or type says; the part is thrown away.
            DiskFullError: when there is no room for it.
        """
        size = part.verify(media_type)
        target = self.path(part.sha256, media_type)
        with _with_room():
            target.parent.mkdir(exist_ok=True)
            part.move_to(target)
            sync(target.parent)
            sync(self._directory)
        return size

    def remove_old_parts(self, before: float) -> int:
        """Throw away parts not touched since (seconds of the Unix epoch); how many."""
        removed = 0
        for part in (self._directory / "partial").glob("*/*"):
            try:
                if part.stat().st_mtime < before:
                    part.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # it became whole meanwhile
        return removed

    def _is_made(self) -> bool:
        """Whether the folder is there; on a disk that was full at the start it is made once there is room."""
        try:
            (self._directory / "partial").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False
        return True

    def _partial(self, device_id: int, sha256: str) -> Path:
        return self._directory / "partial" / str(device_id) / sha256


def whole_path(directory: Path, sha256: str, media_type: str) -> Path:
    """Where a whole file is in a folder of evidence."""
    return directory / sha256[:2] / f"{sha256}{_KEPT[media_type]}"


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 in lower-case hexadecimal."""
    return _SHA256.fullmatch(text) is not None


def is_media_type(text: str) -> bool:
    """Whether evidence may be of this type."""
    return text in _SUFFIX


def is_kept_type(text: str) -> bool:
    """Whether the folder holds files of this type: those of evidence, and what the ticket centre puts there."""
    return text in _KEPT


def _is_of_type(head: bytes, media_type: str) -> bool:
    return head.startswith(b"\xff\xd8\xff") if media_type == "image/jpeg" else head[4:8] == b"ftyp"


def _size(part: Path) -> int:
    """Of a part that may become whole, or be thrown away, at any moment."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
