"""``drumtower rules``: look at the rules in force, try others against history, apply them, go back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from common.runtime.clock import to_datetime, to_ms
from common.runtime.config import load_config
from common.runtime.errors import InvalidError
from common.schema.cli import database_url
from gateway.config import GatewaySettings
from gateway.fleet import audit
from gateway.fleet.repo import connect
from gateway.metrics_catalogue import Metric
from gateway.quiet import spans
from gateway.repo import DISTRICT
from gateway.rulebook import repo, trial, versions
from gateway.rules import Rule

app = typer.Typer(no_args_is_help=True, help="The rules that turn readings into observations, as versions.")

_CONFIG = Path("firmware_configs/gateway.yaml")
_MOST_DEVICES = 10
ConfigOption = Annotated[Path, typer.Option("--config", help="The gateway's, for its metrics.")]


@app.command()
def show(
    version: Annotated[int | None, typer.Option(help="An older one; the one in force when left out.")] = None,
) -> None:
    """The rules in force, as they were written."""
    with connect(database_url(), "rules") as connection:
        found = repo.newest(connection) if version is None else repo.find(connection, version)
    if found is None:
        print("there is no such version; next: drumtower rules history, or drumtower rules apply FILE")
        raise typer.Exit(1)
    print(f"# version {found.version}, {_at(found.at)}, by {found.author}{_noted(found.note)}")
    print(found.content.rstrip("\n"))
    print("# next: change a copy, then drumtower rules test --file COPY --since 7d")


@app.command()
def history(limit: Annotated[int, typer.Option(min=1, max=1000)] = 20) -> None:
    """Every version: when, by whom, why."""
    table = Table("version", "at", "by", "note", "rules")
    with connect(database_url(), "rules") as connection:
        for one in repo.versions(connection, limit):
            table.add_row(str(one.version), _at(one.at), one.author, one.note, str(_count(one.content)))
    if table.row_count:
        Console().print(table)
        print("the newest is in force; next: drumtower rules show --version N, or drumtower rules rollback N")
    else:
        print("there is no version yet; next: start a gateway, or drumtower rules apply FILE")


@app.command("test")
def try_rules(
    file: Annotated[Path | None, typer.Option(help="Rules to try; those of --config when left out.")] = None,
    since: Annotated[
        str, typer.Option(help="How far back, like 7d or 12h, or from which instant on.")
    ] = "7d",
    until: Annotated[str | None, typer.Option(help="To which instant; now when left out.")] = None,
    config: ConfigOption = _CONFIG,
) -> None:
    """Try rules against what is stored, beside those in force. Writes nothing."""
    path = file or config
    _, rules, metrics = _read(path, config)
    with connect(database_url(), "rules test") as connection:
        begin, end = _span(since, until, to_datetime(repo.now_ms(connection)))
        newest = repo.newest(connection)
        current = () if newest is None else versions.parse(newest.content, _named(newest), metrics)
        done = _run(connection, (current, rules), begin, end)
    now, new = done.tallies
    print(f"{done.readings} readings of {done.devices} boxes from {_at(begin)} to {_at(end)}")
    in_force = "none in force" if newest is None else f"version {newest.version}"
    Console().print(_compared(current, rules, (now, new), f"now ({in_force})", f"with {path.name}"))
    _tell_changes(current, rules)
    print(f"nothing was changed; next: drumtower rules apply {path}, or change it and test again")


@app.command("apply")
def apply_rules(
    file: Annotated[Path, typer.Argument(help="Rules, or a gateway's configuration with some.")],
    note: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    config: ConfigOption = _CONFIG,
) -> None:
    """Make rules the version in force, under running gateways. What they leave behind ends."""
    content, rules, metrics = _read(file, config)
    with connect(database_url(), "rules") as connection:
        newest = repo.newest(connection)
        current = () if newest is None else versions.understood(newest, metrics)
        if newest is not None and current == rules and newest.content == content:
            print(f"{file} is what version {newest.version} says; next: nothing to do")
            return
        applied = _apply(connection, content, metrics, note, 0 if newest is None else newest.version)
    _tell_changes(current, rules)
    _tell_applied(applied)


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(help="Whose rules to have again, as a new version.")],
    note: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    config: ConfigOption = _CONFIG,
) -> None:
    """Have the rules of an older version again."""
    metrics = load_config(config, GatewaySettings).catalogue()
    with connect(database_url(), "rules") as connection:
        newest, wanted = repo.newest(connection), repo.find(connection, version)
        if wanted is None or newest is None:
            raise InvalidError(
                "rules.unknown_version", f"there is no version {version}", "drumtower rules history"
            )
        current = versions.understood(newest, metrics)
        why = note or f"back to version {version}"
        applied = _apply(connection, wanted.content, metrics, why, newest.version)
    _tell_changes(current, versions.understood(wanted, metrics))
    _tell_applied(applied)


def _read(path: Path, config: Path) -> tuple[str, tuple[Rule, ...], Mapping[str, Metric]]:
    """Rules from a file of them, or from a gateway's configuration: text, rules, metrics."""
    if path == config or _is_configuration(path):
        settings = load_config(path, GatewaySettings)
        return versions.rules_of_file(path), settings.compiled_rules(), settings.catalogue()
    metrics = load_config(config, GatewaySettings).catalogue()
    rules = versions.load(path, metrics)
    return path.read_text(encoding="utf-8"), rules, metrics


