"""``drumtower models``: which models there are, how to train, export, measure, fetch and verify them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from common.runtime.errors import ConfigError, InvalidError, MissingExtraError
from models.store import list_manifests, load_manifest, weights_of

app = typer.Typer(help="The models a box can open, and how they are made.", no_args_is_help=True)

Directory = Annotated[
    Path | None,
    typer.Option("--directory", "-d", help="Where weights and manifests that do not ship lie."),
]
Data = Annotated[Path, typer.Option("--data", help="The folder with images/, labels/ and manifest.csv.")]


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
            path = weights_of(manifest, directory)
        except (ConfigError, InvalidError) as error:
            failed = True
            typer.echo(f"{name}: {error}", err=True)
        else:
            typer.echo(f"{name}: ok, {manifest.size} bytes, sha256 {manifest.sha256[:16]}…, {path.name}")
    if failed:
        raise typer.Exit(1)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A model that a manifest names.")],
    source: Annotated[
        str, typer.Option("--from", help="URL of the file or of its folder, or a directory of this machine.")
    ],
    directory: Annotated[
        Path,
        typer.Option("--directory", "-d", help="Where to put it; manifests of one's own are looked up here."),
    ] = Path(),
) -> None:
    """Fetch weights and keep them only when their sha256 is the manifest's; what broke off is gone on with."""
    with _extra("edge"):
        from models.pull import pull as fetch  # noqa: PLC0415 - only this command talks to servers
    manifest = load_manifest(name, directory)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=manifest.size)
        path = fetch(manifest, source, directory, lambda there: progress.update(task, completed=there))
    typer.echo(f"{name}: {path}, {manifest.size} bytes, sha256 {manifest.sha256[:16]}…")


@app.command()
def train(
    name: Annotated[
        str, typer.Argument(help="The model to train: detector, fire, helmet, privacy, segmenter, water.")
    ],
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder for the weights and for checkpoints.")],
    *,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Rounds over the data; the model's own if not given.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="At most so many steps: to see in seconds whether data and machine will do."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed gives the same weights on the same machine.")
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
) -> None:
    """Train a model that ships, with the loop that its weights came from, or fine-tune a detector or segmenter of one's own.

    The latter is done by ultralytics (AGPL-3.0), from base.pt or base.yaml in --data; needs the extra `models`.
    """
    with _extra("models"):
        from models.train.runs import run_of  # noqa: PLC0415 - torch is nowhere but where one trains
    run_of(name).train_into(data, out, epochs=epochs, seed=seed, resume=resume, most=steps)
    typer.echo(f"{name}: trained, in {out}; next: drumtower models export {name}")


@app.command()
def export(
    name: Annotated[
        str,
        typer.Argument(help="The model that was trained: detector, fire, helmet, privacy, segmenter, water."),
    ],
    data: Data,
    trained: Annotated[Path, typer.Option("--trained", help="Folder that `train` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the ONNX file, its manifest and its card.")],
) -> None:
    """Write ONNX file, manifest and card, once onnxruntime says what the trainer says; needs the extra `models`."""
    with _extra("models"):
        from models.train.runs import run_of  # noqa: PLC0415 - torch is nowhere but where one trains
    path = run_of(name).export_into(data, trained, out)
    # What is fine-tuned has no limits of ours: its maker knows what it is to find.
    then = f"verify {path.stem}" if name in {"detector", "segmenter"} else f"evaluate {name} --data {data}"
    typer.echo(f"{name}: {path}; next: drumtower models {then} --directory {out}")


@app.command()
def evaluate(
    name: Annotated[
        str, typer.Argument(help="The model to measure: fire, helmet, privacy, water, or any detector.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="The folder with images/, labels/ and manifest.csv; for a detector with data.yaml, which names the "
            "classes, or a video NAME with a MOTChallenge truth in NAME-gt/gt.txt.",
        ),
    ],
    directory: Directory = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="All that --data holds, not the held-out groups alone: for data of one's own."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Measure a model on data it never saw, with onnxruntime alone; exit 1 when it falls short of its limits.

    A detector, the one that ships or one brought by manifest, has no limits: they depend on whose pictures these are.
    Where its card lies in --directory, the figures are written there too.
    """
    with _extra("edge"):
        from models.accuracy.sections import section_of, write_figures  # noqa: PLC0415 - other tiers have no pixels
    report = section_of(name, directory).measure(data, directory, everything=everything)
    if directory is not None and (card := directory / f"{name}.md").is_file():
        write_figures(card, report.table())
    if as_json:
        typer.echo(json.dumps(report.figures()))
    else:
        typer.echo(report.table())
    short = report.shortfalls()
    for one in short:
        typer.echo(f"{name}: falls short: {one}", err=True)
    if short:
        raise typer.Exit(1)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say which extra brings a module that is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "models.missing_extra",
            f"this command needs the module {error.name!r}, which is not installed",
            f"in a clone of the repository: pip install '.[{name}]'",
        ) from error
