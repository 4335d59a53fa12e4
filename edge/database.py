"""The box's one SQLite file: what must survive a power cut stands here, written by one process.

Source of the durability claim: SQLite, "PRAGMA synchronous": in WAL mode, FULL syncs the log at every commit.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from common.runtime.errors import DrumtowerError, TransientError
from common.runtime.log import get_logger
from edge.reserve import RESERVE_BYTES, Reserve

FILE_NAME: Final = "box.db"
_LAYOUT: Final = 1
#: Pages of log after which it is carried over into the database: little, so that the reserve need not be large.
_LOG_PAGES: Final = 256
#: Half a megabyte, which even a new file on a full disk may have.
_LEAST_PAGES: Final = 128
#: No block, no file or none of the account's share is left.
NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}
#: What beginning a life may want beyond what the file has.
_SPARE_PAGES: Final = 8
_log = get_logger("database")

_SCHEMA: Final = """
-- One row a life of this outbox; the last one is current. Numbers are never used twice within an epoch.
CREATE TABLE life (
    n         INTEGER PRIMARY KEY,
    epoch     INTEGER NOT NULL UNIQUE,
    next_seq  INTEGER NOT NULL DEFAULT 1,
    began_at  INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    forked    INTEGER NOT NULL DEFAULT 0,  -- another outbox issues numbers of this epoch too
    withdrawn INTEGER NOT NULL DEFAULT 0   -- numbers whose packets were issued anew under the next epoch
);
-- Numbered packets that are still held; id grows as they are numbered, whatever their epoch.
CREATE TABLE packet (
    id            INTEGER PRIMARY KEY,
    epoch         INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    kind          TEXT NOT NULL CHECK (kind IN ('readings', 'events', 'abandoned')),
    urgent        INTEGER NOT NULL GENERATED ALWAYS AS (kind <> 'readings') STORED,
    at            INTEGER NOT NULL,
    size          INTEGER NOT NULL,
    payload       BLOB NOT NULL,
    receipted_at  INTEGER,
    -- The store has it, going by a receipt that has a gap below: not to be sent, not to be let go either.
    settled       INTEGER NOT NULL DEFAULT 0,
    UNIQUE (epoch, seq)
);
CREATE INDEX packet_waiting ON packet (urgent, id) WHERE receipted_at IS NULL AND settled = 0;
CREATE INDEX packet_unreceipted ON packet (epoch, seq) WHERE receipted_at IS NULL;
CREATE INDEX packet_receipted ON packet (id) WHERE receipted_at IS NOT NULL;
-- What the held packets weigh, kept by triggers so that it is rolled back with them.
CREATE TABLE tally (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), bytes INTEGER NOT NULL);
INSERT INTO tally VALUES (1, 0);
CREATE TRIGGER packet_weighs AFTER INSERT ON packet
    BEGIN UPDATE tally SET bytes = bytes + new.size; END;
CREATE TRIGGER packet_weighed AFTER DELETE ON packet
    BEGIN UPDATE tally SET bytes = bytes - old.size; END;
