"""Pictures that prove observations, kept on the box until the district has them.

A file is named by its SHA-256 and synced before anything speaks of it. Sending is ``edge/upload.py``'s matter.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from common.runtime.clock import Clock
from common.runtime.disk import sync
from common.runtime.log import get_logger
from edge.database import NO_ROOM, Database, DiskFullError
from edge.outbox_keeping import Keeping

MediaType = Literal["image/jpeg", "video/mp4"]
_SUFFIXES: Final[dict[str, str]] = {"image/jpeg": ".jpg", "video/mp4": ".mp4"}
_log = get_logger("evidence")


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """One file that waits to be sent."""

    sha256: str
    media_type: str
    size: int
    path: Path
    attempts: int


@dataclass(frozen=True, slots=True)
class EvidenceStats:
    """Counts of now."""

    waiting: int
    parked: int
    held_bytes: int


class EvidenceStore:
    """The files and their queue.

    Args:
        database: the box's.
        clock: when files were queued and receipted.
        max_bytes: cap of all files; beyond it receipted ones go first, then the least severe, oldest first.
        keep_receipted_s: how long files are kept after the district has them.

    Raises:
        DiskFullError: there is no room to begin.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        max_bytes: int = 128_000_000,
        keep_receipted_s: float = 48 * 3600.0,
    ) -> None:
        self._database = database
        self._directory = database.directory / "evidence"
        self._clock = clock
        self._max_bytes = max_bytes
        self._keeping = Keeping("evidence", database, clock, keep_receipted_s)
        self.given_up = 0
        try:
            self._directory.mkdir(exist_ok=True)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise _full(self._directory, error) from error
        self._agree()

    def keep(self, content: bytes, media_type: MediaType, severity: int) -> str:
        """Keep a file and queue it for sending.

        Args:
            content: the whole file.
            media_type: what it is.
            severity: of the observation that it proves, 1 to 4; the severer goes first and stays longer.

        Returns:
            Its SHA-256, in hexadecimal.

        Raises:
            DiskFullError: ``evidence.disk_full``; nothing was kept.
        """
        name = hashlib.sha256(content).hexdigest()
        path = self._directory / (name + _SUFFIXES[media_type])
        try:
            _write_synced(path, content)
        except OSError as error:
            path.with_name(path.name + ".new").unlink(missing_ok=True)
            raise _full(path, error) from error
        try:
            with self._database.transaction() as connection:
                connection.execute(
                    "INSERT INTO evidence (sha256, media_type, size, severity, queued_at) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT (sha256) DO NOTHING",
                    (name, media_type, len(content), severity, self._clock.now_ms()),
                )
                gone = self._make_room(connection, name)
        except DiskFullError:
            # A file that nothing speaks of would count towards no cap, and take what room there is.
            if not self._knows(name):
                path.unlink(missing_ok=True)
            raise
        self._remove(gone)
        return name

    def next(self, but: Set[str] = frozenset()) -> StoredEvidence | None:
        """What to send now but these: the severest first, of those the oldest."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT sha256, media_type, size, attempts FROM evidence WHERE receipted_at IS NULL "
                "AND parked IS NULL AND sha256 NOT IN (SELECT value FROM json_each(?)) "
                "ORDER BY severity DESC, queued_at, sha256 LIMIT 1",
                (json.dumps(sorted(but)),),
            ).fetchone()
        if row is None:
            return None
        sha256, media_type, size, attempts = row
        return StoredEvidence(
            sha256, media_type, size, self._directory / (sha256 + _SUFFIXES[media_type]), attempts
        )

    def unsent(self) -> set[str]:
        """All that waits, by SHA-256."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT sha256 FROM evidence WHERE receipted_at IS NULL AND parked IS NULL"
            ).fetchall()
        return {sha256 for (sha256,) in rows}

    def receipted(self, sha256: str) -> None:
        """The district has it."""
        try:
            self._note_receipt(sha256)
        except DiskFullError:
            if self._database.grow_again():
                self._note_receipt(sha256)
                return
            # No room to note that: without the file there is. It would be kept for a restored store only.
            self._database.stop_growing()
            with self._database.transaction() as connection:
                gone = connection.execute(
                    "DELETE FROM evidence WHERE sha256 = ? RETURNING sha256, media_type", (sha256,)
                ).fetchall()
            self._remove(gone)

    def _note_receipt(self, sha256: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE evidence SET receipted_at = ? WHERE sha256 = ?", (self._clock.now_ms(), sha256)
            )

    def attempted(self, sha256: str) -> None:
        """One more try did not succeed."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE evidence SET attempts = attempts + 1 WHERE sha256 = ?", (sha256,))

    def park(self, sha256: str, reason: str) -> None:
        """It was refused for good: keep it, do not send it again."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE evidence SET parked = ? WHERE sha256 = ?", (reason, sha256))

    def trim(self) -> None:
        """Let go of files that the district has had for long enough."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "DELETE FROM evidence WHERE receipted_at < ? RETURNING sha256, media_type",
                (self._keeping.limit_ms(connection),),
            ).fetchall()
        self._keeping.looked()
        self._remove(rows)

    def stats(self) -> EvidenceStats:
        """The counts of now."""
        with self._database.reading() as connection:
            waiting, parked, held = connection.execute(
                "SELECT count(*) FILTER (WHERE receipted_at IS NULL AND parked IS NULL), "
                "count(*) FILTER (WHERE parked IS NOT NULL), coalesce(sum(size), 0) FROM evidence"
            ).fetchone()
        return EvidenceStats(waiting, parked, held)

    def _make_room(self, connection: sqlite3.Connection, keep: str) -> list[tuple[str, str]]:
        (held,) = connection.execute("SELECT coalesce(sum(size), 0) FROM evidence").fetchone()
        gone: list[tuple[str, str]] = []
        rows = connection.execute(
            "SELECT sha256, media_type, size, receipted_at IS NULL FROM evidence WHERE sha256 <> ? "
            "ORDER BY receipted_at IS NULL, parked IS NULL, severity, queued_at",
            (keep,),
        ).fetchall()
        for sha256, media_type, weight, unsent in rows:
            if held <= self._max_bytes:
                break
            connection.execute("DELETE FROM evidence WHERE sha256 = ?", (sha256,))
            gone.append((sha256, media_type))
            held -= weight
            if unsent:
                self.given_up += 1
                _log.error("evidence.given_up", sha256=sha256, hint="raise evidence.max_mb, or mend the line")
        return gone

    def _knows(self, sha256: str) -> bool:
        with self._database.reading() as connection:
            found = connection.execute("SELECT 1 FROM evidence WHERE sha256 = ?", (sha256,)).fetchone()
        return found is not None

    def _agree(self) -> None:
        """Make files and rows agree after a power cut, and give what was refused by credential a new chance."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE evidence SET parked = NULL WHERE parked LIKE '401 %' OR parked LIKE '403 %'"
            )
            rows = connection.execute("SELECT sha256, media_type FROM evidence").fetchall()
            known = {sha256 + _SUFFIXES[media_type]: sha256 for sha256, media_type in rows}
            found = {path.name for path in self._directory.iterdir()}
            for name in known.keys() - found:
                _log.error("evidence.missing", sha256=known[name], hint="the file was removed from the box")
                connection.execute("DELETE FROM evidence WHERE sha256 = ?", (known[name],))
        for name in found - known.keys():
            (self._directory / name).unlink()

    def _remove(self, rows: list[tuple[str, str]]) -> None:
        for sha256, media_type in rows:
            (self._directory / (sha256 + _SUFFIXES[media_type])).unlink(missing_ok=True)


def _full(path: Path, error: OSError) -> DiskFullError:
    return DiskFullError(
        "evidence.disk_full",
        f"expected room to write {path}, got: {error.strerror}",
        "free space on the box's disk, or lower evidence.max_mb",
    )


def _write_synced(path: Path, content: bytes) -> None:
    """The whole file or none, on disk before its name is."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync(path.parent)
