"""``drumtower cloud calendar``: which years' holidays are known, and bringing another."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cloud.calendar.files import read_year
from cloud.calendar.repo import store_year, sync_years
from cloud.calendar.service import look
from cloud.db import Database
from common.schema.cli import database_url

app = typer.Typer(no_args_is_help=True, help="Working time: the public holidays that are known here.")


@app.command()
def show() -> None:
    """Say which years are known and until when; exit code 1 when clocks need one that is not."""
    with Database(database_url(), size=1) as database, database.transaction() as transaction:
        sync_years(transaction)
        known = look(transaction, datetime.now(UTC))
    for one in known.years:
        print(f"{one.year}: {one.source}")
    print(f"holidays are known for the next {known.days} days")
    if known.problem:
        print(known.problem)
        raise typer.Exit(1)


@app.command()
def load(
    file: Annotated[
        Path, typer.Argument(help="like cloud/calendar/data/2026.yaml, from the State Council's notice")
    ],
) -> None:
    """Bring a year; tickets opened from now on count by it."""
    published = read_year(file)
    with Database(database_url(), size=1) as database, database.transaction() as transaction:
        store_year(transaction, published)
    print(
        f"{published.year}: {len(published.off)} holidays, {len(published.work)} make-up days; {published.source}"
    )
    print("next: drumtower cloud calendar show")