-- Numbers that were given up without a receipt, each range announced in an abandoned packet.
CREATE TABLE given_up (
    epoch      INTEGER NOT NULL,
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    announced  INTEGER NOT NULL,  -- to the present incarnation of the store
    PRIMARY KEY (epoch, first)
);
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
-- Conditions that have started and not ended, so that a restart goes on with them under the same id.
CREATE TABLE open_observation (
    source          TEXT NOT NULL,
    category        TEXT NOT NULL,
    state           BLOB NOT NULL,
    PRIMARY KEY (source, category)
);
CREATE TABLE evidence (
    sha256        TEXT PRIMARY KEY,
    media_type    TEXT NOT NULL,
    size          INTEGER NOT NULL,
    severity      INTEGER NOT NULL,
    queued_at     INTEGER NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    receipted_at  INTEGER,
    parked        TEXT
);
"""


class DiskFullError(TransientError):
    """There is no room to accept more; what was accepted before is safe."""


class DatabaseInUseError(DrumtowerError):
    """Another process writes this data directory."""


class Database:
    """A box's SQLite file, opened for writing by this process alone.

    A file that is not a sound database is moved aside, never deleted, and a new one begun;
    ``moved_aside`` then names it.

    Args:
        directory: the box's data directory; made when missing.
        max_bytes: the file's own upper bound, a belt beside the outbox's cap; None for no bound.
        reserve_bytes: room kept on the disk for when it is full; see ``edge/reserve.py``.

    Raises:
        DatabaseInUseError: ``database.in_use``.
        DiskFullError: ``outbox.disk_full``; nothing is held then, and it may be tried again.
        DrumtowerError: ``database.unusable`` when the directory cannot be written.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int | None = None, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self.directory = directory
        self.path = directory / FILE_NAME
        self.moved_aside: Path | None = None
        self._lock = threading.RLock()
        self._depth = 0
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._claim = os.open(directory / "box.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise _full(str(error.strerror), self.path) from error
            raise DrumtowerError(
                "database.unusable",
                f"expected a directory that can be written at {directory}, got: {error.strerror}",
                "choose another with --data or DRUMTOWER_DATA",
            ) from error
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._claim)
            raise DatabaseInUseError(
                "database.in_use",
                f"expected to be the only agent on {directory}, but another process holds it",
                "end that agent first, or give this one a data directory of its own",
            ) from error
        with ExitStack() as unless_opened:
            unless_opened.callback(os.close, self._claim)
            self._reserve = Reserve(directory / "reserve", reserve_bytes)
            self._connection = self._open(max_bytes)
            unless_opened.callback(self._connection.close)
            with self.reading() as connection:
                (self._most_pages,) = connection.execute("PRAGMA max_page_count").fetchone()
                self._capped = False
                if reserve_bytes and not self._reserve.take():
                    self._cap()  # the disk was full before: what it still has is for the log
            unless_opened.pop_all()

    def close(self) -> None:
        """Close the file; every commit is already on disk."""
        with self._lock:
            self._connection.close()
            os.close(self._claim)

    @property
    def in_transaction(self) -> bool:
        """Whether this thread (no other can ask meanwhile) is inside a transaction."""
        with self._lock:
            return self._depth > 0

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; an inner transaction joins the outer one. Other threads wait.

        Raises:
            DiskFullError: ``outbox.disk_full``; nothing of the transaction was kept.
            DrumtowerError: ``database.corrupt`` when the file broke while in use: start again, and it is
                moved aside.
        """
        with self._lock:
            outermost = self._depth == 0
            self._depth += 1
            try:
                if outermost:
                    self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                if outermost:
                    self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise _translated(error, self.path) from error
            finally:
                self._depth -= 1
                if outermost:
                    self._roll_back()

    def stop_growing(self) -> None:
        """The disk is full: let the reserve go, carry the log over, and stay as large as that made the file.

        From then on a full file says so before anything is written, and what is given up makes room inside it.

        Raises:
            DiskFullError: the reserve was not enough, or somebody else took its room.
        """
        with self.reading() as connection:
            self._reserve.let_go()
            # Not truncated: the room that the log has is kept in it.
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            if not self._capped:
                self._cap()
                _log.error("database.disk_full", path=str(self.path), hint="free space on the box's disk")

    def _cap(self) -> None:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        most = min(max(pages + _SPARE_PAGES, _LEAST_PAGES), self._most_pages)
        self._connection.execute(f"PRAGMA max_page_count = {most}")
        self._capped = True

    def grow_again(self) -> bool:
        """Keep the reserve again, where the disk has room; whether the file may grow that could not before."""
        with self.reading() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            if not self._reserve.take() or not self._capped or pages >= self._most_pages:
                return False
            connection.execute(f"PRAGMA max_page_count = {self._most_pages}")
            self._capped = False
            _log.info("database.room_again", path=str(self.path))
            return True

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for looking only; other threads wait."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise _translated(error, self.path) from error

    def _roll_back(self) -> None:
        """Undo what was not committed, whatever kept it from that."""
        # After a commit there is nothing open, and SQLite rolls back by itself on some errors, a full disk among them.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _open(self, max_bytes: int | None) -> sqlite3.Connection:
        try:
            return self._connect(max_bytes)
        except sqlite3.DatabaseError as error:
            if not _is_corruption(error):
                raise self._told(error) from error
            self.moved_aside = self._move_aside()
            _log.error(
                "database.corrupt",
                found=str(error),
                moved_to=str(self.moved_aside),
                hint="packets in it that were not receipted are lost unless sqlite3 .recover saves them",
            )
        try:
            return _connect(self.path, max_bytes)
        except sqlite3.DatabaseError as error:
            raise self._told(error) from error

    def _connect(self, max_bytes: int | None) -> sqlite3.Connection:
        try:
            return _connect(self.path, max_bytes)
        except sqlite3.DatabaseError as error:
            if not self._has_no_room(error) or not self._reserve.held:
                raise
            self._reserve.let_go()
            return _connect(self.path, max_bytes)

    def _told(self, error: sqlite3.DatabaseError) -> DrumtowerError:
        return _full(str(error), self.path) if self._has_no_room(error) else _translated(error, self.path)

    def _has_no_room(self, error: sqlite3.DatabaseError) -> bool:
        """Whether a full disk is to blame; of a file that cannot be made SQLite says only that it cannot be opened."""
        return _is_full(error) or (
            _primary(error) == sqlite3.SQLITE_CANTOPEN and _takes_no_file(self.directory)
        )

    def _move_aside(self) -> Path:
        number = 1
        while (target := self.path.with_name(f"{FILE_NAME}.corrupt-{number}")).exists():
            number += 1
        self.path.rename(target)
        for suffix in ("-wal", "-shm"):
            beside = self.path.with_name(FILE_NAME + suffix)
            if beside.exists():
                beside.rename(target.with_name(target.name + suffix))
        return target


def open_read_only(directory: Path) -> sqlite3.Connection:
    """Look into a box's database beside the agent that writes it.

    Raises:
        DrumtowerError: ``database.missing`` or ``database.corrupt``.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise DrumtowerError(
            "database.missing",
            f"expected a box's {FILE_NAME} in {directory}, found nothing",
            "give the box's data directory, or run the box first",
        )
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)
        connection.execute("SELECT count(*) FROM life")
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    return connection


