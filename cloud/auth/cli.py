"""``drumtower cloud account``: who may sign in. No account comes with the software, and no password."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cloud.auth.domain import ROLES
from cloud.auth.errors import AccountError
from cloud.auth.passwords import generate_password
from cloud.auth.service import AuthService
from cloud.db import Database
from common.runtime.clock import SystemClock
from common.schema.cli import database_url

app = typer.Typer(no_args_is_help=True, help="Accounts of the ticket centre: add, list, password, disable.")
_NEXT = "next: drumtower cloud run, then sign in on its page"

Generate = Annotated[bool, typer.Option("--generate", help="make a password and print it once")]
PasswordFile = Annotated[Path | None, typer.Option(help="read the password from the first line of this file")]


@contextmanager
def _service() -> Iterator[AuthService]:
    with Database(database_url(), size=2) as database:
        yield AuthService(database, SystemClock())


def _password(*, generate: bool, file: Path | None) -> str:
    """From a file, made, or asked for twice; never from an argument, where other users could read it."""
    if generate:
        return generate_password()
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise AccountError("auth.password_file", f"expected a readable file, got: {error}") from error
        return lines[0] if lines else ""
    if not sys.stdin.isatty():
        raise AccountError(
            "auth.no_password",
            "expected a terminal to ask for the password, found none",
            "give --password-file FILE or --generate",
        )
    first = getpass.getpass("password: ")
    if first != getpass.getpass("again: "):
        raise AccountError("auth.passwords_differ", "the two passwords are not the same")
    return first


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="what they type to sign in: a–z, 0–9 and inner . _ -")],
    *,
    role: Annotated[str, typer.Option(help=", ".join(ROLES))],
    unit: Annotated[str, typer.Option(help="code of the unit; the role acts on it and all below")],
    title: Annotated[str, typer.Option(help="how others see them")] = "",
    generate: Generate = False,
    password_file: PasswordFile = None,
) -> None:
    """Let somebody in."""
    password = _password(generate=generate, file=password_file)
    with _service() as service:
        service.add_account(name, password, role, unit, title)
    _tell(f"added {name}: {role} of {unit}", password if generate else None)


@app.command("password")
def set_password(
    name: Annotated[str, typer.Argument(help="the account")],
    generate: Generate = False,
    password_file: PasswordFile = None,
) -> None:
    """Set another password; whoever is signed in with the old one is signed out."""
    password = _password(generate=generate, file=password_file)
    with _service() as service:
        service.set_password(name, password)
    _tell(f"password of {name} set", password if generate else None)


@app.command("disable")
def disable(name: Annotated[str, typer.Argument(help="the account")]) -> None:
    """Let somebody in no more; what they did stays on record."""
    with _service() as service:
        service.disable(name)
    Console().print(f"{name} cannot sign in any more; next: drumtower cloud account list")


@app.command("link")
def link(
    name: Annotated[str, typer.Argument(help="the account")],
    *,
    issuer: Annotated[str, typer.Option(help="the provider, as in the setting oidc.issuer")],
    subject: Annotated[str, typer.Option(help="who they are there: the claim sub")],
) -> None:
    """Let somebody sign in at the city's provider (OpenID Connect) as this account."""
    with _service() as service:
        service.link(name, issuer, subject)
    Console().print(f"{name} can sign in at {issuer}; next: drumtower cloud account list")


@app.command("unlink")
def unlink(name: Annotated[str, typer.Argument(help="the account")]) -> None:
    """Let an account sign in by its password alone."""
    with _service() as service:
        count = service.unlink(name)
    Console().print(f"{count} taken away from {name}; next: drumtower cloud account list")


@app.command("list")
def show() -> None:
    """List the accounts."""
    with _service() as service:
        accounts = service.accounts()
    table = Table("name", "role", "unit", "title", "since", "disabled")
    for row in accounts:
        account = row.account
        table.add_row(
            account.name,
            account.role,
            account.unit_code,
            account.title,
            f"{row.created_at:%Y-%m-%d}",
            f"{row.disabled_at:%Y-%m-%d}" if row.disabled_at else "",
        )
    console = Console()
    console.print(table)
    console.print("next: drumtower cloud account add NAME --role ROLE --unit UNIT")


def _tell(sentence: str, password: str | None) -> None:
    console = Console()
    console.print(sentence)
    if password is not None:
        console.print("password (shown once):", end=" ")
        print(password)
    console.print(_NEXT)
