"""The statements of backup and restore, and what PostgreSQL's own programs need to know of the connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from common.runtime.errors import ConfigError, InvalidError, TransientError
from common.schema.evidence import REMOVAL_LOCK
from common.schema.outages import PASSING, notices_silence
from common.schema.trouble import trouble_of
from gateway.fleet.repo import Connection

#: Fencing numbers go on from so far beyond those of the backup: a gateway of the lost store may still hold a
#: number that the restored one would give out again.
_FENCING_GAP: Final = 1_000_000
_ENVIRONMENT: Final = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a store says of itself."""

    server_major: int
    timescaledb: str
    incarnation: str
    migrations: tuple[tuple[int, str, str], ...]
    tables: int
    bytes: int


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """A file that the store knows."""

    sha256: str
    media_type: str
    size: int


def environment(url: str) -> dict[str, str]:
    """A connection as variables of the environment: a password among a program's arguments would be seen by all.

    Raises:
        ConfigError: for a setting that cannot be said this way.
    """
    try:
        said = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ConfigError("config.no_database", f"expected a PostgreSQL URL: {error}".strip()) from error
    said.pop("application_name", None)
    if unknown := sorted(said.keys() - _ENVIRONMENT.keys()):
        raise ConfigError(
            "backup.connection",
            f"expected a URL whose settings pg_dump can be told, got {', '.join(unknown)} as well",
            "leave it out of DRUMTOWER_DATABASE_URL for the backup",
        )
    return {_ENVIRONMENT[key]: str(value) for key, value in said.items() if value is not None}


def database_name(url: str) -> str:
    """The database that a URL names."""
    return str(conninfo_to_dict(url).get("dbname") or urlsplit(url).path.lstrip("/"))


def facts(connection: Connection) -> Facts:
    """What the store says of itself.

    Raises:
        InvalidError: when this is no store of Drumtower.
    """
    try:
        migrations = connection.execute(
            "SELECT version, name, checksum FROM schema_migration ORDER BY version"
        ).fetchall()
        row = connection.execute(
            "SELECT current_setting('server_version_num')::integer / 10000,"
            " (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),"
            " (SELECT incarnation::text FROM store),"
            " (SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace NOT IN"
            " ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)),"
            " pg_database_size(current_database())"
        ).fetchone()
    except psycopg.errors.UndefinedTable as error:
        raise InvalidError(
            "backup.no_store",
            f"expected a store of Drumtower, found a database without one: {error}".strip(),
            "is DRUMTOWER_DATABASE_URL right?",
        ) from error
    assert row is not None
    major, timescaledb, incarnation, tables, size = row
    return Facts(major, timescaledb, incarnation, tuple(map(tuple, migrations)), tables, size)


def evidence(connection: Connection) -> list[EvidenceRow]:
    """Every file that the store knows."""
    rows = connection.execute("SELECT sha256, media_type, size FROM evidence ORDER BY sha256").fetchall()
    return [EvidenceRow(*row) for row in rows]


def hold_evidence(connection: Connection) -> None:
    """Have no file of evidence removed until the connection ends; waits for who is removing some just now."""
    connection.execute("SELECT pg_advisory_lock_shared(%s)", [REMOVAL_LOCK])


def server_major(connection: Connection) -> int:
    """The server's major version."""
    return connection.info.server_version // 10_000


def others(connection: Connection) -> list[str]:
    """Who else is connected to this database."""
    rows = connection.execute(
        "SELECT coalesce(nullif(application_name, ''), usename, 'unknown') FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY 1"
    ).fetchall()
    return [row[0] for row in rows]


def contents(connection: Connection) -> list[str]:
    """Some of the tables and views in the database that belong to no extension."""
    rows = connection.execute(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        " AND n.nspname NOT LIKE 'pg\\_%' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass"
        " AND d.objid = c.oid AND d.deptype IN ('e', 'i', 'a')) ORDER BY 1 LIMIT 5"
    ).fetchall()
    return [row[0] for row in rows]


