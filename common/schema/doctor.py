"""The database's part of `drumtower doctor`, for gateway and ticket centre alike."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg

from common.runtime.doctor import Examination, Finding
from common.runtime.errors import TransientError
from common.schema.runner import shipped
from common.schema.trouble import AWAY, trouble_of

Connection = psycopg.Connection[Any]
_PATIENCE_S: Final = 6
_REFUSED: Final = re.compile(
    r"authentication failed|no pg_hba.conf entry|(role|database) \"[^\"]*\" does not exist"
)
_LEAST_MB: Final = 1024.0


@contextmanager
def examined(url: str) -> Iterator[Connection]:
    """A connection to look with, on which every look may fail for itself.

    Raises:
        TransientError: the database cannot be reached, or broke off; the message says what is the matter.
    """
    try:
        with psycopg.connect(
            url, autocommit=True, connect_timeout=_PATIENCE_S, application_name="drumtower doctor"
        ) as connection:
            connection.execute("SET statement_timeout = '20s'")
            connection.execute("SET lock_timeout = '2s'")
            yield connection
    except psycopg.Error as error:
        raise _told(error) from error


def database_findings(told: Examination, url: str) -> Iterator[Finding]:
    """Everything about the database itself; the first finding says whether it can be reached."""
    try:
        with examined(url) as connection:
            row = connection.execute("SHOW server_version").fetchone()
            yield told.ok("database", f"PostgreSQL {row[0] if row else '?'} answers")
            for look in (_schema, _licence, _writable, _connections, _disk, _clock):
                name = f"database: {look.__name__[1:]}"
                yield from told.looked(name, partial(_guarded, look, told, connection))
    except TransientError as error:
        yield told.fail("database", error.message, error.hint)


def _guarded(
    look: Callable[[Examination, Connection], Iterator[Finding]], told: Examination, connection: Connection
) -> list[Finding]:
    """What one look finds; its error does not spoil the next."""
    try:
        return list(look(told, connection))
    except psycopg.OperationalError as error:
        if connection.closed:
            raise
        raise _told(error) from error
    except psycopg.Error as error:
        raise _told(error) from error


def _told(error: psycopg.Error) -> TransientError:
    said = " ".join(str(error).split())
    # libpq gives no code for what went wrong before there was a connection, only PostgreSQL's words.
    if _REFUSED.search(said):
        return TransientError(
            "doctor.no_database",
            f"it does not let us in: {said}",
            "are account, password and name in DRUMTOWER_DATABASE_URL right? In a password % is written %25",
        )
    if error.sqlstate is None:
        return TransientError(
            "doctor.no_database",
            f"it cannot be reached: {said}",
            "is it started, is the network up, and is DRUMTOWER_DATABASE_URL right?",
        )
    trouble = trouble_of(error.sqlstate)
    if trouble is AWAY:
        message = (error.diag.message_primary or said).strip()
        return TransientError("doctor.database", message, "its log says more, on the database's machine")
    return TransientError("doctor.database", trouble.said, trouble.hint)


def _schema(told: Examination, connection: Connection) -> Iterator[Finding]:
    what = "database: schema"
    there = connection.execute("SELECT to_regclass('schema_migration') IS NOT NULL").fetchone()
    if not (there and there[0]):
        yield told.fail(what, "there is none", "drumtower schema migrate")
        return
    rows = connection.execute("SELECT version, name, checksum FROM schema_migration").fetchall()
    applied = {version: (name, checksum) for version, name, checksum in rows}
    steps = {step.version: step for step in shipped()}
    missing = [step.name for version, step in steps.items() if version not in applied]
    foreign = [name for version, (name, _) in applied.items() if version not in steps]
    changed = [
        step.name
        for version, step in steps.items()
        if applied.get(version, ("", step.checksum))[1] != step.checksum
    ]
    if foreign:
        yield told.fail(
            what,
            f"it is of a newer release: {', '.join(sorted(foreign))}",
            "install that release here, or a newer one",
        )
    if changed:
        yield told.fail(
            what, f"these ran in another form: {', '.join(changed)}", "install the release whose files ran"
        )
    if missing:
        yield told.fail(what, f"these steps are missing: {', '.join(missing)}", "drumtower schema migrate")
    if not (foreign or changed or missing):
        yield told.ok(what, f"of this release, {max(steps):04}")


def _licence(told: Examination, connection: Connection) -> Iterator[Finding]:
    what = "database: TimescaleDB"
    row = connection.execute(
        "SELECT extversion, coalesce(current_setting('timescaledb.license', true), '') FROM pg_extension"
        " WHERE extname = 'timescaledb'"
    ).fetchone()
    if row is None:
        yield told.fail(
            what,
            "this database does not have it",
            "install it on the database's machine, then: drumtower schema migrate",
        )
        return
    version, licence = row
    keeps = (
        "community licence: it compresses and drops by its own policies"
        if licence == "timescale"
        else "Apache licence: no compression, the gateway drops what is too old"
    )
    yield told.ok(what, f"{version}, {keeps}")


def _writable(told: Examination, connection: Connection) -> Iterator[Finding]:
    """Whether there is room for a megabyte: what a full disk refuses first."""
    with connection.transaction(force_rollback=True):
        connection.execute(
            "CREATE TEMPORARY TABLE doctor_room ON COMMIT DROP AS"
            " SELECT md5(n::text) || md5((-n)::text) AS filling FROM generate_series(1, 8000) AS n"
        )
    yield told.ok("database: writing", "it takes writes")


def _connections(told: Examination, connection: Connection) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    ).fetchone()
    assert row is not None
    used, most = row
    said = f"{used} of {most} in use"
    if used > 0.8 * most:
        yield told.warn("database: connections", said, "raise max_connections, or end what holds them")
    else:
        yield told.ok("database: connections", said)


def _disk(told: Examination, connection: Connection) -> Iterator[Finding]:
    what = "database: disk"
    row = connection.execute(
        "SELECT pg_size_pretty(pg_database_size(current_database())), inet_server_addr() IS NULL"
        " OR inet_server_addr() = inet_client_addr(), pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')"
    ).fetchone()
    assert row is not None
    size, is_here, may_ask = row
    elsewhere = "free space can only be seen on its machine: df -h there"
    if not (is_here and may_ask):
        yield told.unknown(what, f"the database has {size}; {elsewhere}")
        return
    found = connection.execute("SHOW data_directory").fetchone()
    directory = Path(found[0] if found else "")
    # The same address may be a container's: then its directory is not ours.
    if not directory.is_dir():
        yield told.unknown(
            what, f"the database has {size}; {elsewhere} ({socket.gethostname()} has no {directory})"
        )
        return
    yield told.room(what, directory, _LEAST_MB, "free space there, or keep less: keep in gateway.yaml")


def _clock(told: Examination, connection: Connection) -> Iterator[Finding]:
    began = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None
    yield told.clock("clock", row[0] - (began + time.time()) / 2, "the database's")
