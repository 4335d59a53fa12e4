"""``drumtower gateway rejects``: messages that could not be taken in, to be looked at, tried again or thrown away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from common.runtime.config import load_config
from common.runtime.errors import InvalidError
from common.schema.cli import database_url
from common.wire.topics import Address
from gateway.adapters.adapters import Adapters
from gateway.adapters.mapping import load_mappings
from gateway.app import limits_of
from gateway.config import GatewaySettings
from gateway.decode import Decoder
from gateway.fleet import audit
from gateway.fleet import repo as fleet
from gateway.foreign.cli import folder_of
from gateway.rejects import repo as kept
from gateway.rejects.preview import content, preview, printable
from gateway.rejects.retry import Retrier, StillRejectedError

app = typer.Typer(no_args_is_help=True, help="Messages that could not be taken in.")
_CONFIG = Path("firmware_configs/gateway.yaml")

IdsArgument = Annotated[list[int] | None, typer.Argument(metavar="[ID]...")]
ReasonOption = Annotated[str | None, typer.Option(help="Of this reason only.")]
BoxOption = Annotated[str | None, typer.Option(metavar="SITE/BOX", help="Of this box only.")]


@app.command("list")
def list_rejects(
    reason: ReasonOption = None,
    box: BoxOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Single ones at most.")] = 20,
) -> None:
    """What could not be taken in, by reason and box; single ones where a reason or a box is given."""
    console = Console()
    choice = kept.Choice(reason, box_of(box))
    with fleet.connect(database_url(), "rejects") as connection:
        audit.looked(connection, "reject.listed", reason=reason, box=box)
        tables = [_counts(connection, choice)]
        if reason or box:
            tables.append(_single(connection, choice, limit))
    if not tables[0].row_count:
        console.print("nothing was rejected; next: nothing to do")
        return
    for table in tables:
        console.print(table)
    console.print("next: drumtower gateway rejects show ID, or rejects retry ID after a fix")


def _counts(connection: fleet.Connection, choice: kept.Choice) -> Table:
    table = Table("reason", "sender", "count", "bytes", "newest", "at")
    for line in kept.counts(connection, choice):
        at = line.newest_at.isoformat(timespec="seconds")
        sender = line.sender or "(nobody known)"
        table.add_row(line.reason, sender, str(line.count), str(line.bytes), str(line.newest_id), at)
    return table


def _single(connection: fleet.Connection, choice: kept.Choice, limit: int) -> Table:
    table = Table("id", "at", "sender", "packet", "message")
    for one in kept.newest(connection, choice, limit):
        number = "" if one.seq is None or one.epoch is None else f"{one.epoch:x}-{one.seq}"
        at = one.received_at.isoformat(timespec="seconds")
        sender = one.sender or printable(one.topic)
        table.add_row(str(one.reject_id), at, sender, number, printable(one.message))
    return table


@app.command()
def show(
    reject_id: Annotated[int, typer.Argument(metavar="ID")],
    limit: Annotated[int, typer.Option("--bytes", min=0, help="Show so many at most.")] = 2000,
    save: Annotated[Path | None, typer.Option(help="Write the bytes as they came to this file.")] = None,
) -> None:
    """One reject: where it came from, why it was rejected, what it says, and its bytes."""
    with fleet.connect(database_url(), "rejects") as connection:
        found = kept.find(connection, reject_id)
        if found is None:
            print(f"there is no reject {reject_id}; next: drumtower gateway rejects list")
            raise typer.Exit(1)
        audit.looked(
            connection,
            "reject.inspected",
            reject_id=reject_id,
            reason=found.reason,
            topic=found.topic,
            saved=save is not None,
        )
    number = "" if found.seq is None or found.epoch is None else f", packet {found.epoch:x}-{found.seq}"
    print(f"reject {found.reject_id}: {found.reason}: {printable(found.message)}")
    print(f"sender {found.sender or '(nobody known)'}, topic {printable(found.topic)}{number}")
    print(f"received {found.received_at.isoformat()}; {found.size} bytes, {len(found.payload)} kept")
    if found.series:
        print(f"rejected of it: {', '.join(found.series)}; the rest was taken in")
    print(f"says now: {content(found.topic, found.payload)}")
    for line in preview(found.payload, limit):
        print(f"  {line}")
    if save is not None:
        save.write_bytes(found.payload)
        print(f"wrote {len(found.payload)} bytes to {save}")
    print(
        f"next: drumtower gateway rejects retry {found.reject_id} after a fix, or rejects drop {found.reject_id}"
    )


@app.command("retry")
def retry_rejects(
    reject_id: IdsArgument = None,
    reason: ReasonOption = None,
    box: BoxOption = None,
    config: Annotated[Path, typer.Option("--config", help="Rules and limits.")] = _CONFIG,
) -> None:
    """Try rejects again, after a metric was declared, a device enrolled or the software mended."""
    choice = _choice(reject_id, reason, box)
    settings = load_config(config, GatewaySettings)
    taken, refused, gone, rows = 0, 0, 0, 0
    metrics = settings.catalogue()
    decoder = Decoder(Adapters(load_mappings(folder_of(config), metrics), metrics))
    with fleet.connect(database_url(), "rejects") as connection:
        retrier = Retrier(connection, metrics, limits_of(settings), decoder=decoder)
        for one in reject_id or kept.ids(connection, choice):
            try:
                rows += retrier.retry(one)
                taken += 1
            except StillRejectedError as error:
                refused += 1
                print(printable(str(error)))
            except InvalidError as error:  # somebody else took it in or threw it away meanwhile
                gone += 1
                print(error)
    print(
        f"{taken} taken in with {rows} readings, {refused} still rejected; next: drumtower gateway rejects list"
    )
    if refused or (gone and reject_id):
        raise typer.Exit(1)


@app.command("drop")
def drop_rejects(
    because: Annotated[str, typer.Option(help="Why; it is written into the audit.")],
    reject_id: IdsArgument = None,
    reason: ReasonOption = None,
    box: BoxOption = None,
) -> None:
    """Throw rejects away for good. Who did it, when, what and why is kept for ever."""
    choice = _choice(reject_id, reason, box)
    why = because.strip()
    if not why:
        raise typer.BadParameter("say why: --because TEXT")
    with fleet.connect(database_url(), "rejects") as connection, fleet.transaction(connection):
        gone = kept.drop(connection, choice, audit.this_person(), why)
        if missing := sorted(set(reject_id or ()) - set(gone)):
            raise InvalidError(
                "rejects.unknown",
                f"there is no such reject as {', '.join(map(str, missing))}; nothing was dropped",
                "drumtower gateway rejects list",
            )
    print(f"{len(gone)} dropped; next: drumtower gateway audit")


def _choice(reject_id: list[int] | None, reason: str | None, box: str | None) -> kept.Choice:
    if not reject_id and reason is None and box is None:
        raise typer.BadParameter("name the ids, --reason REASON or --box SITE/BOX")
    return kept.Choice(reason, box_of(box), tuple(reject_id or ()))


def box_of(text: str | None) -> Address | None:
    """The box that somebody named."""
    try:
        return None if text is None else Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
