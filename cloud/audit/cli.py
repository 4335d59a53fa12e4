"""``drumtower audit``: whether every history is as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud.audit.service import verify
from cloud.db import Database
from common.schema.cli import database_url

app = typer.Typer(no_args_is_help=True, help="The chains of the tickets' histories, and their anchors.")


@app.callback()
def group() -> None:
    """One command today; its name is said all the same."""


@app.command("verify")
def check(
    anchors: Annotated[
        Path | None,
        typer.Option(help="anchors kept elsewhere, as exported: they find what was rewritten whole"),
    ] = None,
) -> None:
    """Reckon every history again, name the first broken line of each; exit code 1 when there is one."""
    with Database(database_url(), size=2) as database:
        report = verify(database, anchors)
    for fault in report.faults:
        print(fault)
    found = f"{report.tickets} tickets, {report.lines} lines, {report.anchors} anchors"
    if report.faults:
        print(f"BROKEN: {found}; next: keep this database as it is, and compare with a backup")
        raise typer.Exit(1)
    kept = (
        " and as it was kept elsewhere"
        if anchors
        else "; next: --anchors FILE, kept where nobody here can write"
    )
    print(f"whole: {found}, as they were written{kept}")
