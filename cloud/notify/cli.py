"""``drumtower cloud notify``: what was told and what not, try a channel, try again what was given up."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.config import read_settings
from cloud.db import Database
from cloud.notify import repo
from cloud.notify.domain import Notification
from cloud.notify.repo import ListedState
from cloud.notify.senders import send
from cloud.notify.service import channel_named
from common.runtime.errors import InvalidError
from common.runtime.places import database_url
from common.runtime.settings import one_of

app = typer.Typer(
    no_args_is_help=True,
    help="What people are told 通知: what waits, what was given up, whether a channel works.",
)


@app.command("list")
def list_them(
    state: Annotated[ListedState, typer.Option(help="which")] = "waiting",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """Show notifications, the newest first, and what each channel has done."""
    with Database(database_url(), size=1) as database, database.transaction() as transaction:
        rows, channels = repo.listing(transaction, state, limit), repo.channels(transaction)
    table = Table("id", "kind", "unit", "for", "due", "tries", "last error", box=None)
    for row in rows:
        due = f"{row['due_at'].astimezone(DISTRICT_ZONE):%m-%d %H:%M}"
        table.add_row(
            *(str(row["id"]), row["kind"], row["unit_code"], row["person"], due, str(row["attempts"])),
            row["error"][:80],
        )
    console = Console()
    console.print(table)
    for one in channels:
        console.print(
            f"{one['channel']}: {one['sent']} sent, {one['waiting']} wait, {one['given_up']} given up"
        )
    print(f"{len(rows)} {state}")


@app.command()
def retry(
    hours: Annotated[float, typer.Option(min=0.1, max=720, help="given up within so long")] = 24.0,
) -> None:
    """Let what was given up be tried anew, by the channels that are set now."""
    now = datetime.now(UTC)
    with Database(database_url(), size=1) as database, database.transaction() as transaction:
        count = repo.revive(transaction, now - timedelta(hours=hours), now)
    print(f"{count} are tried again; next: drumtower cloud notify list")


@app.command("test")
def try_channel(
    channel: Annotated[str, typer.Option(help="its name in the settings")],
    phone: Annotated[str, typer.Option(help="whom a robot should mention")] = "",
    email: Annotated[str, typer.Option(help="where mail should go; by default where the channel says")] = "",
    config: Annotated[
        Path | None, typer.Option(help="settings (YAML); by default those of DRUMTOWER_CLOUD_CONFIG")
    ] = None,
) -> None:
    """Send a message by one channel now; exit code 1 when the receiver does not take it."""
    settings = read_settings(config).notify
    found = channel_named(settings.channels, channel)
    if found is None:
        names = [one.name for one in settings.channels]
        raise InvalidError("notify.unknown_channel", one_of(channel, names), "see notify.channels")
    now = datetime.now(UTC)
    payload = {"phone": phone, "email": email, "note": "drumtower cloud notify test"}
    key = f"test:{secrets.token_hex(8)}"
    notification = Notification(0, "test", "centre", "", "", payload, key, now, now)
    if not found.reaches(notification):
        raise InvalidError(
            "notify.no_address", f"channel {channel!r} knows no address", "name one with --email"
        )
    send(found, settings, notification, {}, now)
    print(f"{channel}: taken by the receiver ({notification.message_id})")
