"""``drumtower cloud token``: what programs sign in with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cloud.auth.domain import ROLES, SCOPES
from cloud.auth.tokens import LONGEST_DAYS, TokenService
from cloud.db import Database
from common.runtime.clock import SystemClock
from common.schema.cli import database_url

app = typer.Typer(no_args_is_help=True, help="Service tokens, for programs: add, list, revoke.")


@contextmanager
def _service() -> Iterator[TokenService]:
    with Database(database_url(), size=2) as database:
        yield TokenService(database, SystemClock())


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="what it is for: a–z, 0–9 and inner . _ -")],
    *,
    scope: Annotated[list[str], typer.Option(help="where it reaches, once each: " + ", ".join(SCOPES))],
    role: Annotated[str, typer.Option(help="as what it acts: " + ", ".join(ROLES))] = "viewer",
    unit: Annotated[str, typer.Option(help="code of the unit; it acts on it and all below")],
    days: Annotated[int, typer.Option(min=1, max=LONGEST_DAYS, help="how long it is good")] = 365,
) -> None:
    """Make a token and print it once."""
    with _service() as service:
        text, kept = service.add(name, scope, role=role, unit_code=unit, days=days)
    console = Console()
    console.print(
        f"added {kept.name}: {kept.role} of {kept.unit_code}, {', '.join(kept.scopes)},"
        f" until {kept.expires_at:%Y-%m-%d}"
    )
    console.print("token (shown once):", end=" ")
    print(text)
    console.print("next: send it as the header Authorization: Bearer TOKEN")


@app.command("list")
def show() -> None:
    """List the tokens; what they are made of is kept nowhere."""
    with _service() as service:
        tokens = service.tokens()
    table = Table("name", "role", "unit", "scopes", "until", "last used", "revoked")
    for one in tokens:
        table.add_row(
            one.name,
            one.role,
            one.unit_code,
            ", ".join(one.scopes),
            f"{one.expires_at:%Y-%m-%d}",
            f"{one.last_used_at:%Y-%m-%d %H:%M}" if one.last_used_at else "",
            f"{one.revoked_at:%Y-%m-%d}" if one.revoked_at else "",
        )
    console = Console()
    console.print(table)
    console.print("next: drumtower cloud token add NAME --scope SCOPE --unit UNIT")


@app.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="the token's name")]) -> None:
    """Let a token in no more, at once; what it did stays on record."""
    with _service() as service:
        service.revoke(name)
    Console().print(f"{name} is let in no more; next: drumtower cloud token list")