def _is_configuration(path: Path) -> bool:
    """Whether a file holds other parts of a gateway's configuration besides rules."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # it is told with its place when it is loaded
    keys = {str(key.value) for key, _ in node.value} if isinstance(node, yaml.MappingNode) else set()
    return bool(keys & (GatewaySettings.model_fields.keys() - {"rules"}))


def _span(since: str, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    """From when to when; ``now`` is the database's, which dates what is stored."""
    try:
        end = now if until is None else spans.instant(until)
        begin = spans.instant(since) if "-" in since else end - spans.length(since)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not begin < end:
        raise typer.BadParameter(f"expected to begin before {_at(end)}, got {_at(begin)}")
    return begin, end


def _run(
    connection: repo.Connection, sets: Sequence[Sequence[Rule]], begin: datetime, end: datetime
) -> trial.Trial:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("history", total=1.0)
        return trial.run(
            connection, sets, to_ms(begin), to_ms(end), lambda part: progress.update(task, completed=part)
        )


def _compared(
    current: Sequence[Rule],
    rules: Sequence[Rule],
    tallies: tuple[trial.Tally, trial.Tally],
    now: str,
    new: str,
) -> Table:
    table = Table("rule", "box", f"conditions {now}", f"conditions {new}", f"time {now}", f"time {new}")
    names = [rule.rule_id for rule in rules]
    names += [rule.rule_id for rule in current if rule.rule_id not in names]
    for name in names:
        totals = [tally.total(name) for tally in tallies]
        table.add_row(name, "(all)", *_cells(totals), style="bold")
        boxes = sorted({box for tally in tallies for box in tally.counts.get(name, {})})
        boxes.sort(key=lambda box: -max(_of(tally, name, box).conditions for tally in tallies))
        for box in boxes[:_MOST_DEVICES]:
            table.add_row("", box, *_cells([_of(tally, name, box) for tally in tallies]))
        if len(boxes) > _MOST_DEVICES:
            table.add_row("", f"… {len(boxes) - _MOST_DEVICES} more")
    return table


def _of(tally: trial.Tally, name: str, box: str) -> trial.Count:
    return tally.counts.get(name, {}).get(box, trial.Count())


def _cells(counts: Sequence[trial.Count]) -> list[str]:
    times = [str(timedelta(seconds=round(one.lasted_ms / 1000))) for one in counts]
    return [str(one.conditions) for one in counts] + times


def _apply(
    connection: repo.Connection, content: str, metrics: Mapping[str, Metric], note: str, after: int
) -> versions.Applied:
    person = audit.this_person()
    return versions.apply(
        connection, content, metrics, author=person.name, note=note, only_after=after, actor=person
    )


def _tell_changes(old: Sequence[Rule], new: Sequence[Rule]) -> None:
    parts = trial.changes({rule.rule_id: rule for rule in old}, {rule.rule_id: rule for rule in new})
    for what, names in zip(("added", "removed", "changed"), parts, strict=True):
        if names:
            print(f"{what}: {', '.join(names)}")
    if not any(parts):
        print("the rules are the same as those in force")


def _tell_applied(applied: versions.Applied) -> None:
    print(
        f"version {applied.version} is in force; gateways step it from their next batch on;"
        f" {applied.ended} conditions that it does not go on with were ended"
    )
    print(f"next: drumtower rules history; drumtower rules rollback {max(applied.version - 1, 1)} goes back")


def _named(one: repo.RuleSet) -> Path:
    return Path(f"rules version {one.version}")


def _count(content: str) -> int:
    loaded = yaml.safe_load(content) or {}
    return len(loaded.get("rules") or ())


def _at(at: datetime) -> str:
    return at.astimezone(DISTRICT).isoformat(timespec="minutes")


def _noted(note: str) -> str:
    return f": {note}" if note else ""
