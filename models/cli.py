"""``drumtower models``: what models there are, and whether their files are the right ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from common.runtime.errors import ConfigError, InvalidError
from models.store import list_manifests, load_manifest, open_model

app = typer.Typer(help="The models a box can open.", no_args_is_help=True)

Directory = Annotated[
    Path | None,
    typer.Option("--directory", "-d", help="Where weights and manifests that do not ship lie."),
]


@app.command("list")
def list_models(directory: Directory = None) -> None:
    """Show every model: head, input, licence, and whether its weights ship."""
    table = Table(box=None, pad_edge=False)
    for column in ("name", "head", "input", "labels", "licence", "ships", "title"):
        table.add_column(column, overflow="fold")
    for manifest in list_manifests(directory):
        table.add_row(
            manifest.name,
            manifest.head,
            f"{manifest.input.width}x{manifest.input.height} {manifest.input.channels}",
            str(len(manifest.names)),
            manifest.licence,
            "yes" if manifest.ships else "no",
            manifest.title,
        )
    Console().print(table)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models to verify; all that ship, if none.")
    ] = None,
    directory: Directory = None,
) -> None:
    """Compare weights with the sha256 of their manifests; exit 1 when one is missing or changed."""
    asked = names or [manifest.name for manifest in list_manifests(directory) if manifest.ships]
    failed = False
    for name in asked:
        try:
            manifest = load_manifest(name, directory)
            model = open_model(name, directory)
        except (ConfigError, InvalidError) as error:
            failed = True
            typer.echo(f"{name}: {error}", err=True)
        else:
            typer.echo(
                f"{name}: ok, {manifest.size} bytes, sha256 {manifest.sha256[:16]}…, {model.path.name}"
            )
    if failed:
        raise typer.Exit(1)
