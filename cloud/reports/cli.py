"""``drumtower cloud personal``: the keys that seal who reported, and what becomes of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cloud.config import read_environment, read_settings
from cloud.db import Database
from cloud.photos.keeping import remove_due, seal_rest
from cloud.reports import repo
from cloud.reports.personal import rotate
from cloud.reports.sealing import add_key, drop_keys, read_keys
from cloud.reports.service import forget
from common.runtime.errors import ConfigError
from common.schema.cli import database_url

app = typer.Typer(
    no_args_is_help=True, help="Who reported: the keys that seal it, sealing anew, deleting on schedule."
)
KeyFile = Annotated[
    Path | None, typer.Option("--file", help="the file of keys; by default DRUMTOWER_PERSONAL_KEYS_FILE")
]


@app.command("new-key")
def new_key(file: KeyFile = None) -> None:
    """Add a new key to the file, and make the file where there is none; from the next start on it seals."""
    path = _file(file)
    key_id = add_key(path, datetime.now(UTC))
    print(f"{path}: {key_id} is the newest key; keep a copy apart from the database's backups")
    print("next: start the ticket centre again, then: drumtower cloud personal rotate-keys")


@app.command("rotate-keys")
def rotate_keys(
    file: KeyFile = None,
    *,
    drop: Annotated[
        bool, typer.Option("--drop", help="take keys out that nothing is sealed with any more")
    ] = False,
) -> None:
    """Seal everything anew with the newest key. Stopped anywhere, it can be begun again.

    With DRUMTOWER_EVIDENCE_DIR photos that lie in the clear are sealed too.
    """
    path = _file(file)
    keys = read_keys(path)
    with Database(database_url(), size=2) as database:
        count = rotate(database, keys)
        if evidence := os.environ.get("DRUMTOWER_EVIDENCE_DIR", ""):
            now = datetime.now(UTC)
            count += seal_rest(database, Path(evidence), keys, now)
            _remove(database, Path(evidence), now)
        with database.transaction() as transaction:
            in_use = repo.keys_in_use(transaction)
    print(f"{count} sealed anew with {keys.newest}")
    unused = {key_id for key_id, _ in keys.keys} - set(in_use) - {keys.newest}
    if drop and unused:
        drop_keys(path, unused)
        print(
            f"taken out of {path}: {', '.join(sorted(unused))}; older backups of the database open with them alone"
        )
    elif unused:
        print(
            f"no longer needed: {', '.join(sorted(unused))}; next: drumtower cloud personal rotate-keys --drop"
        )


@app.command("forget")
def forget_now(
    config: Annotated[
        Path | None, typer.Option(help="settings (YAML); by default those of DRUMTOWER_CLOUD_CONFIG, or none")
    ] = None,
) -> None:
    """Delete now what is due for it; a running ticket centre does so by itself."""
    settings, environment, now = read_settings(config).reports, read_environment(), datetime.now(UTC)
    with Database(environment.database_url, size=1) as database:
        persons, _ = forget(database, settings, now)
        if environment.evidence_directory is not None:
            _remove(database, environment.evidence_directory, now)
    print(f"{persons} deleted, of matters closed more than {settings.personal_days:g} days ago")


def _remove(database: Database, directory: Path, now: datetime) -> None:
    while remove_due(database, directory, now):
        pass


def _file(given: Path | None) -> Path:
    named = os.environ.get("DRUMTOWER_PERSONAL_KEYS_FILE", "")
    path = given or (Path(named) if named else None)
    if path is None:
        raise ConfigError(
            "personal.no_key_file_named",
            "expected --file or DRUMTOWER_PERSONAL_KEYS_FILE, found neither",
            "name a file outside the database's backups",
        )
    return path
