"""``drumtower gateway``: run it, enrol boxes, look after rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from common.runtime.config import load_config
from common.runtime.log import configure_logging
from common.runtime.stop import Stop
from common.schema.cli import database_url
from common.wire.topics import Address
from gateway.adapters.mapping import load_mappings
from gateway.app import Gateway, limits_of
from gateway.config import GatewaySettings, read_environment
from gateway.fleet import repo as fleet
from gateway.fleet.enrol import enrol as enrol_devices
from gateway.fleet.release import release
from gateway.fleet.sites import load_site, load_sites
from gateway.foreign.cli import app as foreign_app
from gateway.foreign.cli import folder_of
from gateway.rejects import repo as kept
from gateway.rejects.retry import StillRejectedError, retry

app = typer.Typer(no_args_is_help=True, help="The district's gateway: takes every message in, exactly once.")
rejects_app = typer.Typer(no_args_is_help=True, help="Messages that could not be taken in.")
app.add_typer(rejects_app, name="rejects")

quarantine_app = typer.Typer(no_args_is_help=True, help="Boxes that cost the district too much.")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(foreign_app, name="foreign")

_CONFIG = Path("firmware_configs/gateway.yaml")
_SITES = Path("firmware_configs/sites")
ConfigOption = Annotated[Path, typer.Option("--config", help="Rules and limits.")]


@app.command()
def run(
    config: ConfigOption = _CONFIG,
    *,
    partition: Annotated[str, typer.Option(help="The group of sites whose lease to take.")] = "default",
    metrics_port: Annotated[int, typer.Option(help="Serve /metrics on 127.0.0.1; 0: not at all.")] = 0,
    evidence_port: Annotated[int | None, typer.Option(help="Instead of the configuration's.")] = None,
    foreign: Annotated[
        Path | None, typer.Option(help="Folder of mapping files; foreign/ beside the configuration when none.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Take messages in until stopped. A second gateway waits for the first one's lease."""
    configure_logging("gateway", level=log_level)
    settings = load_config(config, GatewaySettings)
    if evidence_port is not None:
        evidence = settings.evidence.model_copy(update={"port": evidence_port})
        settings = settings.model_copy(update={"evidence": evidence})
    mappings = load_mappings(foreign or folder_of(config), settings.catalogue())
    stop = Stop().on_signals()
    gateway = Gateway(
        settings, read_environment(), partition=partition, metrics_port=metrics_port, foreign=mappings
    )
    gateway.start(stop)
    gateway.run(stop)


@app.command()
def enrol(
    site: Annotated[
        list[Path] | None, typer.Argument(help="Site files; all of the folder's when none.")
    ] = None,
    credentials: Annotated[Path, typer.Option(help="Folder for one file a box.")] = Path("credentials"),
    renew: Annotated[
        bool, typer.Option(help="Give boxes without a file here a new credential; the old one stops working.")
    ] = False,
) -> None:
    """Register the boxes of the site files and give each a credential."""
    sites = [load_site(path) for path in site] if site else load_sites(_SITES)
    result = enrol_devices(database_url(), sites, credentials, renew=renew)
    console = Console()
    for address in result.made:
        console.print(f"made a credential for {address}")
    for address in result.elsewhere:
        console.print(
            f"{address} keeps its credential, which is not in {credentials} (--renew makes a new one)"
        )
    console.print(
        f"{len(result.credentials) + len(result.elsewhere)} boxes registered; next: add the new credentials to the"
        f" broker, put each file of {credentials} on its box, then drumtower gateway run"
    )


