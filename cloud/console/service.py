"""What the pages show, gathered: the district's drawing, the queue, the fleet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from cloud.auth.domain import Account
from cloud.console import repo
from cloud.console.drawing import DistrictDrawing, Label, draw, place_labels, spread
from cloud.console.repo import Row, Standing
from cloud.db import Database
from cloud.district import repo as district_repo
from cloud.district.domain import Unit, ancestors
from cloud.district.geometry import Point
from cloud.reports import repo as report_repo
from cloud.reports.sealing import KeyRing
from cloud.reports.texts import Written, may_read, written
from cloud.shelf.repo import Alarm, Shelved
from cloud.shelf.service import ShelfService
from cloud.storm import repo as storm_repo
from cloud.storm.domain import Storm
from cloud.tickets.schemas import TicketDetail
from cloud.verify import repo as verify_repo
from cloud.watch import repo as watch_repo
from cloud.watch.domain import WatchSettings
from cloud.whistle.service import everything
from common.runtime.clock import Clock, to_datetime

MARKERS = 400
_DEVICES = 2000
_INCIDENTS = 12
_OBSERVATIONS = 30
_MARKER_DISTANCE = 26.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class District:
    """The organisation and its drawing."""

    units: dict[str, Unit]
    drawing: DistrictDrawing

    @property
    def centre(self) -> Unit | None:
        """The district itself."""
        return next((unit for unit in self.units.values() if unit.kind == "centre"), None)

    def of_kind(self, *kinds: str) -> list[Unit]:
        """The units of some kinds, by their place in the tree."""
        parents = {code: unit.parent_code for code, unit in self.units.items()}
        chosen = [unit for unit in self.units.values() if unit.kind in kinds]
        return sorted(chosen, key=lambda unit: [*ancestors(parents, unit.unit_code)][::-1])

    def place(self, grid_code: str | None, language: str) -> str:
        """Street, community and grid of a place, from the top down; empty outside the district."""
        parents = {code: unit.parent_code for code, unit in self.units.items()}
        codes = [*ancestors(parents, grid_code)] if grid_code else []
        named = [self.units[code] for code in reversed(codes) if self.units[code].kind != "centre"]
        return " › ".join(unit.name(language) for unit in named)


@dataclass(frozen=True, slots=True)
class Fleet:
    """How the boxes do, and who of those that look after them is silent.

    ``gateway_silent_s`` and ``worker_silent_s`` are None while it is not too long.
    """

    devices: int
    online: int
    oldest_unreceipted_s: float | None
    packets_last_minute: int | None
    last_event_at: datetime | None
    gateway_silent_s: float | None = None
    worker_silent_s: float | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """A ticket or a device where it stands in the drawing."""

    row: Row
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class LiveMap:
    """What of the map moves."""

    tickets: list[Marker]
    devices: list[Marker]
    counts: dict[str, Row]
    labels: list[Label]
    total: int


class ConsoleService:
    """Reads for the pages. What all browsers ask for alike is read once for all of them.

    Args:
        database: opened.
        clock: what time it is.
        watch: how long a gateway or a worker may be silent before the pages say so.
    """

    def __init__(self, database: Database, clock: Clock, watch: WatchSettings | None = None) -> None:
        self._watch = watch or WatchSettings()
        self._database = database
        self._clock = clock
        self._district = _Kept(clock, 20.0, self._read_district, self._drawn_from)
        self._fleet = _Kept(clock, 2.0, self._read_fleet)
        self._labels: tuple[DistrictDrawing, list[Point], list[Label]] | None = None

    def now(self) -> datetime:
        """The clock's instant."""
        return to_datetime(self._clock.now_ms())

    def district(self) -> District:
        """The organisation and its drawing; what changed is seen within 20 s."""
        return self._district.get()

    def fleet(self) -> Fleet:
        """How the boxes do, at most 2 s old."""
        return self._fleet.get()

    def storms(self) -> list[Storm]:
        """Storms that go on."""
        with self._database.transaction() as tx:
            return storm_repo.going_on(tx)

    def suggested(self, ticket_id: UUID) -> list[Row]:
        """Open tickets that may be about the same matter as this one."""
        with self._database.transaction() as tx:
            return report_repo.suggestions(tx, ticket_id)

    def words(
        self, ticket: TicketDetail, account: Account, keys: KeyRing | None
    ) -> dict[UUID, Written] | None:
        """What people wrote of a ticket's matter; None where they did not write for this account."""
        report_ids = [one.report_id for one in ticket.reports]
        with self._database.transaction() as tx:
            if not may_read(tx, account, ticket.ticket_id):
                return None
            return written(tx, keys, report_ids) if report_ids else {}

    def standing(self) -> Standing:
        """Counts of open tickets."""
        with self._database.transaction() as tx:
            return repo.standing(tx)

    def live_map(self, standing: Standing) -> LiveMap:
        """Where tickets and devices are now, with what was counted for the rest of the page."""
        drawing = self.district().drawing
        projection = drawing.projection
        with self._database.transaction() as tx:
            tickets = repo.open_tickets(tx, MARKERS)
            devices = repo.devices(tx, _DEVICES)
        places = [projection.at(row["lon"], row["lat"]) for row in tickets]
        occupied = [projection.at(row["lon"], row["lat"]) for row in devices]
        return LiveMap(
            [
                Marker(row, x, y)
                for row, (x, y) in zip(tickets, spread(places, _MARKER_DISTANCE), strict=True)
            ],
            [Marker(row, *place) for row, place in zip(devices, occupied, strict=True)],
            standing.communities,
            self._labelled(drawing, occupied),
            standing.queue["open"],
        )

    def _labelled(self, drawing: DistrictDrawing, occupied: list[Point]) -> list[Label]:
        """Names move when the district or a device does, so seldom; each is weighed against every device."""
        kept = self._labels
        if kept is None or kept[0] is not drawing or kept[1] != occupied:
            kept = self._labels = (drawing, occupied, place_labels(drawing, occupied))
        return kept[2]

    def recent_incidents(self) -> list[Row]:
        """The incidents last heard of."""
        with self._database.transaction() as tx:
            return repo.recent_incidents(tx, _INCIDENTS)

    def observations(self, ticket_id: UUID) -> list[Row]:
        """What was observed about a ticket, the latest first."""
        with self._database.transaction() as tx:
            return repo.observations(tx, ticket_id, _OBSERVATIONS)

    def shelf(self, ticket_id: UUID) -> tuple[list[Alarm], list[Shelved]]:
        """A ticket's alarms that are not on the shelf, and what lies there of the others."""
        return ShelfService(self._database, self._clock).shown(ticket_id)

    def proof(self, ticket_id: UUID) -> tuple[list[Row], dict[str, Any]]:
        """A ticket's photos by people, and its calls, conferences and advice."""
        with self._database.transaction() as tx:
            return verify_repo.photos(tx, ticket_id), everything(tx, ticket_id)

    def _read_district(self) -> District:
        with self._database.transaction() as tx:
            units = district_repo.all_units(tx)
            features = district_repo.map_features(tx)
        return District({unit.unit_code: unit for unit in units}, draw(units, features))

    def _drawn_from(self) -> str:
        with self._database.transaction() as tx:
            return repo.drawn_from(tx)

    def _read_fleet(self) -> Fleet:
        now = self.now()
        with self._database.transaction() as tx:
            row = repo.fleet(tx)
            packets = repo.packets_last_minute(tx, now)
            gateways = [partition.silent_s for partition in watch_repo.partitions(tx)]
            workers = [age_s for _, age_s in watch_repo.workers(tx)]
        return Fleet(
            packets_last_minute=packets,
            gateway_silent_s=_too_long(max(gateways, default=0.0), self._watch.gateway_silent_s),
            worker_silent_s=_too_long(min(workers, default=0.0), self._watch.worker_silent_s),
            **row,
        )


def _too_long(seconds: float, limit_s: float) -> float | None:
    return seconds if seconds > limit_s else None


class _Kept(Generic[T]):
    """A value read at most so often; readers at the same time wait for the one that reads.

    Args:
        clock: what time it is.
        seconds: for how long it is not looked at again.
        read: reads it.
        state: what it is read from, in short and cheap: while that is the same, it is not read again.
    """

    def __init__(
        self, clock: Clock, seconds: float, read: Callable[[], T], state: Callable[[], object] = object
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._read = read
        self._state = state
        self._lock = threading.Lock()
        self._value: T | None = None
        self._read_from: object = None
        self._read_at = 0.0

    def get(self) -> T:
        with self._lock:
            if self._value is None or self._clock.monotonic() - self._read_at > self._seconds:
                state = self._state()  # first: what changes between the two is read again the next time
                if self._value is None or state != self._read_from:
                    self._value, self._read_from = self._read(), state
                self._read_at = self._clock.monotonic()
            return self._value
