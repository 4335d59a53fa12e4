"""``drumtower gateway``: run it, enrol boxes, look after rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from common.runtime.config import load_config, load_each
from common.runtime.log import configure_logging
from common.runtime.metrics import LOOPBACK
from common.runtime.stop import Stop
from common.schema.cli import database_url
from gateway.adapters.mapping import load_mappings
from gateway.app import Gateway
from gateway.config import GatewaySettings, read_environment
from gateway.fleet.cli import app as quarantine_app
from gateway.fleet.cli import show_audit
from gateway.fleet.enrol import enrol as enrol_devices
from gateway.fleet.sites import load_all, load_site, load_sites
from gateway.foreign.cli import app as foreign_app
from gateway.foreign.cli import folder_of
from gateway.presence.cli import show_devices
from gateway.quiet.cli import drill_app, maintenance_app, shelved_app
from gateway.rejects.cli import app as rejects_app
from gateway.rulebook.versions import rules_of_file

app = typer.Typer(no_args_is_help=True, help="The district's gateway: takes every message in, exactly once.")
app.add_typer(rejects_app, name="rejects")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(foreign_app, name="foreign")
app.add_typer(maintenance_app, name="maintenance")
app.add_typer(drill_app, name="drill")
app.add_typer(shelved_app, name="shelved")
app.command("audit")(show_audit)
app.command("devices")(show_devices)

_CONFIG = Path("firmware_configs/gateway.yaml")
_SITES = Path("firmware_configs/sites")
ConfigOption = Annotated[Path, typer.Option("--config", help="Rules and limits.")]


@app.command()
def run(
    config: ConfigOption = _CONFIG,
    *,
    partition: Annotated[str, typer.Option(help="The group of sites whose lease to take.")] = "default",
    metrics_port: Annotated[int, typer.Option(help="Serve /metrics on this port; 0: not at all.")] = 0,
    metrics_host: Annotated[
        str, typer.Option(help="Where /metrics listens; nobody but this machine can read it by default.")
    ] = LOOPBACK,
    evidence_port: Annotated[int | None, typer.Option(help="Instead of the configuration's.")] = None,
    foreign: Annotated[
        Path | None,
        typer.Option(help="Folder of mapping files; foreign/ beside the configuration when none."),
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
        settings,
        read_environment(),
        partition=partition,
        metrics_port=metrics_port,
        foreign=mappings,
        rules=rules_of_file(config),
        metrics_host=metrics_host,
    )
    gateway.start(stop)
    gateway.run(stop)


@app.command()
def check(
    config: ConfigOption = _CONFIG,
    sites: Annotated[Path, typer.Option(help="Folder of the site files.")] = _SITES,
) -> None:
    """Check rules, limits and site files, each for itself and against each other, without starting anything."""
    settings, found = load_all(config, sites)
    print(f"{config}: ok, {len(settings.rules)} rules for {len(settings.catalogue())} metrics")
    for site in found:
        print(f"{sites / site.site}.yaml: ok, {len(site.devices)} boxes")
    print(f"next: drumtower gateway run --config {config}")


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
    sites = load_each(site, load_site) if site else load_sites(_SITES)
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
