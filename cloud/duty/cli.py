"""``drumtower cloud duty``: load a rota, look for its holes, ask who is on duty."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.db import Database
from cloud.duty import service
from cloud.duty.domain import MAIL_ADDRESS, Shift
from cloud.instants import Instant
from common.runtime.config import Settings, load_config
from common.runtime.errors import InvalidError
from common.schema.cli import database_url

app = typer.Typer(
    no_args_is_help=True, help="The duty rota 值班: load it, find its holes, ask who is on duty."
)


class _ShiftOfFile(Settings):
    person: Annotated[str, Field(min_length=1, max_length=60)]
    phone: Annotated[str, Field(max_length=40)] = ""
    email: Annotated[str, Field(pattern=MAIL_ADDRESS, max_length=254)] = ""
    begins_at: Instant
    ends_at: Instant
    position: Annotated[int, Field(ge=1, le=99)] = 1


class _RotaOfFile(Settings):
    unit_code: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
    since: Instant
    until: Instant
    shifts: Annotated[list[_ShiftOfFile], Field(min_length=1)]


class RotaFile(Settings):
    """One or several units' rotas; instants with their zone, such as 2026-06-01T08:00+08:00."""

    rotas: Annotated[list[_RotaOfFile], Field(min_length=1)]


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="a YAML file with 'rotas'; docs/how-to.md shows one")],
) -> None:
    """Write rotas; a file with a hole is refused as a whole."""
    rotas = load_config(file, RotaFile).rotas
    written = [
        (rota, [Shift(rota.unit_code, **shift.model_dump()) for shift in rota.shifts]) for rota in rotas
    ]
    for rota, shifts in written:
        service.check_rota(shifts, rota.since, rota.until)
    with Database(database_url(), size=1) as database:
        for rota, shifts in written:
            service.write_rota(database, rota.unit_code, rota.since, rota.until, shifts)
            print(f"{rota.unit_code}: {len(shifts)} shifts")
    print("next: drumtower cloud duty check")


@app.command()
def check(days: Annotated[int, typer.Option(min=1, max=90, help="how far to look ahead")] = 14) -> None:
    """Say when nobody will be on duty; exit code 1 when there is such a time."""
    now = datetime.now(UTC)
    with Database(database_url(), size=1) as database:
        found = service.find_holes(database, now, now + timedelta(days=days))
    for unit_code, span in found:
        begins, ends = (at.astimezone(DISTRICT_ZONE) for at in span)
        print(f"{unit_code}: nobody on duty {begins:%Y-%m-%d %H:%M} – {ends:%Y-%m-%d %H:%M}")
    if found:
        raise typer.Exit(1)
    print(f"somebody is on duty for the next {days} days wherever a rota is kept")


@app.command()
def who(
    unit: Annotated[str, typer.Option(help="the unit's code")],
    at: Annotated[str, typer.Option(help="an instant with its zone; by default now")] = "",
) -> None:
    """Say whom to call."""
    with Database(database_url(), size=1) as database:
        found = service.who_is_on_duty(database, unit, instant(at))
    if not found.person:
        print(f"{unit}: nobody is on duty{f'; its phone is {found.phone}' if found.phone else ''}")
        raise typer.Exit(1)
    print(f"{unit}: {found.person} {found.phone} ({found.how})")


def instant(text: str) -> datetime:
    """An instant from the command line; none given: now; without a zone: in the district's.

    Raises:
        InvalidError: when it is no instant.
    """
    if not text:
        return datetime.now(UTC)
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidError(
            "time.unreadable", f"expected an instant such as 2026-06-01T08:00, got {text!r}"
        ) from error
    return given if given.tzinfo else given.replace(tzinfo=DISTRICT_ZONE)
