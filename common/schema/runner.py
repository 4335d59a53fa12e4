"""Migrations: plain SQL files, forward only, each in a transaction, locked and checksummed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import psycopg

from common.runtime.errors import InvalidError, TransientError

_NAME = re.compile(r"(?P<version>\d{4})_(?P<title>[a-z0-9_]+)\.sql")
_LOCK = 7_119_417_001  # "Drumtower is migrating"; any number that nobody else uses


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of its text, so that a file changed after it ran is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """The migrations of this release, in order."""
    folder = files("common.schema") / "migrations"
    found = [
        Migration(int(match["version"]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if (match := _NAME.fullmatch(entry.name))
    ]
    found.sort(key=lambda migration: migration.version)
    versions = [migration.version for migration in found]
    if len(set(versions)) != len(versions):
        raise InvalidError("schema.duplicate_version", f"expected one migration a version, got {versions}")
    return tuple(found)


def migrate(url: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Bring a database to this release; safe to run from several processes at once.

    Returns:
        The names of the migrations that ran now.

    Raises:
        TransientError: when the database cannot be reached.
        InvalidError: when a migration that ran was changed since, or the database is of a newer release.
    """
    steps = shipped() if migrations is None else tuple(migrations)
    try:
        connection = psycopg.connect(url, autocommit=True)
    except psycopg.OperationalError as error:
        raise TransientError(
            "schema.no_database",
            f"the database does not answer: {error}".strip(),
            "is it started, and is the URL right?",
        ) from error
    with connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        try:
            return _apply(connection, steps)
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _apply(connection: psycopg.Connection, steps: Sequence[Migration]) -> list[str]:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration (version integer PRIMARY KEY, name text NOT NULL,"
        " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    rows = connection.execute("SELECT version, name, checksum FROM schema_migration").fetchall()
    applied = {version: (name, checksum) for version, name, checksum in rows}
    if newer := sorted(set(applied) - {step.version for step in steps}):
        raise InvalidError(
            "schema.newer_database",
            f"the database has migrations {newer} that this release does not know",
            "run the release that made them, or a newer one",
        )
    ran = []
    for step in steps:
        if step.version in applied:
            if applied[step.version][1] != step.checksum:
                raise InvalidError(
                    "schema.changed_migration",
                    f"{step.name} ran with checksum {applied[step.version][1][:12]}, its file now has {step.checksum[:12]}",
                    "a migration is never edited after a release: restore the file and add a new one",
                )
            continue
        with connection.transaction():
            connection.execute(step.sql.encode())  # bytes: several statements, no parameters
            connection.execute(
                "INSERT INTO schema_migration (version, name, checksum) VALUES (%s, %s, %s)",
                [step.version, step.name, step.checksum],
            )
        ran.append(step.name)
    return ran
