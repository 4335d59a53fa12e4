"""`drumtower services`: the database and the broker alone, for work on one tier at a time."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from common.runtime.stop import Stop
from common.wire.topics import Address, is_name
from local.broker import Broker
from local.paths import data_directory, write_atomically
from local.postgres import PostgresServer
from local.processes import setup_told

app = typer.Typer(help="The database and the broker of this machine.", no_args_is_help=True)
_LOOK_S = 1.0


@app.callback()
def services() -> None:
    """The database and the broker of this machine."""


@app.command()
def run(
    database_port: Annotated[int, typer.Option(help="TCP port of the database on 127.0.0.1.")] = 15432,
    broker_port: Annotated[int, typer.Option(help="TCP port of the broker on 127.0.0.1.")] = 18883,
    credentials: Annotated[
        Path, typer.Option(help="Folder of the boxes' credentials; the broker lets each box of it in.")
    ] = Path("credentials"),
) -> None:
    """Run both until Ctrl-C and print how to reach them.

    Boxes that `drumtower gateway enrol` makes a credential for are let in as they come. Data and accounts are kept in
    the data directory (DRUMTOWER_DATA) from run to run.
    """
    with setup_told():
        directory = data_directory() / "services"
    ended = Stop().on_signals()
    broker = Broker(directory / "broker", broker_port)
    password = directory / "gateway-password"
    broker.add_gateway("gateway", _kept_password(password))
    known = let_in(broker, credentials, {})
    with PostgresServer(directory / "database", database_port) as database, broker:
        typer.echo(f"export DRUMTOWER_DATABASE_URL={database.create_database('drumtower')}")
        typer.echo(f"export DRUMTOWER_BROKER_URL={broker.url}")
        typer.echo(f"export DRUMTOWER_CA_FILE={broker.ca_file}")
        typer.echo(f"export DRUMTOWER_CREDENTIAL_FILE={password}   # the gateway's; a box has its own")
        typer.echo(f"# boxes are let in with the credentials of {credentials.absolute()}; Ctrl-C stops both")
        while not ended.wait(_LOOK_S):
            before, known = known, let_in(broker, credentials, known)
            if known != before:
                broker.reload()


def let_in(broker: Broker, folder: Path, known: dict[Address, str]) -> dict[Address, str]:
    """Give each box with a credential in `folder` its account; what is `known` already is left alone.

    Args:
        broker: whom to tell; it has to reload where it runs.
        folder: one file a box, `SITE.DEVICE`, as enrolment writes them; it need not exist yet.
        known: the credentials of the last look.
    """
    found = dict(known)
    for file in sorted(folder.glob("*.*")):
        site, _, device = file.name.partition(".")
        if not (is_name(site) and is_name(device)):
            continue
        password = file.read_text(encoding="utf-8").strip()
        # An empty file is one that enrolment is just writing.
        if password and found.get(Address(site, device)) != password:
            broker.add_device(site, device, password)
            found[Address(site, device)] = password
    return found


def _kept_password(file: Path) -> str:
    if not file.exists():
        write_atomically(file, secrets.token_urlsafe(18).encode(), 0o600)
    return file.read_text(encoding="ascii")
