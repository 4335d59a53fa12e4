"""Restoring a backup into an empty database.

Nobody may work with half a store, and boxes must learn that this is another one before anything is committed to it:

1. Evidence that the folder of evidence lacks is copied there: files of which no store knows yet do no harm, and where the
   disk takes no more of them the database is as empty as before, so the same command may be given again. Which files they
   are is noted there first, so that a later attempt knows what an earlier one brought.
2. All but one table comes in *one* transaction: until it commits, everybody else sees an empty database, and when it
   fails the database is empty again.
3. Evidence that came and of which the restored store knows nothing is taken out again.
4. The store gets a new incarnation. ``partition_lease`` is still missing, so no gateway can commit anything before.
5. The leases come, with fencing numbers that no gateway of the lost store can hold.

Source: TimescaleDB documentation, "Logical backup with pg_dump and pg_restore": the same version of the extension,
``timescaledb_pre_restore()`` and ``timescaledb_post_restore()`` around it, and no parallel jobs.
"""

from __future__ import annotations

import re
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.runtime.errors import InvalidError
from common.schema.runner import migrate, shipped
from gateway.backup import manifest, repo
from gateway.backup.create import Watcher
from gateway.backup.folder import evidence_folder
from gateway.backup.pictures import copy_files, forget_notes, missing_of, note_files, read_list, remove_files
from gateway.backup.programs import find_program, list_archive, run_program
from gateway.fleet.repo import Connection

#: A line of an archive's contents about the table without which nothing is committed.
_LEASES: Final = re.compile(r"^\d+; .* public partition_lease\b")

#: For so long PostgreSQL may still show a connection that was closed, one of this restore's own among them.
_LEAVING_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore came to; ``evidence_missing`` files are neither in the folder of evidence nor in the backup."""

    incarnation: str
    migrated: list[str]
    evidence_copied: int
    evidence_missing: int | None


def restore(
    url: str, folder: Path, watcher: Watcher, *, programs: Path | None = None, evidence: Path | None = None
) -> Restored:
    """Bring a backup back into an empty database and make it a new incarnation of the store.

    Args:
        url: the empty database.
        folder: the backup.
        watcher: is told the progress.
        programs: where PostgreSQL's programs are.
        evidence: the folder of evidence, which is completed from the backup; None leaves it alone.

    Raises:
        InvalidError: when the backup or the database cannot be used. Nothing was changed then; only where the database
            was taken while the evidence was copied, that evidence is there.
        ConfigError: when pg_restore is missing or too old.
        TransientError: when the database or pg_restore gives up, or the disk takes no more evidence; the database is
            empty then.
    """
    made = manifest.read_manifest(folder)
    dump = folder / manifest.DUMP
    pg_restore, _ = find_program("pg_restore", made.pg_dump, programs)
    _check_release(made)
    watcher.step("checking the backup", 0)
    if manifest.sha256_of(dump) != made.dump_sha256:
        raise InvalidError(
            "backup.damaged", f"expected {dump} as it was written, found it changed", "use another backup"
        )
    contents = list_archive(pg_restore, dump)
    with repo.connect(url) as connection:
        _check_empty(connection)
        repo.require_timescaledb(connection, made.timescaledb)
    came, noted = _bring_evidence(folder, evidence, watcher)
    # The copying took its time, and a connection that idles may be dropped.
    with repo.connect(url) as connection:
        _check_empty(connection)
        repo.prepare(connection, made.timescaledb)
    try:
        watcher.step("the store", sum("TABLE DATA" in line for line in contents))
        _run(pg_restore, dump, url, [line for line in contents if not _LEASES.match(line)], watcher)
    finally:
        with repo.connect(url) as connection:
            repo.wake(connection)
    watcher.step("a new incarnation", 0)
    with repo.connect(url) as connection:
        rows = repo.evidence(connection)
        # The list names what came while the backup was taken as well: of that the store may know nothing. Taken out while
        # no gateway can take a picture in, which might be one of them.
        if evidence is not None:
            _remove_strangers(set(noted) - set(rows), evidence)
        incarnation = repo.begin_incarnation(connection)
        _run(pg_restore, dump, url, [line for line in contents if _LEASES.match(line)], watcher)
        repo.void_leases(connection)
        migrated = migrate(url)
        repo.analyze(connection)
    if evidence is None:
        return Restored(incarnation, migrated, 0, None)
    return Restored(incarnation, migrated, len(set(came) & set(rows)), missing_of(rows, evidence))


def begin_anew(url: str) -> str:
    """Make a store that was restored by other means a new incarnation, so that boxes send again; its name.

    Raises:
        InvalidError: when this is no store.
        TransientError: when the database went away.
    """
    with repo.connect(url) as connection:
        repo.facts(connection)
        incarnation = repo.begin_incarnation(connection)
        repo.void_leases(connection)
        return incarnation


def _bring_evidence(
    folder: Path, evidence: Path | None, watcher: Watcher
) -> tuple[list[repo.EvidenceRow], list[repo.EvidenceRow]]:
    """Complete a folder of evidence from a backup; which files came, and which came or were to in earlier attempts too."""
    if evidence is None:
        return [], []
    rows = read_list(folder / manifest.EVIDENCE_LIST)
    watcher.step("evidence", sum(row.size for row in rows))
    with evidence_folder(evidence):
        noted = note_files(rows, evidence)
        return copy_files(rows, folder / manifest.EVIDENCE, evidence, watcher.advance).came, noted


def _remove_strangers(strangers: set[repo.EvidenceRow], evidence: Path) -> None:
    """As far as the disk lets it: they do no harm, and the store is not yet what gateways can work with."""
    with suppress(OSError):
        remove_files(strangers, evidence)
        forget_notes(evidence)


def _check_release(made: manifest.Manifest) -> None:
    known = {step.version: step.checksum for step in shipped()}
    newer = [step.name for step in made.migrations if step.version not in known]
    changed = [
        step.name for step in made.migrations if known.get(step.version, step.checksum) != step.checksum
    ]
    if newer or changed:
        raise InvalidError(
            "backup.newer",
            f"expected a backup of this release or an older one, found steps that it does not know: {newer + changed}",
            "restore it with the release that made it, or a newer one",
        )


def _check_empty(connection: Connection) -> None:
    if found := repo.contents(connection):
        raise InvalidError(
            "backup.not_empty",
            f"expected an empty database, found {', '.join(found)} …",
            "create a new one (createdb NAME) and name it in DRUMTOWER_DATABASE_URL",
        )
    deadline = time.monotonic() + _LEAVING_S
    while found := repo.others(connection):
        if time.monotonic() > deadline:
            raise InvalidError(
                "backup.in_use",
                f"expected nobody else in the database, found {', '.join(sorted(set(found)))}",
                "stop gateways and ticket centre until the restore is done",
            )
        time.sleep(_LEAVING_S / 20)


def _run(pg_restore: Path, dump: Path, url: str, contents: list[str], watcher: Watcher) -> None:
    """Restore some of an archive, all of it or nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as chosen:
        chosen.write("\n".join(contents) + "\n")
        chosen.flush()
        run_program(
            [
                *(pg_restore, "--single-transaction", "--no-owner", "--no-privileges", "--verbose"),
                *("--no-password", f"--use-list={chosen.name}", f"--dbname={repo.database_name(url)}", dump),
            ],
            repo.environment(url),
            lambda _table: watcher.advance(1),
        )
