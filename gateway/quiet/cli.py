"""``drumtower gateway maintenance``, ``drumtower gateway drill`` and ``drumtower gateway shelved``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from common.runtime.settings import nearest
from common.schema.cli import database_url
from common.wire.categories import BY_CODE
from common.wire.topics import Address
from gateway.fleet import audit
from gateway.fleet.repo import connect
from gateway.quiet import repo, spans
from gateway.repo import DISTRICT

maintenance_app = typer.Typer(
    no_args_is_help=True, help="Times in which a box is worked on: what it sees is marked and calls no one."
)
drill_app = typer.Typer(
    no_args_is_help=True, help="Drills (演练): everything runs and is marked, no one is called."
)

shelved_app = typer.Typer(
    no_args_is_help=True,
    help="Alarms that are known and trouble people without need (搁置): seen and kept, marked, and call no one for a while.",
)

FromOption = Annotated[str | None, typer.Option("--from", help="An instant; now when left out.")]
ForOption = Annotated[str | None, typer.Option("--for", help="How long: 30m, 2h, 1d.")]
UntilOption = Annotated[str | None, typer.Option("--until", help="An instant, in the district's time.")]
ReasonOption = Annotated[str, typer.Option("--because", help="Why; it is kept.")]
AllOption = Annotated[bool, typer.Option("--all", help="Those that are over too.")]
IdArgument = Annotated[int, typer.Argument(metavar="ID")]


@maintenance_app.command("add")
def add_maintenance(
    box: Annotated[str, typer.Argument(metavar="SITE/BOX")],
    because: ReasonOption,
    from_: FromOption = None,
    for_: ForOption = None,
    until: UntilOption = None,
) -> None:
    """Say from when until when a box is worked on."""
    _begin("maintenance", box, because, from_, (for_, until))


@maintenance_app.command("list")
def list_maintenance(over: AllOption = False) -> None:
    """Maintenance that goes on or is to come."""
    _show("maintenance", over=over)


@maintenance_app.command("end")
def end_maintenance(quiet_id: IdArgument) -> None:
    """End it now: what still goes on then calls people."""
    _end("maintenance", quiet_id)


@drill_app.command("start")
def start_drill(
    place: Annotated[str, typer.Argument(metavar="SITE[/BOX]")],
    because: ReasonOption,
    from_: FromOption = None,
    for_: ForOption = None,
    until: UntilOption = None,
) -> None:
    """Begin a drill of a site or of one box. Real alarms from there are marked as well: tell those on duty."""
    _begin("drill", place, because, from_, (for_, until))


@drill_app.command("list")
def list_drills(over: AllOption = False) -> None:
    """Drills that go on or are to come."""
    _show("drill", over=over)


@drill_app.command("end")
def end_drill(quiet_id: IdArgument) -> None:
    """End it now: what still goes on then calls people."""
    _end("drill", quiet_id)


@shelved_app.command("add")
def shelve(
    box: Annotated[str, typer.Argument(metavar="SITE/BOX")],
    category: Annotated[str, typer.Option("--category", help="Which alarm, by its category.")],
    because: ReasonOption,
    *,
    sensor: Annotated[str | None, typer.Option("--sensor", help="Of one sensor or camera only.")] = None,
    for_: ForOption = None,
    until: UntilOption = None,
) -> None:
    """Put one alarm of a box on the shelf, for a day at most; it comes off by itself."""
    if category not in BY_CODE:
        raise typer.BadParameter(f"no category is called {category!r}{nearest(category, BY_CODE)}")
    _begin("shelved", box, because, None, (for_, until), alarm=repo.Alarm(category, sensor))


@shelved_app.command("list")
def list_shelved(over: AllOption = False) -> None:
    """Alarms that are on the shelf."""
    _show("shelved", over=over)


@shelved_app.command("end")
def end_shelved(quiet_id: IdArgument) -> None:
    """Take it off now: what still goes on then calls people."""
    _end("shelved", quiet_id)


def _begin(
    kind: repo.Kind,
    place: str,
    because: str,
    from_: str | None,
    ends: tuple[str | None, str | None],
    *,
    alarm: repo.Alarm | None = None,
) -> None:
    if not because.strip():
        raise typer.BadParameter("say why: --because TEXT")
    where = _place(kind, place)
    try:
        span = (None if from_ is None else spans.instant(from_), _ending(*ends))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with connect(database_url(), kind) as connection:
        actor = audit.this_person()
        made = repo.begin(connection, kind, where, span, reason=because.strip(), actor=actor, alarm=alarm)
    since = made.from_at.astimezone(DISTRICT).isoformat(timespec="minutes")
    until = made.until_at.astimezone(DISTRICT).isoformat(timespec="minutes")
    print(
        f"{kind} {made.quiet_id} of {made.place} from {since} until {until}: what is seen there calls no one"
    )
    print(f"what outlasts it does; next: drumtower gateway {kind} end {made.quiet_id}, when it is over")


_FIRST_WORDS: Final[dict[repo.Kind, str]] = {
    "maintenance": "add SITE/BOX",
    "drill": "start SITE",
    "shelved": "add SITE/BOX --category CODE",
}


def _ending(for_: str | None, until: str | None) -> timedelta | datetime:
    if (for_ is None) == (until is None):
        raise ValueError("expected either --for LENGTH or --until INSTANT")
    return spans.length(for_) if for_ is not None else spans.instant(until or "")


def _place(kind: repo.Kind, text: str) -> tuple[str, str | None]:
    if kind == "drill" and "/" not in text:
        return text, None
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return address.site, address.device


def _show(kind: repo.Kind, *, over: bool) -> None:
    table = Table("id", "place", "from", "until", "because", "who", "ended by", "observations")
    with connect(database_url(), kind) as connection:
        for one in repo.newest(connection, kind, over=over, limit=100):
            since, until = (
                at.astimezone(DISTRICT).isoformat(timespec="minutes") for at in (one.from_at, one.until_at)
            )
            table.add_row(
                str(one.quiet_id),
                one.place,
                since,
                until,
                one.reason,
                one.who,
                one.ended_by or "",
                str(one.observations),
            )
    if table.row_count:
        Console().print(table)
        print(f"next: drumtower gateway {kind} end ID, when it is over before its time")
    else:
        verb = _FIRST_WORDS[kind]
        print(f"there is no {kind}; next: drumtower gateway {kind} {verb} --for 2h --because TEXT")


def _end(kind: repo.Kind, quiet_id: int) -> None:
    with connect(database_url(), kind) as connection:
        place = repo.end(connection, kind, quiet_id, audit.this_person())
    print(f"{kind} {quiet_id} of {place} is over; what still goes on there calls people with its next update")
    print("next: look at the ticket centre, whether something came")
