"""``drumtower edge view``: say that a camera shows what it should, after it was aimed elsewhere on purpose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edge.config import data_directory, load_device
from edge.views import ViewStore

app = typer.Typer(help="What a camera usually shows, and what it shows now.", no_args_is_help=True)


@app.command()
def accept(
    device: Annotated[Path, typer.Argument(help="firmware_configs/devices/DEVICE.yaml")],
    camera: Annotated[str, typer.Argument(help="The camera's name")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Where the box keeps what must survive.")
    ] = None,
) -> None:
    """Take what a camera shows now for its usual view; a box that runs does so within seconds.

    For a camera that was aimed elsewhere on purpose: it says "moved" (or "covered", "out of focus") until then.
    """
    config = load_device(device)
    names = [one.name for one in config.cameras]
    if camera not in names:
        raise typer.BadParameter(f"expected one of {', '.join(names) or 'none'}, got {camera!r}")
    ViewStore(data_directory(data, config, os.environ) / "views").accept(camera)
    typer.echo(f"{camera}: what it shows from its next picture on is its usual view")
    typer.echo(
        "check what was drawn for the view before: zones, lanes, gauge lines, pictures of the dry road"
    )
