"""``drumtower doctor``: what is wrong here, in plain words, and what to type."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.runtime.doctor import Asked, Doctor, Finding, Verdict, exit_code
from common.runtime.errors import ConfigError, MissingExtraError
from common.runtime.log import configure_logging

GROUP: Final = "drumtower.doctors"
Tier = Literal["edge", "gateway", "cloud"]
_COLOURS: Final[dict[Verdict, str]] = {
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "could not check": "cyan",
}
_ORDER: Final = ("edge", "gateway", "cloud")

app = typer.Typer(
    help="What is wrong here, in plain words, and what to type.",
    context_settings={"allow_interspersed_args": True},
)


@app.callback(invoke_without_command=True)
def doctor(
    tier: Annotated[
        Tier | None, typer.Argument(help="Which tier; all that are installed and configured here when none.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A box's file, gateway.yaml, or the ticket centre's settings: what its `run` is given."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="A box's data directory, as for `edge run`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look at everything that can be wrong, also when what is looked at is dead, and say what to type.

    Exit code 0 when all is well (warnings allowed), 1 when something fails. The environment is the one that the tier
    runs with. Nothing is changed by looking; no box, sensor or gateway that works is disturbed.
    """
    configure_logging("doctor", level="critical")
    asked = Asked(config, data, os.environ)
    chosen, left_out = _choose(tier, asked)
    findings = [finding for each, own in chosen for finding in each.examine(own)]
    code = exit_code(findings)
    if as_json:
        typer.echo(json.dumps({"ok": not code, "findings": [asdict(finding) for finding in findings]}))
    else:
        _show(findings, left_out)
    raise typer.Exit(code)


def _choose(tier: Tier | None, asked: Asked) -> tuple[list[tuple[Doctor, Asked]], list[str]]:
    """The doctors to ask, and why others are not asked.

    Raises:
        MissingExtraError: the tier that was named is not installed.
        ConfigError: nothing of it is configured here.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    chosen: list[tuple[Doctor, Asked]] = []
    left_out: list[str] = []
    for name in _ORDER if tier is None else (tier,):
        found = _load(name, points.get(name), required=tier is not None)
        if found is None:
            continue
        own = asked if tier is not None else _share(name, asked)
        if why := found.why_not(own):
            left_out.append(f"{name}: {why}")
        else:
            chosen.append((found, own))
    if not chosen:
        raise ConfigError(
            "doctor.nothing_here",
            "nothing to examine here: " + ("; ".join(left_out) or "no tier is installed"),
            "set the environment that the tier runs with, and name its file: drumtower doctor edge --config"
            " firmware_configs/devices/DEVICE.yaml",
        )
    return chosen, left_out


def _share(name: str, asked: Asked) -> Asked:
    """What of the question is for one tier where none was named: a box's file for the box, any other the gateway's."""
    for_whom = "gateway"
    if asked.config is not None and asked.config.is_file():
        try:
            read = yaml.safe_load(asked.config.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            read = None
        for_whom = "edge" if isinstance(read, dict) and "device" in read else for_whom
    return replace(asked, config=asked.config if name == for_whom else None)


def _load(name: str, point: EntryPoint | None, *, required: bool) -> Doctor | None:
    try:
        if point is not None:
            made: Doctor = point.load()()
            return made
    except ModuleNotFoundError as error:
        if required:
            raise MissingExtraError(
                "doctor.missing_extra",
                f"'drumtower doctor {name}' needs the module {error.name!r}, which is not installed",
                f"in a clone of the repository: pip install '.[{name}]'",
            ) from error
    return None


def _show(findings: list[Finding], left_out: list[str]) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False)
    for column in ("", "tier", "what", "found"):
        table.add_column(column, overflow="fold", no_wrap=column in {"", "tier"})
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        table.add_row(
            f"[{colour}]{finding.verdict}[/]", finding.tier, escape(finding.what), "\n".join(_lines(finding))
        )
    console.print(table)
    for line in left_out:
        console.print(f"not examined: {escape(line)}", style="dim")
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in _COLOURS}
    console.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))


def _lines(finding: Finding) -> Iterator[str]:
    yield escape(finding.found)
    if finding.fix:
        yield f"[bold]→[/] {escape(finding.fix)}"
