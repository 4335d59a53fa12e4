"""``drumtower cloud load-district``: bring a district's file into the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cloud.db import Database
from cloud.district.checks import read_district
from cloud.district.service import load_district
from common.schema.cli import database_url

app = typer.Typer(help="The district: units with their areas, routing and policies.")


@app.callback()
def district() -> None:
    """The district: units with their areas, routing and policies."""


@app.command("load-district")
def load(
    file: Annotated[Path, typer.Argument(help="for example firmware_configs/districts/demo.yaml")],
) -> None:
    """Check a district's file and write it into the database. Again changes nothing."""
    console = Console()
    read_district(file)  # its faults are told whether or not there is a database
    with Database(database_url(), size=1) as database:
        loaded = load_district(database, file)
    units = ", ".join(f"{count} {kind}" for kind, count in loaded.units.items())
    console.print(f"units: {units}; {loaded.rules} routing rules, {loaded.policies} policies")
    if loaded.gone:
        console.print(f"no longer in the file, kept without area: {', '.join(loaded.gone)}")
    console.print("next: drumtower cloud account add NAME --role admin --unit centre, drumtower cloud run")
