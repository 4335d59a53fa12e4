"""``drumtower schema``: bring a database to this release."""

from __future__ import annotations

import typer
from rich.console import Console

from common.runtime.places import database_url
from common.schema.runner import migrate, shipped

__all__ = ["app", "database_url"]

app = typer.Typer(no_args_is_help=True, help="The database schema: migrate it, or list its steps.")


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
