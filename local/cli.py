"""`drumtower services`: the database and the broker alone, for work on one tier at a time."""

from __future__ import annotations

import secrets
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from local.broker import Broker
from local.paths import data_directory, write_atomically
from local.postgres import PostgresServer

app = typer.Typer(help="The database and the broker of this machine.", no_args_is_help=True)


@app.callback()
def services() -> None:
    """The database and the broker of this machine."""


@app.command()
def run(
    database_port: Annotated[int, typer.Option(help="TCP port of the database on 127.0.0.1.")] = 15432,
    broker_port: Annotated[int, typer.Option(help="TCP port of the broker on 127.0.0.1.")] = 18883,
) -> None:
    """Run both until Ctrl-C and print how to reach them.

    Data and accounts are kept in the data directory (DRUMTOWER_DATA) from run to run.
    """
    directory = data_directory() / "services"
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    broker = Broker(directory / "broker", broker_port)
    password = _kept_password(directory / "gateway-password")
    broker.add_gateway("gateway", password)
    with PostgresServer(directory / "database", database_port) as database, broker:
        typer.echo(f"export DRUMTOWER_DATABASE_URL={database.create_database('drumtower')}")
        typer.echo(f"export DRUMTOWER_BROKER_URL={broker.url}")
        typer.echo(f"# the broker's authority: {broker.ca_file}; user gateway, password {password}")
        typer.echo("# Ctrl-C stops both")
        ended.wait()


def _kept_password(file: Path) -> str:
    if not file.exists():
        write_atomically(file, secrets.token_urlsafe(18).encode(), 0o600)
    return file.read_text(encoding="ascii")
