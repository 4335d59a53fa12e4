"""``drumtower gateway foreign``: try mapping files, register their devices."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from common.runtime.clock import SystemClock
from common.runtime.config import Fault, InvalidConfigError, load_config
from common.schema.cli import database_url
from common.wire.codec import rfc3339
from gateway.adapters.accounts import accounts_of, readable_by_gateways
from gateway.adapters.adapters import Adapters
from gateway.adapters.mapping import MappingFile, Surroundings, load_mapping, load_mappings
from gateway.config import GatewaySettings
from gateway.decode import ForeignReading, RawMessage, Rejected
from gateway.foreign.enrol import enrol_foreign
from gateway.metrics_catalogue import Metric

app = typer.Typer(no_args_is_help=True, help="Foreign devices: plain MQTT, JSON, ChirpStack.")

_CONFIG = Path("firmware_configs/gateway.yaml")
_FOLDER = "foreign"
ConfigOption = Annotated[Path, typer.Option("--config", help="For the metrics that it declares.")]
FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE]...", help="Mapping files; all of the folder's when none."),
]


def folder_of(config: Path) -> Path:
    """Where the mapping files of a configuration are: in ``foreign/`` beside it."""
    return config.parent / _FOLDER


@app.command()
def check(
    files: FilesArgument = None,
    topic: Annotated[str | None, typer.Option(help="Try a message: the topic it comes on.")] = None,
    payload: Annotated[str | None, typer.Option(help="What it says.")] = None,
    payload_file: Annotated[
        Path | None, typer.Option(help="A file with what it says.", exists=True, dir_okay=False)
    ] = None,
    config: ConfigOption = _CONFIG,
) -> None:
    """Check mapping files, and say what would be stored of a message."""
    metrics = load_config(config, GatewaySettings).catalogue()
    loaded = _load(files, config, metrics)
    if topic is None:
        _show(loaded)
        return
    if (payload is None) == (payload_file is None):
        raise typer.BadParameter("say what it says: --payload TEXT or --payload-file FILE")
    content = (
        payload_file.read_bytes() if payload_file else (payload or "").encode("utf-8", "surrogateescape")
    )
    raw = RawMessage(topic, content, False, SystemClock().now_ms(), len(content))
    found = Adapters(loaded, metrics).decode(raw)
    if isinstance(found, ForeignReading):
        _show_reading(found, metrics)
        return
    if found is None:
        print(f"no mapping file has a topic that {topic} fits; next: compare it with: gateway foreign check")
    else:
        _show_reject(found)
    raise typer.Exit(1)


@app.command()
def enrol(
    files: FilesArgument = None,
    credentials: Annotated[Path, typer.Option(help="Folder for one file an account.")] = Path("credentials"),
    config: ConfigOption = _CONFIG,
) -> None:
    """Register the devices of mapping files and give each account a password."""
    loaded = _load(files, config, load_config(config, GatewaySettings).catalogue())
    table = Table("user", "password", "may publish")
    for one in enrol_foreign(database_url(), loaded, credentials):
        made = "made" if one.made else "kept"
        table.add_row(
            one.account.username, f"{made}: {credentials / one.account.file}", "\n".join(one.account.publish)
        )
    console = Console()
    console.print(table)
    console.print(f"{sum(len(file.devices) for file in loaded)} devices registered")
    console.print(
        "next: add these users to the broker, let the gateway's user read "
        + ", ".join(readable_by_gateways(loaded))
        + ", then drumtower gateway run"
    )


def _load(files: list[Path] | None, config: Path, metrics: dict[str, Metric]) -> tuple[MappingFile, ...]:
    if not files:
        folder = folder_of(config)
        if found := load_mappings(folder, metrics):
            return found
        raise InvalidConfigError(
            [Fault(folder, 1, "", "expected at least one <mapping>.yaml here, found none")]
        )
    around = Surroundings(metrics)
    loaded: list[MappingFile] = []
    faults: list[Fault] = []
    for path in files:
        try:
            loaded.append(load_mapping(path, around))
        except InvalidConfigError as error:
            faults += error.faults
    if faults:
        raise InvalidConfigError(faults)
    return tuple(loaded)


def _show(files: tuple[MappingFile, ...]) -> None:
    table = Table("mapping", "topic", "payload", "brings", "repeats known by")
    for file in files:
        for entry in file.topics:
            brings = "\n".join(
                f"{value.sensor}/{value.metric}" + (f" from {value.unit}" if value.unit else "")
                for value in entry.quantities()
            )
            known = {"chirpstack": "frame counter", "number": "nothing: kept and marked"}.get(
                entry.payload, ""
            )
            if not known:
                counted, timed = getattr(entry, "counter", None), getattr(entry, "time", None)
                known = "counter" if counted else "time" if timed else "nothing: kept and marked"
            table.add_row(file.mapping, entry.topic, entry.payload, brings, known)
    console = Console()
    console.print(table)
    devices, users = sum(len(file.devices) for file in files), sum(len(accounts_of(file)) for file in files)
    console.print(f"right: {len(files)} mappings, {devices} devices, {users} users at the broker")
    console.print("next: try a message with --topic and --payload, then drumtower gateway foreign enrol")


def _show_reading(found: ForeignReading, metrics: dict[str, Metric]) -> None:
    channel = found.channel
    print(f"device {channel.address}, measured {rfc3339(found.at)}")
    for place, value in zip(found.which, found.values, strict=True):
        sensor, metric = channel.series[place]
        believed = metrics[metric]
        odd = "" if believed.low <= value <= believed.high else "  (implausible: flagged)"
        print(f"  {sensor}/{metric} = {value:.6g} {believed.unit}".rstrip() + odd)
    for reason, message, name in found.refused:
        print(f"  {name} refused: {reason}: {message}")
    if not found.values:
        print("  no readings: it says that the device is there")
    if channel.numbering is None:
        print("without counter or time: kept and marked, a repeat would be stored again")
    elif channel.numbering.modulus:
        print(f"number {found.number} of stream {found.epoch:x}: a repeat is stored once")
    else:
        at = datetime.fromtimestamp(found.number / 1000, UTC).isoformat(timespec="milliseconds")
        print(f"known by its time {at}: a repeat is stored once")
    print("next: drumtower gateway foreign enrol, then drumtower gateway run")


def _show_reject(found: Rejected) -> None:
    print(f"refused and kept: {found.reason}: {found.message}")
    print("next: correct the mapping file or the device; after a fix: drumtower gateway rejects retry")
