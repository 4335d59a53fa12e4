"""``drumtower edge clips``: keys for sealed clips, what a box holds, and opening one where the private key is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edge.clips import SUFFIX, seals

app = typer.Typer(
    help="Sealed clips: they stay on the box until somebody fetches them.", no_args_is_help=True
)


@app.command()
def key(out: Annotated[Path, typer.Argument(help="Name of the two files, without an ending")]) -> None:
    """Make a pair of keys: OUT.private stays where clips are looked at, OUT.public goes to the boxes."""
    private, public = seals().new_key()
    descriptor = os.open(out.with_suffix(".private"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(private + "\n")
    out.with_suffix(".public").write_text(public + "\n", encoding="ascii")
    typer.echo(f"{out.with_suffix('.private')} opens clips: keep it off the boxes")
    typer.echo(f"next: name {out.with_suffix('.public')} in the box's clips.public_key_file")


@app.command("list")
def list_clips(data: Annotated[Path, typer.Argument(help="Where the box keeps what must survive")]) -> None:
    """List the clips that a box holds: instant (ms), camera and observation, bytes."""
    for path in sorted((data / "clips").glob(f"*{SUFFIX}")):
        typer.echo(f"{path.name.removesuffix(SUFFIX)}  {path.stat().st_size}")


@app.command("open")
def open_clip(
    clip: Annotated[Path, typer.Argument(help="A sealed clip, fetched from a box")],
    private_key: Annotated[Path, typer.Option("--key", help="The private key")],
    out: Annotated[Path, typer.Option(help="The MP4 to write; faces in it are not blurred")],
) -> None:
    """Open a clip that was fetched from a box."""
    content = seals().unseal(clip.read_bytes(), private_key.read_text(encoding="ascii"))
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    typer.echo(f"{out}: {len(content)} bytes, not blurred")
