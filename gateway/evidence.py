"""Evidence on disk: files named by their SHA-256, in parts until whole, whole only when verified and synced.

``{sha[0:2]}/{sha}.jpg`` (or ``.mp4``) is whole; ``partial/{device}/{sha}`` is what came so far. A file counts as
stored when its row is in the database, which is written after file and folder are synced.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from common.runtime.errors import InvalidError, TransientError

_SUFFIX: Final = {"image/jpeg": ".jpg", "video/mp4": ".mp4"}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class BusyError(TransientError):
    """Another connection writes this file just now."""


class EvidenceFiles:
    """The folder of evidence.

    Args:
        directory: shared with the ticket centre, which reads.
        keep_free_bytes: what other users of the disk are left.
    """

    def __init__(self, directory: Path, keep_free_bytes: int) -> None:
        self._directory = directory
        self._keep_free_bytes = keep_free_bytes
        (directory / "partial").mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str, media_type: str) -> Path:
        """Where a whole file is."""
        return self._directory / sha256[:2] / f"{sha256}{_SUFFIX[media_type]}"

    def kept(self, device_id: int, sha256: str) -> int:
        """How many bytes of a file came so far."""
        try:
            return self._partial(device_id, sha256).stat().st_size
        except FileNotFoundError:
            return 0

    def partial_bytes(self, device_id: int) -> int:
        """How many bytes of a device wait to become whole files."""
        folder = self._directory / "partial" / str(device_id)
        return sum(entry.stat().st_size for entry in folder.iterdir()) if folder.is_dir() else 0

    def has_room(self, size: int) -> bool:
        """Whether a file of that size leaves enough of the disk."""
        return shutil.disk_usage(self._directory).free - size >= self._keep_free_bytes

    @contextmanager
    def writing(self, device_id: int, sha256: str, offset: int) -> Iterator[BinaryIO]:
        """The part of a file that came so far, cut at ``offset`` and open for more; synced in the end.

        Raises:
            BusyError: when another connection writes it.
        """
        path = self._partial(device_id, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError("evidence.busy", "another connection sends this file", "ask again") from error
            file.truncate(offset)
            file.seek(offset)
            try:
                yield file
            finally:
                file.flush()
                os.fsync(descriptor)

    def finish(self, device_id: int, sha256: str, media_type: str) -> int:
        """Verify a part that is complete and put it in its place; its size.

        Raises:
            InvalidError: when it is not what its name or type says; the part is thrown away.
        """
        path = self._partial(device_id, sha256)
        with path.open("rb") as file:
            head = file.read(16)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256:
            path.unlink()
            raise InvalidError(
                "evidence.wrong_hash",
                f"expected content with SHA-256 {sha256}, got {digest}",
                "send it again",
            )
        if not _is_of_type(head, media_type):
            path.unlink()
            raise InvalidError(
                "evidence.not_media", f"expected a file of {media_type}, got one that begins {head[:8].hex()}"
            )
        size = path.stat().st_size
        target = self.path(sha256, media_type)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        _sync(target.parent)
        _sync(self._directory)
        return size

    def remove_old_parts(self, before: float) -> int:
        """Throw away parts not touched since (seconds of the Unix epoch); how many."""
        old = [part for part in (self._directory / "partial").glob("*/*") if part.stat().st_mtime < before]
        for part in old:
            part.unlink(missing_ok=True)
        return len(old)

    def _partial(self, device_id: int, sha256: str) -> Path:
        return self._directory / "partial" / str(device_id) / sha256


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 in lower-case hexadecimal."""
    return _SHA256.fullmatch(text) is not None


def is_media_type(text: str) -> bool:
    """Whether evidence may be of this type."""
    return text in _SUFFIX


def _is_of_type(head: bytes, media_type: str) -> bool:
    return head.startswith(b"\xff\xd8\xff") if media_type == "image/jpeg" else head[4:8] == b"ftyp"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
