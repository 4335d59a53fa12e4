"""``drumtower cloud``: run the ticket centre, ask how it stands, load its district, keep its accounts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cloud.audit.cli import app as audit_app
from cloud.auth.cli import app as account_app
from cloud.auth.token_cli import app as token_app
from cloud.calendar.cli import app as calendar_app
from cloud.config import Role, read_environment, read_settings
from cloud.db import Database
from cloud.dispatch.cli import app as routing_app
from cloud.district.cli import load as load_district
from cloud.duty.cli import app as duty_app
from cloud.inbox import repo as inbox
from cloud.notify.cli import app as notify_app
from cloud.reports.cli import app as personal_app
from cloud.severity.cli import app as severity_app
from cloud.summary.schemas import Summary
from cloud.summary.service import summarise
from common.runtime.clock import SystemClock
from common.runtime.log import configure_logging
from common.runtime.metrics import LOOPBACK, serve_metrics
from common.runtime.stop import Stop

app = typer.Typer(
    no_args_is_help=True, help="The ticket centre: observations become work, and work is seen through."
)
app.command("load-district")(load_district)
app.add_typer(account_app, name="account")
app.add_typer(token_app, name="token")
app.add_typer(audit_app, name="audit")
app.add_typer(routing_app, name="routing")
app.add_typer(severity_app, name="severity")
app.add_typer(duty_app, name="duty")
app.add_typer(calendar_app, name="calendar")
app.add_typer(personal_app, name="personal")
app.add_typer(notify_app, name="notify")

Config = Annotated[
    Path | None, typer.Option(help="settings (YAML); by default those of DRUMTOWER_CLOUD_CONFIG, or none")
]


@app.command()
def run(
    host: Annotated[str, typer.Option(help="the address of the web interface")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="its port; 0 chooses a free one")] = 8080,
    role: Annotated[Role, typer.Option(help="which parts this process is")] = "all",
    config: Config = None,
    *,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve /metrics on this port; 0: not at all.")
    ] = 0,
    metrics_host: Annotated[
        str, typer.Option(help="Where /metrics listens; nobody but this machine can read it by default.")
    ] = LOOPBACK,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error")] = "info",
) -> None:
    """Run it until SIGINT or SIGTERM."""
    configure_logging("cloud", level=log_level)
    stop = Stop().on_signals()
    from cloud.app import Cloud  # noqa: PLC0415 - the other commands do without the whole centre

    centre = Cloud(read_settings(config), read_environment(), SystemClock(), role, host=host, port=port)
    try:
        centre.start()
        serve_metrics(centre.registry, metrics_port, metrics_host)
        if role == "worker":
            print("working; next: drumtower cloud summary", flush=True)
        else:
            print(f"listening on {centre.url}; next: open it and sign in", flush=True)
        centre.run(stop)
    finally:
        centre.close()
    print(f"stopped ({stop.reason}); nothing taken in is lost, start it again at any time", flush=True)


@app.command()
def summary(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Say how the centre stands; exit code 1 when a promise is broken."""
    with Database(read_environment().database_url, 4) as database:
        found = summarise(database, read_settings(config).fusion)
    if as_json:
        print(found.model_dump_json())
    else:
        _show(found)
    if not found.sound:
        raise typer.Exit(1)


@app.command("retry-failed")
def retry_failed() -> None:
    """Put observations that could not be applied back into the inbox, after a fix."""
    with Database(read_environment().database_url, 4) as database, database.transaction() as transaction:
        for row in inbox.failed(transaction, 20):
            print(f"{row['failed_at']:%Y-%m-%d %H:%M:%S} {row['category']} {row['phase']}: {row['error']}")
        count = inbox.put_back(transaction)
    print(f"{count} put back; next: drumtower cloud summary")


def _show(found: Summary) -> None:
    table = Table(show_header=False, box=None)
    figures = {
        "incidents": f"{found.incidents.conditions} conditions, {found.incidents.open} still go on;"
        f" {found.incidents.acts} passing acts counted",
        "tickets": f"{found.tickets.total}, {found.tickets.open} open, {found.tickets.dispatched} dispatched,"
        f" {found.tickets.unassigned} without an owner, {found.tickets.overdue} overdue",
        "by channel": ", ".join(f"{name} {count}" for name, count in found.tickets.by_channel.items()),
        "by state": ", ".join(f"{name} {count}" for name, count in found.tickets.by_state.items() if count),
        "inbox": f"{found.inbox.waiting} waiting, {found.inbox.failed} failed",
        "promises": f"{found.checks.matters_with_two_open_tickets} matters with two open tickets,"
        f" {found.checks.incidents_without_exactly_one_ticket} incidents without exactly one",
    }
    for name, text in figures.items():
        table.add_row(name, text)
    Console().print(table)
    if found.inbox.failed:
        print("next: look at inbox_failed, and after a fix: drumtower cloud retry-failed")
    else:
        print("next: drumtower cloud run, then open its page")
