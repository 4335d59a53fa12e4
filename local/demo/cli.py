"""``drumtower demo``: the whole of Drumtower on this machine, until Ctrl-C or for a while."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.console import Console

from common.runtime.errors import DrumtowerError
from common.runtime.stop import Stop
from local.demo.audit import Audit, audit
from local.demo.figures import read_snapshot
from local.demo.screen import Screen, Snapshot
from local.demo.stack import CONFIGS, Plan, Stack, elsewhere, hidden
from local.footage import find_footage
from local.paths import data_directory, exclusive_lock
from local.prefix import require_room
from local.processes import setup_told

app = typer.Typer(help="Street video and sensors in, dispatched tickets out, on this machine.")
#: How long the ticket centre may take to apply what the boxes sent last, in seconds.
_SETTLE_S = 60.0
#: The gateway takes no evidence where less than half a gigabyte would stay free; the store grows beside it.
_ROOM_BYTES = 700_000_000
#: With less room the store would stop in the middle of a write.
_LEAST_ROOM_BYTES = 64_000_000


#: What says nothing any more once the boxes are stopped, or is compared more exactly.
_OF_THE_MOMENT = {"latest", "packets_numbered", "boxes_online", "oldest_unreceipted_s"}


@app.callback(invoke_without_command=True)
def demo(
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for", min=5, help="run this many seconds, once all is started, instead of until Ctrl-C"
        ),
    ] = None,
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="headless: the last line is a JSON summary; exit code 1 unless camera and sensor tickets were"
            " opened and dispatched and nothing was lost or doubled",
        ),
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="where the page is served on 127.0.0.1")] = 8080,
    keep: Annotated[bool, typer.Option("--keep", help="go on with the data of the last run")] = False,
) -> None:
    """Run boxes, broker, gateway, store and ticket centre, and show what they do.

    Looks at street video, listens to simulated sensors in a storm, opens tickets and dispatches them. Everything it
    starts it stops. DRUMTOWER_DATABASE_URL and DRUMTOWER_BROKER_URL use services that run elsewhere.
    """
    stop = Stop().on_signals()
    console = Console(stderr=check, force_terminal=False if check else None)
    with setup_told():
        data = data_directory() / "demo"
        with exclusive_lock(data_directory() / "demo.lock", lambda: _refuse_second(data)):
            if data.exists() and not keep:
                shutil.rmtree(data)
            require_room(data.parent, _ROOM_BYTES, "set DRUMTOWER_DATA to a directory on a roomier disk")
            code = _run(_plan(data, port), stop, console, seconds, check=check)
    raise typer.Exit(code)


def _refuse_second(data: Path) -> None:
    raise DrumtowerError(
        "demo.running",
        f"a demo runs already with the data in {data}",
        "use its page, or end it with Ctrl-C there",
    )


def _plan(data: Path, port: int) -> Plan:
    footage = find_footage()
    return Plan(
        data=data,
        boxes=tuple(sorted((CONFIGS / "devices").glob("*.yaml"))),
        port=port,
        footage=footage.parent if footage else None,
        **elsewhere(),  # type: ignore[arg-type]
    )


def _run(plan: Plan, stop: Stop, console: Console, seconds: float | None, *, check: bool) -> int:
    started = time.monotonic()

    def say(step: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.1f} s[/dim]  {step}", highlight=False)

    with Stack(plan, say) as stack, _store_answers(stack):
        _greet(stack, console)
        # Counted from here: a machine that takes long to start is to do as much afterwards as any other.
        until = None if seconds is None else time.monotonic() + seconds
        watched = _watch(stack, stop, console, until, started)
        say("stopping the boxes; they send what they hold")
        stack.stop_boxes()
        last, result = _settle(stack)
        say("stopping the rest")
    return _report(console, watched, last, result, time.monotonic() - started, check=check)


@contextmanager
def _store_answers(stack: Stack) -> Iterator[None]:
    """A store that ends in the middle of a run is told in two lines."""
    try:
        yield
    except psycopg.OperationalError as error:
        log = f"look at its log {stack.postgres.log}" if stack.postgres else "look at that server"
        raise DrumtowerError(
            "demo.no_store",
            f"the store stopped answering: {str(error).strip().splitlines()[-1]}",
            f"{log}; what boxes hold is safe: `make demo ARGS=--keep` goes on with it",
        ) from error


def _greet(stack: Stack, console: Console) -> None:
    assert stack.provision is not None
    console.print(
        f"\nthe page: [bold]{stack.address}[/bold]   store: {hidden(stack.database_url)}",
        highlight=False,
        soft_wrap=True,
    )
    for name, password in stack.provision.accounts.items():
        console.print(f"  sign in as [bold]{name}[/bold]  password {password}", highlight=False, markup=True)
    console.print(f"  logs: {stack.plan.data / 'logs'}\n", highlight=False, soft_wrap=True)


class _Watched:
    """What the watch noticed: when the first ticket came, and which parts ended by themselves."""

    def __init__(self) -> None:
        self.first_ticket_s: float | None = None
        self.faults: list[str] = []


def _watch(stack: Stack, stop: Stop, console: Console, until: float | None, started: float) -> _Watched:
    watched = _Watched()
    screen = Screen(console, stack.address, "Ctrl-C stops everything that was started here")
    before: tuple[float, Snapshot] | None = None
    with screen, psycopg.connect(stack.database_url) as connection:
        while not stop.is_set() and (until is None or time.monotonic() < until):
            now, snapshot = time.monotonic(), read_snapshot(connection)
            if snapshot.tickets and watched.first_ticket_s is None:
                watched.first_ticket_s = round(now - started, 1)
            screen.show(snapshot, before[1] if before else None, now - before[0] if before else 0.0)
            if before is None or now - before[0] >= 5:
                before = (now, snapshot)
            watched.faults = [*stack.faults(), *_no_room(stack.plan.data)]
            if watched.faults:
                break
            stop.wait(1.0)
    return watched


def _no_room(data: Path) -> list[str]:
    """The disk's end, said before the store meets it."""
    free = shutil.disk_usage(data).free
    if free >= _LEAST_ROOM_BYTES:
        return []
    return [
        f"the disk of {data} is full: {free / 1e6:.0f} MB are left; free some space, then `make demo ARGS=--keep`"
        " goes on where this run stopped"
    ]