def require_timescaledb(connection: Connection, timescaledb: str) -> bool:
    """Whether the extension is in the database already, in the version of the backup; changes nothing.

    Raises:
        InvalidError: when it is there in another version, or the server does not have that one.
    """
    row = connection.execute(
        "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),"
        " array(SELECT version FROM pg_available_extension_versions WHERE name = 'timescaledb' ORDER BY version)"
    ).fetchone()
    assert row is not None
    found, offered = row
    if found is None and timescaledb not in offered:
        raise _no_timescaledb(timescaledb, f"found {', '.join(offered) or 'none'}")
    if found not in (None, timescaledb):
        raise InvalidError(
            "backup.timescaledb",
            f"expected TimescaleDB {timescaledb} in the database, found {found}",
            "create an empty database without the extension: the restore puts it in",
        )
    return found is not None


def prepare(connection: Connection, timescaledb: str) -> None:
    """Put the extension into an empty database, in the version of the backup, and have it keep still.

    Raises:
        InvalidError: when the server does not have that version, or does not take it.
    """
    try:
        if not require_timescaledb(connection, timescaledb):
            connection.execute(
                sql.SQL("CREATE EXTENSION timescaledb VERSION {}").format(sql.Literal(timescaledb))
            )
    except (
        psycopg.errors.UndefinedFile,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.InvalidParameterValue,
    ) as error:
        raise _no_timescaledb(timescaledb, f"found otherwise: {error}".strip()) from error
    connection.execute("SELECT timescaledb_pre_restore()")


def wake(connection: Connection) -> None:
    """End what ``prepare`` began."""
    connection.execute("SELECT timescaledb_post_restore()")


def begin_incarnation(connection: Connection) -> str:
    """Call the store another one from now on, so that boxes send again what they hold; its name."""
    row = connection.execute(
        "UPDATE store SET incarnation = gen_random_uuid(), restored_at = clock_timestamp() RETURNING incarnation::text"
    ).fetchone()
    assert row is not None
    return str(row[0])


def void_leases(connection: Connection) -> None:
    """Free all leases, with fencing numbers beyond any that a gateway of the lost store may hold.

    That store may itself have been restored from this very backup, and it may have had partitions that the backup does not
    know: so the numbers go by the clock, and those of partitions to come begin there too.
    """
    row = connection.execute(
        "SELECT greatest(coalesce(max(fencing), 0) + %s, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"
        " FROM partition_lease",
        [_FENCING_GAP],
    ).fetchone()
    assert row is not None
    connection.execute(
        "UPDATE partition_lease SET holder = NULL, expires_at = '-infinity', listening_since = NULL, fencing = %s",
        row,
    )
    connection.execute(
        sql.SQL("ALTER TABLE partition_lease ALTER COLUMN fencing SET DEFAULT {}").format(sql.Literal(row[0]))
    )


def analyze(connection: Connection) -> None:
    """Let the planner know what is there."""
    connection.execute("ANALYZE")


def _no_timescaledb(expected: str, found: str) -> InvalidError:
    return InvalidError(
        "backup.timescaledb",
        f"expected a server that has TimescaleDB {expected}, as the backup does, {found}",
        "restore on a server with that version; it can be updated afterwards: ALTER EXTENSION timescaledb UPDATE",
    )


@contextmanager
def connect(url: str) -> Iterator[Connection]:
    """A connection of its own, outside transactions.

    Raises:
        TransientError: when the database does not answer, or goes away within the block.
    """
    try:
        made: psycopg.Connection[Any] = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=10,
            application_name="drumtower backup",
            **notices_silence(url),
        )
    except psycopg.OperationalError as error:
        raise TransientError(
            "gateway.no_database",
            f"the database does not answer: {error}".strip(),
            "is it started, does it exist, and is DRUMTOWER_DATABASE_URL right?",
        ) from error
    try:
        with made:
            yield made
    except PASSING as error:
        trouble = trouble_of(error.sqlstate)
        raise TransientError(trouble.code, f"{trouble.said}: {error}".strip(), trouble.hint) from error
