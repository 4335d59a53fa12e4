"""``drumtower routing``: who gets a matter and why, and what is wrong with the rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.db import Database
from cloud.dispatch import checking, repo
from cloud.dispatch.checking import Finding
from cloud.dispatch.domain import Book, Matter, trace
from cloud.dispatch.service import check_rules
from cloud.district.checks import read_district
from cloud.district.service import book_of, place_of
from cloud.duty.cli import instant
from common.runtime.errors import InvalidError
from common.runtime.settings import nearest
from common.schema.cli import database_url
from common.wire.categories import BY_CODE

app = typer.Typer(
    no_args_is_help=True, help="Routing: who gets a matter and why, and what is wrong with the rules."
)
District = Annotated[
    Path | None, typer.Option(help="a district's file; by default the rules in force, from the database")
]


@app.command()
def explain(
    *,
    lon: Annotated[float, typer.Option(min=-180, max=180, help="longitude, WGS-84 degrees")],
    lat: Annotated[float, typer.Option(min=-90, max=90, help="latitude, WGS-84 degrees")],
    category: Annotated[str, typer.Option(help="such as flood.water_level")],
    at: Annotated[
        str, typer.Option(help="when, such as 2026-06-01T08:00 (district time); by default now")
    ] = "",
    severity: Annotated[int, typer.Option(min=0, max=4, help="1 to 4; 0: where the category starts")] = 0,
    district: District = None,
) -> None:
    """Say of each rule that is tried why it fits or not, and who gets it; exit code 1 when nobody does."""
    if category not in BY_CODE:
        raise InvalidError(
            "routing.unknown_category",
            f"expected a category, got {category!r}{nearest(category, BY_CODE)}",
            "docs/reference/categories.md lists them",
        )
    when = instant(at)
    if district is not None:
        file = read_district(district)
        book, place = book_of(file), place_of(file, lon, lat)
    else:
        with Database(database_url(), size=1) as database, database.transaction() as transaction:
            book, place = repo.book(transaction), repo.place(transaction, lon, lat)
    matter = Matter(category, severity or BY_CODE[category].severity, place, when)
    if not _explain(book, matter, when):
        raise typer.Exit(1)


def _explain(book: Book, matter: Matter, when: datetime) -> bool:
    steps, route = trace(book, matter)
    print(
        f"{matter.category}, severity {matter.severity}, {when.astimezone(DISTRICT_ZONE):%a %Y-%m-%d %H:%M},"
        f" {_where(matter.place)}"
    )
    for step in steps:
        rule = step.rule
        mark = "fits" if step.fits else "no  "
        print(f"  {rule.position:>3}  {mark}  {rule.category} → {rule.target}: {step.because}")
    called = f"; calls {', '.join(route.called)}" if route.called else ""
    print(f"goes to {route.unit_code or 'nobody: the queue of the centre, under its clock'}{called}")
    print(f"because {route.because}")
    return route.unit_code is not None


def _where(place: Mapping[str, str]) -> str:
    if "grid" not in place:
        return "outside every grid"
    return " › ".join(place[kind] for kind in ("street", "community", "grid") if kind in place)


@app.command()
def check(district: District = None) -> None:
    """Tell loops, rules never reached, unknown units, and what finds no owner; exit code 1 when there is any."""
    now = datetime.now(UTC)
    if district is not None:
        found = check_file(district, now)
    else:
        with Database(database_url(), size=1) as database, database.transaction() as transaction:
            found = check_rules(transaction, now)
    for one in found:
        print(f"{one.kind.replace('_', ' ')}: {one.message}")
    if found:
        raise typer.Exit(1)
    print("the rules are sound: no loop, every rule is reached, every category finds an owner in every grid")


def check_file(path: Path, now: datetime) -> list[Finding]:
    """What is wrong with the rules of a file.

    Raises:
        InvalidConfigError: with every fault of the file itself, loops and rules never reached among them.
    """
    file = read_district(path)
    parents = {unit.code: unit.parent for unit in file.units}
    kinds: dict[str, str] = {unit.code: unit.kind for unit in file.units}
    return checking.check(book_of(file), parents, kinds, BY_CODE, now)
