"""A year of a district's tickets and observations, written by COPY.

Everything that the pages and the interface read is there: matters, incidents with their observations, tickets with
clocks, units and history, reports of people with their stars. A fiftieth of the tickets is open, most of these from
the last days. The rows keep the rules of the schema, but the histories carry no true hashes.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg

from benchmarks.tickets_rig import place_of

DAYS: Final = 365
OPEN_SHARE: Final = 0.02
#: Observations of each incident that is a ticket; the others are passing acts, counted by device and hour.
PER_TICKET: Final = 4
PER_HOUR: Final = 64
REPORTED_SHARE: Final = 0.2
_BLOCK: Final = 4000  # rows of one write
_MOST_A_MATTER: Final = 10

_CONDITIONS: Final = (
    ("camera.zone_occupied", "camera", 2),
    ("camera.standing_water", "camera", 3),
    ("camera.fire_lane_blocked", "camera", 3),
    ("camera.rubbish_overflow", "camera", 2),
    ("smoke.alarm", "sensor", 4),
    ("manhole.open", "sensor", 4),
    ("flood.water_level", "sensor", 3),
    ("air.quality_poor", "sensor", 2),
    ("building.tilt", "sensor", 3),
    ("street.parking", "hotline", 1),
    ("street.rubbish", "citizen", 1),
    ("street.stall", "grid", 1),
)
_ACT: Final = "camera.no_helmet"
_OPEN_STATES: Final = ("dispatched", "dispatched", "acknowledged", "on_site", "verifying", "open")
_NULL: Final = "\\N"  # as COPY writes it
_HASH: Final = "\\\\x" + "5a" * 32
_POLICY: Final = (
    '{"name": "ordinary-3-days", "ack_s": 900, "arrive_s": 7200, "resolve_s": 259200, "position": 7}'
)
_COLUMNS: Final = {
    "matter": "matter_id, category, lon, lat, first_seen_at",
    "incident": "incident_id, matter_id, category, kind, hour, severity, started_at, last_at, ended_at, observations,"
    " count, ticket_worthy, lon, lat, device_id, opened_at",
    "incident_observation": "device_id, observation_id, incident_id, revision, category, source, sensor, severity,"
    " started_at, at, ended_at, count, value, unit, evidence, received_at",
    "ticket": "ticket_id, number, matter_id, category, channel, severity, state, version, level, unit_code,"
    " unassigned, grid_code, lon, lat, policy, opened_at, dispatched_at, claimed_at, closed_at, reopenings, closed_by",
    "ticket_incident": "incident_id, ticket_id, linked_at",
    "ticket_event": "ticket_id, n, at, kind, actor_name, from_state, to_state, detail, hash",
    "assignment": "ticket_id, unit_code, kind, assigned_at, assigned_by, because",
    "clock": "ticket_id, name, state, started_at, due_at, met_at, missed_at",
    "report": "report_id, receipt, secret_hash, channel, category, description, lon, lat, given_lon, given_lat,"
    " coordinate_system, occurred_at, received_at, ticket_id, stars, rated_at",
    "report_link": "report_id, n, ticket_id, at, because, actor_name",
}
# Built again after the rows are there, as a restore does it.
_REBUILT: Final = ("incident", "incident_observation", "ticket", "ticket_event", "clock")


@dataclass(frozen=True, slots=True)
class District:
    """What the rows refer to."""

    devices: list[int]
    grids: dict[int, str]  # by device
    owners: dict[str, list[str]]  # by category


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was written."""

    tickets: int
    observations: int
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class _Ticket:
    n: int
    ident: str
    incident: str
    matter: int
    box: int
    category: str
    channel: str
    severity: int
    state: str
    unit: str
    opened: datetime
    closed: datetime | None
    missed: tuple[bool, bool, bool]
    reopened: bool
    stars: int | None


