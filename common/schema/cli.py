"""``drumtower schema``: bring a database to this release."""

from __future__ import annotations

import os

import typer
from rich.console import Console

from common.runtime.errors import ConfigError
from common.schema.runner import migrate, shipped

app = typer.Typer(no_args_is_help=True, help="The database schema: migrate it, or list its steps.")


def database_url() -> str:
    """The database from the environment.

    Raises:
        ConfigError: when the environment does not name one.
    """
    if url := os.environ.get("DRUMTOWER_DATABASE_URL"):
        return url
    raise ConfigError(
        "config.no_database",
        "expected DRUMTOWER_DATABASE_URL in the environment, found nothing",
        "export DRUMTOWER_DATABASE_URL=postgresql://user:password@host:5432/drumtower",
    )


@app.command("migrate")
def run() -> None:
    """Apply what is missing. Running it again changes nothing."""
    console = Console()
    ran = migrate(database_url())
    for name in ran:
        console.print(f"applied {name}")
    console.print(f"{'up to date' if not ran else 'done'}; next: drumtower gateway run, drumtower cloud run")


@app.command("list")
def show() -> None:
    """List the steps of this release."""
    for step in shipped():
        print(step.name, step.checksum[:12])
