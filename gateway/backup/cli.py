"""``drumtower backup``: take one, restore one, and tell boxes after a restore by other means."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from common.schema.cli import database_url
from gateway.backup.create import create
from gateway.backup.restore import begin_anew, restore

app = typer.Typer(no_args_is_help=True, help="The store's backups: take one, restore one.")

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR")]
ProgramsOption = Annotated[
    Path | None, typer.Option(help="Folder of pg_dump and pg_restore; looked for when none is given.")
]


@app.command("create")
def create_backup(
    folder: FolderArgument,
    programs: ProgramsOption = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Copy the evidence too, from DRUMTOWER_EVIDENCE_DIR.")
    ] = False,
) -> None:
    """Write a backup of the store into a new folder, while everything goes on."""
    with _Shown() as shown:
        made = create(
            database_url(),
            folder,
            shown,
            programs=programs,
            evidence=_evidence_folder() if evidence else None,
        )
    print(f"{folder} holds the store ({made.dump_bytes / 1e6:.1f} MB) of {made.created_at}")
    files = f"{made.evidence_files} files of evidence ({made.evidence_bytes / 1e6:.1f} MB)"
    if made.evidence_missing:
        print(f"{files}, of which {made.evidence_missing} were not in {_evidence_folder()}")
    elif made.evidence_included:
        print(f"and {files}")
    else:
        print(f"and names {files}: keep DRUMTOWER_EVIDENCE_DIR too, or say --evidence")
    print("next: bring it to another machine, and try it there: drumtower backup restore")


@app.command("restore")
def restore_backup(folder: FolderArgument, programs: ProgramsOption = None) -> None:
    """Bring a backup back into an empty database. Boxes then send again what it lacks, as far as they hold it.

    Stop gateways and ticket centre first. With DRUMTOWER_EVIDENCE_DIR, files of evidence that it lacks come back too.
    """
    wanted = os.environ.get("DRUMTOWER_EVIDENCE_DIR")
    with _Shown() as shown:
        done = restore(
            database_url(), folder, shown, programs=programs, evidence=Path(wanted) if wanted else None
        )
    print(f"restored as incarnation {done.incarnation}")
    if done.migrated:
        print(f"brought to this release by {', '.join(done.migrated)}")
    if done.evidence_missing is None:
        print("evidence was not looked at: DRUMTOWER_EVIDENCE_DIR is not set")
    else:
        print(f"{done.evidence_copied} files of evidence came back, {done.evidence_missing} are missing")
    print("next: drumtower gateway run, drumtower cloud run; boxes send what they still hold")


@app.command("renew")
def renew() -> None:
    """Tell boxes that the store went back, after a restore by other means (a base backup, a snapshot).

    Stop the gateways first.
    """
    print(f"the store is incarnation {begin_anew(database_url())} now; next: drumtower gateway run")


def _evidence_folder() -> Path:
    folder = os.environ.get("DRUMTOWER_EVIDENCE_DIR")
    if not folder:
        raise typer.BadParameter("set DRUMTOWER_EVIDENCE_DIR to the folder of evidence")
    return Path(folder)


class _Shown:
    """Progress on a terminal as a bar, elsewhere as a line a step."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console) if console.is_terminal else None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        if self._bar:
            self._bar.stop()

    def step(self, title: str, total: int) -> None:
        """A step begins."""
        if self._bar:
            self._task = self._bar.add_task(title, total=total or None)
        else:
            print(f"{title} …", file=sys.stderr, flush=True)

    def advance(self, parts: int) -> None:
        """Parts of it are done."""
        if self._bar and self._task is not None:
            self._bar.advance(self._task, parts)