def load(url: str, tickets: int, observations: int, seed: int = 4) -> Loaded:
    """Write so many of both into a prepared, empty database."""
    began = time.monotonic()
    with psycopg.connect(url, autocommit=True) as connection:
        district = _district(connection)
        # As a restore does: neither foreign keys nor triggers are asked for each row.
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET max_parallel_maintenance_workers = 2")
        indexes = _drop_indexes(connection)
        now = datetime.now(UTC).replace(microsecond=0)
        written = _write(connection, district, _Plan(tickets, observations, now, seed))
        for statement in indexes:
            connection.execute(statement)
        connection.execute(
            "SELECT setval(pg_get_serial_sequence('matter', 'matter_id'), max(matter_id)) FROM matter"
        )
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return Loaded(tickets, written, round(time.monotonic() - began, 1), row[0] if row else 0)


@dataclass(frozen=True, slots=True)
class _Plan:
    tickets: int
    observations: int
    now: datetime
    seed: int

    @property
    def matters(self) -> int:
        return max(self.tickets // _MOST_A_MATTER, 1)


def _write(connection: psycopg.Connection, district: District, plan: _Plan) -> int:
    _copy(connection, "matter", _matters(district, plan))
    per_ticket = min(PER_TICKET, max(plan.observations // plan.tickets, 1))
    buffers = {name: io.StringIO() for name in _COLUMNS if name != "matter"}
    for n, ticket in enumerate(_tickets(district, plan), start=1):
        _write_ticket(buffers, district, ticket, per_ticket)
        if n % _BLOCK == 0:
            _flush(connection, buffers)
    _flush(connection, buffers)
    acts = max(plan.observations - plan.tickets * per_ticket, 0)
    for n, first in enumerate(range(0, acts, PER_HOUR), start=1):
        _write_acts(buffers, district, plan, n, min(PER_HOUR, acts - first))
        if n % (_BLOCK // 4) == 0:
            _flush(connection, buffers)
    _flush(connection, buffers)
    return plan.tickets * per_ticket + acts


def _tickets(district: District, plan: _Plan) -> Iterator[_Ticket]:
    dice = random.Random(plan.seed)
    open_ones = round(plan.tickets * OPEN_SHARE)
    for n in range(plan.tickets):
        # The newest tenth of the open ones' number is open altogether, the others lie anywhere in the last month.
        left = plan.tickets - n
        is_open = left <= open_ones // 2 or (left <= plan.tickets // 12 and dice.random() < OPEN_SHARE * 6)
        opened = plan.now - timedelta(days=DAYS) * (left / plan.tickets) - timedelta(seconds=1)
        category, channel, severity = _CONDITIONS[n % len(_CONDITIONS)]
        box = district.devices[n * 7 % len(district.devices)]
        owners = district.owners[category]
        hours = min(dice.expovariate(1 / 20), 200) + 0.2
        closed = None if is_open else min(opened + timedelta(hours=hours), plan.now)
        milliseconds = round(opened.timestamp() * 1000)
        tail = dice.getrandbits(62)
        yield _Ticket(
            n,
            f"{milliseconds:012x}7{n & 0xFFF:03x}{0x8 << 60 | tail:016x}",
            f"{milliseconds:012x}7{n & 0xFFF:03x}{0x8 << 60 | tail ^ 1:016x}",
            n % plan.matters + 1,
            box,
            category,
            channel,
            severity,
            dice.choice(_OPEN_STATES) if is_open else ("void" if dice.random() < 0.03 else "closed"),
            dice.choice(owners),
            opened,
            closed,
            (dice.random() < 0.08, dice.random() < 0.06, dice.random() < 0.05),
            dice.random() < 0.03,
            dice.choice((1, 3, 4, 4, 5, 5)) if dice.random() < REPORTED_SHARE else None,
        )


def _matters(district: District, plan: _Plan) -> Iterator[str]:
    first = plan.now - timedelta(days=DAYS)
    for n in range(plan.matters):
        category = _CONDITIONS[n % len(_CONDITIONS)][0]
        lon, lat = place_of(n % len(district.devices))
        yield f"{n + 1}\t{category}\t{lon + n % 97 * 1e-6:.6f}\t{lat:.6f}\t{first}\n"
    for n, device in enumerate(district.devices):
        lon, lat = place_of(n)
        yield f"{plan.matters + device}\t{_ACT}\t{lon:.6f}\t{lat:.6f}\t{first}\n"


def _write_ticket(to: dict[str, io.StringIO], district: District, it: _Ticket, observations: int) -> None:
    lon, lat = _place(district, it.box)
    opened, closed = it.opened, it.closed or _NULL
    grid = district.grids[it.box]
    unassigned = it.state == "open"
    claimed = it.closed or (opened + timedelta(hours=1) if it.state == "verifying" else None)
    final_by = "look" if it.state == "closed" else _NULL
    to["incident"].write(
        f"{it.incident}\t{it.matter}\t{it.category}\tcondition\t\\N\t{it.severity}\t{opened}\t{opened}\t{closed}"
        f"\t{observations}\t{observations}\tt\t{lon}\t{lat}\t{it.box}\t{opened}\n"
    )
    for one in range(observations):
        started = opened + timedelta(minutes=one)
        to["incident_observation"].write(
            f"{it.box}\t{it.ident[:12]}7{one:03x}{it.ident[16:]}\t{it.incident}\t2\t{it.category}\tbench\teye-1"
            f"\t{it.severity}\t{started}\t{started}\t{closed}\t1\t0.31\tm\t[]\t{started}\n"
        )
    version = 6 if it.closed else 3
    to["ticket"].write(
        f"{it.ident}\tDT-{opened:%Y%m%d}-{it.n:07d}\t{it.matter}\t{it.category}\t{it.channel}\t{it.severity}"
        f"\t{it.state}\t{version}\t{int(it.missed[0])}\t{'centre' if unassigned else it.unit}\t{'t' if unassigned else 'f'}"
        f"\t{grid}\t{lon}\t{lat}\t{_POLICY}\t{opened}\t{_NULL if unassigned else opened}\t{claimed or _NULL}\t{closed}"
        f"\t{int(it.reopened)}\t{final_by}\n"
    )
    to["ticket_incident"].write(f"{it.incident}\t{it.ident}\t{opened}\n")
    if not unassigned:
        to["assignment"].write(f"{it.ident}\t{it.unit}\towner\t{opened}\tsystem\trule 1\n")
    if it.n % 3 == 0:
        to["assignment"].write(f"{it.ident}\ttraffic-police\tcalled\t{opened}\tsystem\trule 1\n")
    _write_history(to, it, version)
    _write_clocks(to, it)
    if it.stars is not None:
        rated = (it.stars, it.closed) if it.closed else (_NULL, _NULL)
        to["report"].write(
            f"{it.incident}\tR{it.n:09d}\t{_HASH}\thotline\t{it.category}\tsomebody says so\t{lon}\t{lat}\t{lon}\t{lat}"
            f"\twgs84\t{opened}\t{opened}\t{it.ident}\t{rated[0]}\t{rated[1]}\n"
        )
        to["report_link"].write(f"{it.incident}\t1\t{it.ident}\t{opened}\tattached\tsystem\n")


def _write_history(to: dict[str, io.StringIO], it: _Ticket, version: int) -> None:
    kinds = ("opened", "dispatched", "acknowledged", "arrived", "resolved", "closed")
    states = ("open", "dispatched", "acknowledged", "on_site", "verifying", it.state)
    for n in range(version):
        at = it.closed if n == 5 and it.closed else it.opened + timedelta(minutes=n)
        detail = f'{{"incident_id": "{it.incident}"}}' if n == 0 else "{}"
        to["ticket_event"].write(
            f"{it.ident}\t{n + 1}\t{at}\t{kinds[n]}\tsystem\t{states[n - 1] if n else _NULL}\t{states[n]}\t{detail}\t{_HASH}\n"
        )


def _write_clocks(to: dict[str, io.StringIO], it: _Ticket) -> None:
    for name, minutes, missed in zip(("ack", "arrive", "resolve"), (15, 120, 4320), it.missed, strict=True):
        due = it.opened + timedelta(minutes=minutes)
        if it.closed:
            state, met = ("missed" if missed else "met"), due + timedelta(minutes=5 if missed else -5)
            to["clock"].write(
                f"{it.ident}\t{name}\t{state}\t{it.opened}\t{due}\t{met}\t{due if missed else _NULL}\n"
            )
        elif missed:
            to["clock"].write(f"{it.ident}\t{name}\tmissed\t{it.opened}\t{due}\t\\N\t{due}\n")
        else:
            later = due + timedelta(days=DAYS)  # nothing fires while this is measured
            to["clock"].write(f"{it.ident}\t{name}\trunning\t{it.opened}\t{later}\t\\N\t\\N\n")


def _write_acts(
    to: dict[str, io.StringIO], district: District, plan: _Plan, n: int, observations: int
) -> None:
    device = district.devices[n % len(district.devices)]
    hours = n // len(district.devices)
    hour = plan.now.replace(minute=0, second=0) - timedelta(hours=hours + 1)
    lon, lat = _place(district, device)
    ident = f"{round(hour.timestamp() * 1000):012x}7{device & 0xFFF:03x}9"
    incident = f"{ident}{n:015x}"
    to["incident"].write(
        f"{incident}\t{plan.matters + device}\t{_ACT}\tact\t{hour}\t1\t{hour}\t{hour}\t{hour}\t{observations}"
        f"\t{observations}\tf\t{lon}\t{lat}\t{device}\t{hour}\n"
    )
    rest = f"\t{incident}\t0\t{_ACT}\tbench\teye-1\t1\t{hour}\t{hour}\t\\N\t1\t\\N\t\t[]\t{hour}\n"
    to["incident_observation"].write(
        "".join(f"{device}\t{ident}{n * PER_HOUR + one:015x}{rest}" for one in range(observations))
    )


def _place(district: District, device: int) -> tuple[float, float]:
    return place_of(device - district.devices[0])


def _flush(connection: psycopg.Connection, buffers: dict[str, io.StringIO]) -> None:
    for name, buffer in buffers.items():
        if buffer.tell():
            _copy(connection, name, [buffer.getvalue()])
            buffer.seek(0)
            buffer.truncate()


def _copy(connection: psycopg.Connection, table: str, texts: Iterable[str]) -> None:
    with connection.cursor().copy(f"COPY {table} ({_COLUMNS[table]}) FROM STDIN") as copy:
        for text in texts:
            copy.write(text)


def _drop_indexes(connection: psycopg.Connection) -> list[str]:
    """Drop what is no constraint; the statements that make it again."""
    found = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY (%s) AND NOT EXISTS ("
        "SELECT FROM pg_constraint WHERE conindid = format('%%I.%%I', schemaname, indexname)::regclass)",
        [list(_REBUILT)],
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}")
    return [statement for _, statement in found]


def _district(connection: psycopg.Connection) -> District:
    devices = connection.execute(
        "SELECT device_id, grid_at(lon, lat) FROM device WHERE name LIKE 'box-%' ORDER BY device_id"
    ).fetchall()
    units = connection.execute("SELECT unit_code, kind FROM unit ORDER BY unit_code").fetchall()
    of_kind: dict[str, list[str]] = {}
    for code, kind in units:
        of_kind.setdefault(kind, []).append(code)
    kinds = ("grid", "street", "community", "department")
    owners = {category: of_kind[kinds[n % len(kinds)]] for n, (category, _, _) in enumerate(_CONDITIONS)}
    fallback = of_kind["grid"][0]
    return District([one for one, _ in devices], {one: grid or fallback for one, grid in devices}, owners)
