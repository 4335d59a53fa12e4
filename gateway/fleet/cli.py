"""``drumtower gateway quarantine`` and ``audit``: boxes that are kept out, and what was done by hand."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from common.schema.cli import database_url
from gateway.fleet import audit, repo
from gateway.fleet.release import put, release
from gateway.rejects import repo as rejects
from gateway.rejects.cli import box_of
from gateway.rejects.preview import printable

app = typer.Typer(no_args_is_help=True, help="Boxes that cost the district too much.")
BoxArgument = Annotated[str, typer.Argument(metavar="SITE/BOX")]


@app.command("list")
def list_quarantined() -> None:
    """Which boxes are kept out."""
    table = Table("box", "since", "messages kept")
    with repo.connect(database_url(), "quarantine") as connection:
        audit.looked(connection, "quarantine.listed")
        for one in repo.quarantined(connection):
            table.add_row(str(one.address), one.since.isoformat(timespec="seconds"), str(one.rejects))
    if table.row_count:
        Console().print(table)
        print("next: drumtower gateway quarantine show SITE/BOX, then quarantine release SITE/BOX")
    else:
        print("no box is quarantined; next: nothing to do")


@app.command("show")
def show_quarantined(box: BoxArgument) -> None:
    """Why a box is kept out, and what it has the store remember; of any box."""
    address = box_of(box)
    assert address is not None
    with repo.connect(database_url(), "quarantine") as connection:
        audit.looked(connection, "quarantine.inspected", box=str(address))
        found = repo.cost(connection, address)
        counts = rejects.counts(connection, rejects.Choice(sender=address))
    if found is None:
        print(f"{address} is not registered; next: drumtower gateway enrol")
        raise typer.Exit(1)
    if found.since is None:
        print(f"{address} is not quarantined")
    else:
        since = found.since.isoformat(timespec="seconds")
        print(f"{address} is quarantined since {since}: {printable(found.why) or 'no reason is known'}")
    if found.released_at is not None:
        print(f"released last at {found.released_at.isoformat(timespec='seconds')}")
    print(
        f"streams {found.streams}, of them begun in 24 hours {found.streams_of_day};"
        f" most ranges in one {found.most_ranges}"
    )
    print(
        f"rejects counted: {found.kept} kept with {found.kept_bytes} bytes, {found.dropped} beyond the quota"
    )
    for line in counts:
        print(f"  {line.reason}: {line.count} with {line.bytes} bytes, newest {line.newest_id}")
    if found.since is not None:
        print(f"next: drumtower gateway quarantine release {address}")
    else:
        print(f"next: drumtower gateway rejects list --box {address}")


@app.command("put")
def put_in_quarantine(
    box: BoxArgument,
    because: Annotated[str, typer.Option(help="Why; it is told to the ticket centre and kept in the audit.")],
) -> None:
    """Keep a box out: its messages are kept as rejects within its quota, without a receipt."""
    address = box_of(box)
    assert address is not None
    if not because.strip():
        raise typer.BadParameter("say why: --because TEXT")
    with repo.connect(database_url(), "quarantine") as connection:
        put(connection, address, audit.this_person(), because.strip())
    print(f"{address} is kept out within ten seconds; next: drumtower gateway quarantine release {address}")


@app.command("release")
def release_quarantined(
    box: BoxArgument, because: Annotated[str, typer.Option(help="Why; for the audit.")] = ""
) -> None:
    """Take a box in again."""
    address = box_of(box)
    assert address is not None
    with repo.connect(database_url(), "quarantine") as connection:
        found = release(connection, address, why=because.strip())
    print(f"{address} is taken in again within ten seconds, and sends what it still holds")
    if found.rejects:
        print(
            f"{found.rejects} of its messages are kept; next: drumtower gateway rejects retry --reason quarantined"
            f" --box {address}"
        )
    else:
        print("next: drumtower gateway rejects list, in case it goes on as before")


def show_audit(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 50,
    looks: Annotated[bool, typer.Option("--looks", help="Also who looked at what.")] = False,
) -> None:
    """What was done to boxes, rejects and rules by hand: who, when, what and why."""
    table = Table("at", "who", "what", "details")
    with repo.connect(database_url(), "audit") as connection:
        for entry in audit.newest(connection, limit, looks=looks):
            detail = ", ".join(f"{key} {value}" for key, value in sorted(entry.detail.items()) if value)
            at = entry.at.isoformat(timespec="seconds")
            table.add_row(at, f"{entry.actor}@{entry.host}", entry.action, printable(detail))
    if table.row_count:
        Console().print(table)
    else:
        print("nothing was done by hand; next: nothing to do")
