"""``drumtower cloud severity``: how grave a matter would be, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud.db import Database
from cloud.district.checks import read_district
from cloud.severity import repo
from cloud.severity.domain import Facts, Seen, SeverityRule, VulnerablePlace, decide, places_near, trace
from common.runtime.errors import InvalidError
from common.runtime.settings import nearest
from common.schema.cli import database_url
from common.wire.categories import BY_CODE

app = typer.Typer(no_args_is_help=True, help="Severity: what raises a matter, and why.")


@app.callback()
def severity() -> None:
    """Severity: what raises a matter, and why."""


@app.command()
def explain(
    *,
    lon: Annotated[float, typer.Option(min=-180, max=180, help="longitude, WGS-84 degrees")],
    lat: Annotated[float, typer.Option(min=-90, max=90, help="latitude, WGS-84 degrees")],
    category: Annotated[str, typer.Option(help="such as flood.water_level")],
    told: Annotated[int, typer.Option(min=0, max=4, help="as it is told; 0: where the category starts")] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="for how long it goes on")] = 0.0,
    observations: Annotated[int, typer.Option(min=0, help="how many there are")] = 1,
    devices: Annotated[int, typer.Option(min=0, max=10_000, help="how many see it")] = 1,
    reports: Annotated[int, typer.Option(min=0, help="how many people tell of it")] = 0,
    level: Annotated[float | None, typer.Option(help="the highest value measured")] = None,
    district: Annotated[
        Path | None, typer.Option(help="a district's file; by default the rules in force, from the database")
    ] = None,
) -> None:
    """Say of each rule why it would fit a matter or not, and the severity that comes of it."""
    if category not in BY_CODE:
        raise InvalidError(
            "severity.unknown_category",
            f"expected a category, got {category!r}{nearest(category, BY_CODE)}",
            "docs/reference/categories.md lists them",
        )
    rules, places = _rules(district)
    seen = Seen(category, minutes * 60, observations, frozenset(range(devices)), level)
    near = places_near(places, [category], lon, lat)
    facts = Facts(category, (seen,), reports, near)
    for place, away in near:
        print(f"near: {place.kind} {place.name_zh} ({place.name_en}), {away:.0f} m")
    for step in trace(rules, facts):
        rule, mark = step.rule, "no  " if step.wrong else "fits"
        why = step.wrong or "everything it asks for is so"
        print(f"  {rule.position:>3}  {mark}  {rule.name}: {rule.category} to {rule.raise_to}: {why}")
    begins = told or BY_CODE[category].severity
    raised = decide(rules, facts, begins)
    if raised is None:
        print(f"severity {begins}: no rule raises it")
    else:
        print(f"severity {raised.rule.raise_to}, raised from {begins} by {raised.rule.name}")


def _rules(district: Path | None) -> tuple[list[SeverityRule], list[VulnerablePlace]]:
    if district is not None:
        file = read_district(district)
        rules = [entry.rule(position) for position, entry in enumerate(file.severity, start=1)]
        return rules, [entry.place() for entry in file.vulnerable]
    with Database(database_url(), size=1) as database, database.transaction() as transaction:
        return repo.rules(transaction), repo.places(transaction)
