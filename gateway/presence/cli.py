"""``drumtower gateway devices``: who is there, and whose clock is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from common.schema.cli import database_url
from gateway.fleet.repo import connect
from gateway.presence.repo import Presence, presences
from gateway.rejects.preview import printable

#: From here on two boxes that see one thing disagree about when it was.
_WRONG_MS: Final = 1000.0


def show_devices(
    clock_off: Annotated[
        float | None, typer.Option(min=0, help="Only boxes whose clock is off by more than so many seconds.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a box.")] = False,
) -> None:
    """Every box: when it was last heard, what it still holds, what of it is silent, and how right its clock is.

    A box measures its clock against the receipts. Nothing is set right by that: times stay as the box gave them.
    """
    with connect(database_url(), "devices") as connection:
        found = presences(connection)
    shown = [one for one in found if clock_off is None or abs(one.clock_offset_ms or 0.0) > clock_off * 1000]
    if as_json:
        for one in shown:
            typer.echo(json.dumps(_as_json(one)))
        return
    now = datetime.now(UTC)
    table = Table("box", "state", "heard", "clock", "packets held", "silent or blind", "version")
    for one in shown:
        faults = (one.sensors_silent or 0) + (one.cameras_blind or 0)
        table.add_row(
            str(one.address),
            _state(one),
            "never" if one.seen_at is None else f"{(now - one.seen_at).total_seconds():.0f} s ago",
            _clock(one.clock_offset_ms),
            _number(one.unreceipted),
            _number(faults) if one.sensors_silent is not None else "–",
            printable(one.version),
        )
    if shown:
        Console().print(table)
    _next(found, shown)


def _next(found: list[Presence], shown: list[Presence]) -> None:
    wrong = [one for one in found if abs(one.clock_offset_ms or 0.0) > _WRONG_MS]
    if not found:
        typer.echo("no box is registered; next: drumtower gateway enrol")
    elif wrong:
        typer.echo(
            f"{len(wrong)} of {len(found)} clocks are off by more than a second; next: set them"
            f" (timedatectl set-ntp true on {wrong[0].address}), and see drumtower gateway devices --clock-off 1"
        )
    else:
        typer.echo(f"{len(shown)} of {len(found)} boxes; no clock is known to be off by more than a second")


def _state(one: Presence) -> str:
    if one.quarantined:
        return "quarantined"
    return "silent" if one.silent else one.state or "–"


def _clock(offset_ms: float | None) -> str:
    if offset_ms is None:
        return "–"
    if abs(offset_ms) < 10:
        return "right"
    return f"{abs(offset_ms) / 1000:.2f} s {'slow' if offset_ms > 0 else 'fast'}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _as_json(one: Presence) -> dict[str, object]:
    return {
        "box": str(one.address),
        "state": _state(one),
        "seen_at": None if one.seen_at is None else one.seen_at.isoformat(),
        "clock_offset_ms": one.clock_offset_ms,
        "unreceipted": one.unreceipted,
        "sensors_silent": one.sensors_silent,
        "cameras_blind": one.cameras_blind,
        "version": one.version,
    }