def _settle(stack: Stack) -> tuple[Snapshot, Audit]:
    """Wait until the ticket centre has applied everything, then compare."""
    result = _until(
        lambda: audit(stack.database_url, stack.box_data),
        lambda found: not (found.inbox_waiting or found.faults),
    )
    with psycopg.connect(stack.database_url) as connection:
        return read_snapshot(connection), result


def _until(ask: Callable[[], Audit], settled: Callable[[Audit], bool]) -> Audit:
    deadline = time.monotonic() + _SETTLE_S
    found = ask()
    while not settled(found) and time.monotonic() < deadline:
        time.sleep(0.5)
        found = ask()
    return found


def _report(
    console: Console, watched: _Watched, last: Snapshot, result: Audit, took_s: float, *, check: bool
) -> int:
    faults = [*watched.faults, *result.faults]
    if result.packets_numbered != result.packets_committed:
        faults.append(
            f"boxes numbered {result.packets_numbered} packets, {result.packets_committed} are committed"
        )
    if check and not last.camera_dispatched:
        faults.append("no ticket from a camera was opened and dispatched")
    if check and not last.sensor_dispatched:
        faults.append("no ticket from a sensor was opened and dispatched")
    console.print(
        f"\n{last.frames} frames, {last.detections} detections; {result.packets_numbered} packets numbered, "
        f"{result.packets_committed} committed, {result.packets_lost} lost; {last.rows} rows; "
        f"{last.incidents} incidents, {last.tickets} tickets, {last.dispatched} dispatched",
        highlight=False,
        soft_wrap=True,
    )
    if result.evidence_missing:
        console.print(
            f"{result.evidence_missing} of {result.evidence_sent} pictures are still on their boxes; they go up when"
            " the boxes run again (make demo ARGS=--keep)",
            highlight=False,
            soft_wrap=True,
        )
    for fault in faults:
        console.print(f"[red]fault:[/red] {fault}", highlight=False, soft_wrap=True)
    if not faults:
        console.print(
            "nothing lost, nothing doubled; next: make demo again, or read docs/how-to.md", highlight=False
        )
    if check:
        figures = {name: value for name, value in asdict(last).items() if name not in _OF_THE_MOMENT}
        print(
            json.dumps(
                {
                    "ok": not faults,
                    "seconds": round(took_s, 1),
                    "first_ticket_s": watched.first_ticket_s,
                    **figures,
                    **result.as_json(),
                    "faults": faults,
                },
                ensure_ascii=False,
            )
        )
    return 1 if faults else 0