@rejects_app.command("list")
def list_rejects(
    reason: Annotated[str | None, typer.Option(help="Show single ones of this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
) -> None:
    """What could not be taken in, by reason and sender."""
    console = Console()
    with fleet.connect(database_url(), "rejects") as connection:
        table = _by_reason(connection) if reason is None else _single(connection, reason, limit)
    if table.row_count:
        console.print(table)
        console.print("next: drumtower gateway rejects show ID, or rejects retry ID after a fix")
    else:
        console.print("nothing was rejected; next: nothing to do")


def _by_reason(connection: fleet.Connection) -> Table:
    table = Table("reason", "sender", "count", "newest", "at")
    for line in kept.counts(connection):
        at = line.newest_at.isoformat(timespec="seconds")
        table.add_row(line.reason, line.sender or "(nobody known)", str(line.count), str(line.newest_id), at)
    return table


def _single(connection: fleet.Connection, reason: str, limit: int) -> Table:
    table = Table("id", "at", "sender", "packet", "message")
    for one in kept.newest(connection, reason, limit):
        number = "" if one.seq is None or one.epoch is None else f"{one.epoch:x}-{one.seq}"
        at = one.received_at.isoformat(timespec="seconds")
        table.add_row(str(one.reject_id), at, one.sender or one.topic, number, one.message)
    return table


@rejects_app.command()
def show(reject_id: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """One reject with its bytes."""
    with fleet.connect(database_url(), "rejects") as connection:
        found = kept.find(connection, reject_id)
    if found is None:
        print(f"there is no reject {reject_id}; next: drumtower gateway rejects list")
        raise typer.Exit(1)
    print(f"reject {found.reject_id}: {found.reason}: {found.message}")
    print(
        f"sender {found.sender or '(nobody known)'}, topic {found.topic}, received {found.received_at.isoformat()}"
    )
    print(f"{found.size} bytes, {len(found.payload)} kept:")
    print(found.payload.decode("utf-8", "backslashreplace"))
    print(f"next: drumtower gateway rejects retry {found.reject_id}, after a fix")


@rejects_app.command("retry")
def retry_rejects(
    reject_id: Annotated[list[int] | None, typer.Argument(metavar="[ID]...")] = None,
    reason: Annotated[str | None, typer.Option(help="All of this reason.")] = None,
    config: ConfigOption = _CONFIG,
) -> None:
    """Try rejects again, after a metric was declared, a device enrolled or the software mended."""
    if not reject_id and reason is None:
        raise typer.BadParameter("name the ids, or --reason REASON")
    settings = load_config(config, GatewaySettings)
    taken, refused, rows = 0, 0, 0
    with fleet.connect(database_url(), "rejects") as connection:
        for one in reject_id or kept.ids(connection, reason):
            try:
                rows += retry(connection, one, settings.catalogue(), limits_of(settings))
                taken += 1
            except StillRejectedError as error:
                refused += 1
                print(error)
    print(
        f"{taken} taken in with {rows} readings, {refused} still rejected; next: drumtower gateway rejects list"
    )
    if refused:
        raise typer.Exit(1)


@quarantine_app.command("list")
def list_quarantined() -> None:
    """Which boxes are kept out."""
    table = Table("box", "since", "messages kept")
    with fleet.connect(database_url(), "quarantine") as connection:
        for one in fleet.quarantined(connection):
            table.add_row(str(one.address), one.since.isoformat(timespec="seconds"), str(one.rejects))
    if table.row_count:
        Console().print(table)
        print("next: look at the box, then drumtower gateway quarantine release SITE/BOX")
    else:
        print("no box is quarantined; next: nothing to do")


@quarantine_app.command("release")
def release_quarantined(box: Annotated[str, typer.Argument(metavar="SITE/BOX")]) -> None:
    """Take a box in again."""
    try:
        address = Address.parse(box)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with fleet.connect(database_url(), "quarantine") as connection:
        found = release(connection, address)
    print(f"{address} is taken in again within ten seconds, and sends what it still holds")
    if found.rejects:
        print(
            f"{found.rejects} of its messages are kept; next: drumtower gateway rejects retry --reason quarantined"
        )
    else:
        print("next: drumtower gateway rejects list, in case it goes on as before")
