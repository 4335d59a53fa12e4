"""Taking a backup: one consistent snapshot of the store by pg_dump, while gateways and ticket centre go on.

Sources: PostgreSQL 17 documentation, pg_dump; TimescaleDB documentation, "Logical backup with pg_dump and pg_restore".
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from common.runtime.disk import sync
from common.runtime.errors import InvalidError
from gateway.backup import manifest, repo
from gateway.backup.folder import backup_folder
from gateway.backup.pictures import Copied, copy_files, write_list
from gateway.backup.programs import find_program, list_archive, run_program


class Watcher(Protocol):
    """Is told how far it has come."""

    def step(self, title: str, total: int) -> None:
        """Something begins that has so many parts; 0: nobody knows."""
        ...

    def advance(self, parts: int) -> None:
        """So many of them are done."""
        ...


def create(
    url: str, folder: Path, watcher: Watcher, *, programs: Path | None = None, evidence: Path | None = None
) -> manifest.Manifest:
    """Write a backup of the store into a new folder, or leave nothing there.

    Args:
        url: the store.
        folder: made here, for this account's eyes only: it holds what the store holds, hashes of credentials too.
        watcher: is told the progress.
        programs: where PostgreSQL's programs are.
        evidence: the folder of evidence, to be copied as well; None only names the files.

    Raises:
        ConfigError: when the folder cannot be used, or pg_dump is missing or too old.
        InvalidError: when this is no store.
        TransientError: when the database or pg_dump gives up, or the disk is full.
    """
    with backup_folder(folder):
        made = _write(url, folder, watcher, programs, evidence)
        manifest.write_manifest(folder, made)
    return made


def _write(
    url: str, folder: Path, watcher: Watcher, programs: Path | None, evidence: Path | None
) -> manifest.Manifest:
    """Everything but the manifest, which says that it is whole."""
    with repo.connect(url) as connection:
        major = repo.server_major(connection)
        pg_dump, dump_major = find_program("pg_dump", major, programs)
        pg_restore, _ = find_program("pg_restore", dump_major, programs)
        facts = repo.facts(connection)
        # Until the connection ends: whatever the snapshot names is there to be copied.
        repo.hold_evidence(connection)
        before = repo.evidence(connection)
        dump = folder / manifest.DUMP
        watcher.step("the store", facts.tables)
        run_program(
            [pg_dump, "--format=custom", "--compress=gzip:3", "--verbose", "--no-password", "--file", dump],
            repo.environment(url),
            lambda _table: watcher.advance(1),
        )
        _check(list_archive(pg_restore, dump), dump)
        # Of the snapshot, a little earlier and a little later: none is left out.
        rows = sorted({*before, *repo.evidence(connection)}, key=lambda row: row.sha256)
        write_list(folder / manifest.EVIDENCE_LIST, rows)
        watcher.step("evidence", sum(row.size for row in rows) if evidence else 0)
        to = folder / manifest.EVIDENCE
        copied = copy_files(rows, evidence, to, watcher.advance) if evidence else Copied()
    for path in (dump, folder / manifest.EVIDENCE_LIST):
        sync(path)
    return manifest.Manifest(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        postgresql=major,
        pg_dump=dump_major,
        timescaledb=facts.timescaledb,
        incarnation=facts.incarnation,
        migrations=[manifest.Step(*step) for step in facts.migrations],
        dump_bytes=dump.stat().st_size,
        dump_sha256=manifest.sha256_of(dump),
        evidence_files=len(rows),
        evidence_bytes=sum(row.size for row in rows),
        evidence_included=evidence is not None,
        evidence_missing=len(copied.missing),
    )


def _check(listed: list[str], dump: Path) -> None:
    """Whether what was written holds what a restore cannot do without."""
    for wanted in (
        "TABLE DATA public device_stream",
        "TABLE DATA public ticket_event",
        "TABLE DATA public store",
    ):
        if not any(wanted in line for line in listed):
            raise InvalidError(
                "backup.incomplete",
                f"expected {wanted!r} in {dump}, found it missing",
                "may the account of DRUMTOWER_DATABASE_URL read all tables?",
            )