def _connect(path: Path, max_bytes: int | None) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    with ExitStack() as unless_prepared:
        unless_prepared.callback(connection.close)
        _prepare(connection, path, max_bytes)
        unless_prepared.pop_all()
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, max_bytes: int | None) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    if max_bytes is not None:
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA max_page_count = {max_bytes // page}")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _unsound(str(verdict))
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if layout == 0:
        connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {_LAYOUT};COMMIT;")
    elif layout != _LAYOUT:
        raise DrumtowerError(
            "database.layout",
            f"expected layout {_LAYOUT} of {path}, found {layout}",
            "this data directory was written by another release of Drumtower: run that one",
        )


def _unsound(verdict: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(verdict)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _primary(error: sqlite3.Error) -> int:
    """The primary result code: extended ones carry more in their upper bits."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_corruption(error: sqlite3.Error) -> bool:
    return _primary(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _is_full(error: sqlite3.Error) -> bool:
    # Writing fails with an I/O error, not SQLITE_FULL, where a quota or file size limit is in the way.
    return _primary(error) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


def _takes_no_file(directory: Path) -> bool:
    """Whether not even an empty file more finds room."""
    tried = directory / "room.new"
    try:
        tried.touch()
    except OSError as error:
        return error.errno in NO_ROOM
    tried.unlink()
    return False


def _full(found: str, path: Path) -> DiskFullError:
    return DiskFullError(
        "outbox.disk_full",
        f"expected room to write {path}, got: {found}",
        "free space on the box's disk, or lower outbox.max_mb; what was accepted before is safe",
    )


def _translated(error: sqlite3.Error, path: Path) -> DrumtowerError:
    if _is_corruption(error):
        return DrumtowerError(
            "database.corrupt",
            f"expected a sound database in {path}, got: {error}",
            "start the agent again: it moves the file aside and begins a new one",
        )
    if _is_full(error):
        return _full(str(error), path)
    return DrumtowerError("database.failed", f"expected {path} to answer, got: {error}", "")
