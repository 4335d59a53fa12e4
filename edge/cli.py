"""``drumtower edge``: run a box, check its configuration, look into its outbox."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from common.runtime.config import load_each
from common.runtime.log import configure_logging
from common.runtime.metrics import LOOPBACK, serve_metrics
from common.runtime.stop import Stop
from edge.clips_cli import app as clips_app
from edge.config import DeviceConfig, data_directory, load_device
from edge.database import FILE_NAME, open_read_only
from edge.room import when_there_is_room
from edge.view_cli import app as view_app

app = typer.Typer(
    help="The box on the lamp pole: cameras and sensors in, numbered packets out.", no_args_is_help=True
)
app.add_typer(clips_app, name="clips")
app.add_typer(view_app, name="view")

Device = Annotated[Path, typer.Argument(help="firmware_configs/devices/DEVICE.yaml")]
Data = Annotated[Path | None, typer.Option("--data", help="Where the box keeps what must survive.")]


@app.command()
def run(
    device: Device,
    data: Data = None,
    metrics_port: Annotated[int, typer.Option(help="Serve Prometheus metrics on this port; 0: no.")] = 0,
    metrics_host: Annotated[
        str, typer.Option(help="Where they are served; nobody but this machine can read them by default.")
    ] = LOOPBACK,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error")] = "info",
) -> None:
    """Run a box until SIGTERM or Ctrl-C.

    Reads DRUMTOWER_BROKER_URL, DRUMTOWER_CA_FILE, DRUMTOWER_CREDENTIAL_FILE, DRUMTOWER_EVIDENCE_URL,
    DRUMTOWER_DATA and DRUMTOWER_FOOTAGE_DIR; they come before what the file says. DRUMTOWER_EVIDENCE_URL may
    hold several addresses, separated by commas.
    """
    from edge.app import Agent  # noqa: PLC0415 - the other commands do without the whole agent

    configure_logging("edge", level=log_level)
    config = load_device(device)
    directory = data_directory(data, config, os.environ)
    stop = Stop().on_signals()
    agent = when_there_is_room(lambda: Agent(config, device, directory, os.environ), stop)
    if agent is None:
        return
    serve_metrics(agent.registry, metrics_port, metrics_host)
    agent.run(stop)


@app.command()
def check(
    device: Annotated[list[Path], typer.Argument(help="One or several firmware_configs/devices/DEVICE.yaml")],
) -> None:
    """Check the configuration, models and footage of boxes without starting them."""
    configs = load_each(device, load_device)
    faults = sum(_check(config, path) for config, path in zip(configs, device, strict=True))
    if faults:
        typer.echo(f"{faults} to mend; a box started like this says so and goes on with the rest", err=True)
        raise typer.Exit(1)
    typer.echo("\n".join(f"start it: drumtower edge run {path}" for path in device))


def _check(config: DeviceConfig, path: Path) -> int:
    """Tell what is found out about one box; returns the number of faults."""
    from edge.inspect import inspect  # noqa: PLC0415

    sensors = len(config.names) - len(config.cameras)
    typer.echo(f"{config.address}: configuration ok, {len(config.cameras)} cameras, {sensors} sensors")
    faults = 0
    for finding in inspect(config, path, os.environ):
        if finding.error is None:
            typer.echo(f"  ok     {finding.what}: {finding.found}")
        else:
            faults += 1
            typer.echo(f"  fault  {finding.what}: {finding.error.code}: {finding.error}", err=True)
    if config.modbus:
        typer.echo(f"  ask its sensors on Modbus: drumtower edge probe {path}")
    return faults


@app.command()
def probe(
    device: Device,
    sensor: Annotated[str | None, typer.Option(help="Only this one.")] = None,
) -> None:
    """Ask each sensor on Modbus once: value, unit, where it stands, and the registers as they came.

    A box that runs has its lines for itself: stop it first.
    """
    from edge.sensors.probe import probe as ask  # noqa: PLC0415
    from edge.sensors.probe import told  # noqa: PLC0415

    config = load_device(device)
    names = [one.name for line in config.modbus for one in line.sensors]
    if sensor is not None and sensor not in names:
        raise typer.BadParameter(f"expected one of {', '.join(names) or 'none'}, got {sensor!r}")
    faults = values = 0
    where = ""
    for found in ask(config.modbus, sensor):
        if found.where != where:
            where = found.where
            typer.echo(where)
        typer.echo(f"  {found.sensor.name} (unit {found.sensor.unit_id})")
        for look in found.looks:
            typer.echo(f"    {'fault' if look.error else 'ok   '}  {told(look)}")
            values += look.error is None
        for error in {str(look.error): look.error for look in found.looks if look.error}.values():
            faults += 1
            typer.echo(f"    {error.code}: {error}", err=True)
    if not names:
        typer.echo(f"{config.address} has no sensor on Modbus; docs/how-to.md tells how to add one")
    elif faults:
        typer.echo(f"{values} values read; mend what is told above, and probe again", err=True)
        raise typer.Exit(1)
    else:
        typer.echo(
            f"{values} values read; hold them against the sensors' displays, then: drumtower edge run {device}"
        )


@app.command()
def outbox(
    where: Annotated[Path, typer.Argument(help="A device's configuration, or a data directory.")],
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what a box has numbered, and what the store has; safe while the box runs."""
    from edge.outbox_stats import read_stats  # noqa: PLC0415

    directory = where if where.is_dir() else data_directory(data, load_device(where), os.environ)
    connection = open_read_only(directory)
    try:
        stats = asdict(read_stats(connection))
    finally:
        connection.close()
    stats["epoch"] = f"{stats['epoch']:x}"
    if as_json:
        typer.echo(json.dumps(stats))
        return
    for name in ("numbered", "receipted", "unreceipted", "abandoned", "held_bytes", "epoch"):
        typer.echo(f"{name:>12}  {stats[name]}")
    if stats["unreceipted"]:
        typer.echo(f"{directory / FILE_NAME} holds packets to send: `drumtower edge run` sends them")
    else:
        typer.echo("everything is committed at the district; nothing to do")
