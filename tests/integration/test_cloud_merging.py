"""Whatever is reported, seen, merged and split, in whatever order: nothing is lost, doubled or cancelled."""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from cloud.db import Database
from cloud.errors import ConflictError
from cloud.reports.domain import ReportSettings
from cloud.reports.merging import MergeService
from cloud.reports.schemas import ReportBody
from cloud.reports.service import Envelope, ReportService
from cloud.tickets.domain import Action
from tests.fixtures.centre import BORDER_LON, LAT, Centre, person

pytestmark = pytest.mark.services
BOSS = person("supervisor", "centre")
CATEGORIES = ("flood.water_level", "camera.standing_water", "manhole.open")


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=4) as database:
        made = Centre(database)
        made.build()
        yield made


@dataclass
class Walk:
    """Somebody who does anything at all, by a seed."""

    centre: Centre
    generator: random.Random
    reported: int = 0
    seen: int = 0
    done: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.reports = ReportService(
            self.centre.database,
            self.centre.clock,
            self.centre.rules,
            ReportSettings(),
            keys=None,
            evidence_directory=None,
        )
        self.merges = MergeService(self.centre.database, self.centre.clock)

    def place(self) -> tuple[float, float]:
        return BORDER_LON + self.generator.choice((0, 30, 120, 240)) * 0.00001, LAT

    def step(self) -> None:
        self.centre.clock.advance(self.generator.randint(1, 200))
        kind = self.generator.choice(
            ("report", "report", "see", "merge", "merge", "split", "split", "apart", "close")
        )
        with contextlib.suppress(ConflictError):
            getattr(self, kind)()
            self.done.add(kind)

    def report(self) -> None:
        lon, lat = self.place()
        category = self.generator.choice(CATEGORIES)
        body = ReportBody(category=category, description="it is there", lon=lon, lat=lat)
        self.reports.file(body, Envelope("grid", BOSS))
        self.reported += 1

    def see(self) -> None:
        lon, lat = self.place()
        self.seen += 1
        device = self.centre.device(f"box-{self.reported}-{self.seen}", lon=lon, lat=lat)
        self.centre.put(device, category=self.generator.choice(CATEGORIES))
        self.centre.worker.drain()

    def chosen(self, states: str) -> uuid.UUID:
        rows = self.centre.rows(f"SELECT ticket_id FROM ticket WHERE {states} ORDER BY number")
        if not rows:
            raise ConflictError("test.nothing", "nothing to choose from")
        found: uuid.UUID = self.generator.choice(rows)["ticket_id"]
        return found

    def merge(self) -> None:
        one, other = self.chosen("closed_at IS NULL"), self.chosen("closed_at IS NULL")
        if one != other:
            self.merges.merge(one, other, BOSS, "the same")

    def split(self) -> None:
        merged = self.chosen("state = 'merged'")
        into = self.centre.value("SELECT merged_into FROM ticket WHERE ticket_id = %(id)s", id=merged)
        self.merges.split(into, merged, BOSS, "another one")

    def apart(self) -> None:
        rows = self.centre.rows("SELECT report_id, ticket_id FROM report ORDER BY received_at")
        if rows:
            row = self.generator.choice(rows)
            self.merges.split_reports(row["ticket_id"], [row["report_id"]], BOSS, "about something else")

    def close(self) -> None:
        ticket = self.chosen("state = 'dispatched'")
        if self.generator.random() < 0.3:
            self.centre.tickets.act(ticket, Action.VOID, BOSS, note="a false alarm")

    def check(self) -> None:
        rows, value = self.centre.rows, self.centre.value
        assert value("SELECT count(*) FROM report") == self.reported
        assert not rows(
            "SELECT matter_id FROM ticket WHERE state NOT IN ('closed', 'void', 'merged')"
            " GROUP BY matter_id HAVING count(*) > 1"
        )
        # Each report stands where the last line of its way says, and each incident in one ticket.
        assert not rows(
            "SELECT report_id FROM report WHERE ticket_id <> (SELECT ticket_id FROM report_link"
            " WHERE report_link.report_id = report.report_id ORDER BY n DESC LIMIT 1)"
        )
        worthy = value("SELECT count(*) FROM incident WHERE ticket_worthy")
        assert value("SELECT count(*) FROM ticket_incident") == worthy
        # Merging stops clocks and cancels none; a ticket that goes on is still promised an end.
        assert not rows(
            "SELECT ticket.number FROM ticket JOIN clock USING (ticket_id)"
            " WHERE ticket.state <> 'void' AND clock.state = 'cancelled'"
        )
        assert not rows(
            "SELECT number, state FROM ticket WHERE state NOT IN ('closed', 'void') AND NOT EXISTS ("
            " SELECT FROM clock WHERE clock.ticket_id = ticket.ticket_id AND name = 'resolve'"
            "  AND state = CASE ticket.state WHEN 'merged' THEN 'stopped' ELSE 'running' END)"
        )
        # Nothing of a merged ticket is left behind in it, and its history is whole.
        assert not rows(
            "SELECT number FROM ticket WHERE state = 'merged' AND (EXISTS (SELECT FROM report WHERE"
            " report.ticket_id = ticket.ticket_id) OR EXISTS (SELECT FROM ticket_incident"
            " WHERE ticket_incident.ticket_id = ticket.ticket_id))"
        )
        assert not rows(
            "SELECT number FROM ticket WHERE version <> (SELECT count(*) FROM ticket_event"
            " WHERE ticket_event.ticket_id = ticket.ticket_id)"
        )


@pytest.mark.parametrize("seed", range(4))
def test_no_walk_of_reports_looks_merges_and_splits_loses_doubles_or_cancels_anything(
    centre: Centre, seed: int
) -> None:
    walk = Walk(centre, random.Random(seed))
    for _ in range(60):
        walk.step()
        walk.check()
    assert walk.done >= {"report", "see", "merge", "split", "apart"}
