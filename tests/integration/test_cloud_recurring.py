"""Stretches where passing acts keep happening: opened by a rate, verified by a rate, on the real database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.db import Database
from cloud.recurring.domain import Band, RecurringRule, Stretch
from cloud.recurring.repo import Plan
from cloud.recurring.service import RecurringWatch, open_recurring
from cloud.reports.merging import MergeService
from cloud.tickets.domain import Action
from cloud.tickets.schemas import TicketDetail
from cloud.verify.domain import Verdict, VerifySettings
from cloud.verify.service import check_claims
from common.runtime.clock import to_ms
from tests.fixtures.centre import BORDER_LON, LAT, Centre, person
from tests.fixtures.matters import book, say
from tests.fixtures.reporting import served

pytestmark = pytest.mark.services
HOUR, DAY = 3600, 86_400
MORNING = Band("morning", "早高峰", "Morning peak", (1, 2, 3, 4, 5, 6, 7), ((7 * HOUR, 9 * HOUR),))
EVENING = Band("evening", "晚高峰", "Evening peak", (1, 2, 3, 4, 5, 6, 7), ((17 * HOUR, 19 * HOUR),))
RULE = RecurringRule(
    "camera.no_helmet", ("morning", "evening"), 20.0, 7 * DAY, 20, 2 * HOUR, 4 * HOUR, 14 * DAY
)
AVENUE = Stretch(
    "avenue", "鼓楼大街", "Drumtower Avenue", ((BORDER_LON - 0.01, LAT), (BORDER_LON + 0.01, LAT)), 60.0
)
PLAN = Plan((RULE,), (MORNING, EVENING), (AVENUE,))
SETTINGS = VerifySettings()


@dataclass
class Street:
    """Two cameras on an avenue, day by day."""

    centre: Centre
    cameras: list[int] = field(default_factory=list)

    def morning(self, acts: int, *, looked_h: float = 2.0, hour: int = 7) -> None:
        """A day's two hours from seven, or another hour, seen by both cameras together."""
        local = self.centre.now.astimezone(DISTRICT_ZONE) + timedelta(days=1)
        begin = local.replace(hour=hour, minute=0, second=0, microsecond=0)
        self.centre.clock.advance((begin - self.centre.now).total_seconds() + 2 * HOUR + 60)
        for number in range(acts):
            at = begin + timedelta(seconds=(number * 7200 / acts) // 1)
            self.act(self.cameras[number % 2], at, evidence=[picture(at, number)] if number % 5 == 0 else [])
        for camera in self.cameras:
            book(self.centre, camera, "cam-1", begin, looked_h)
        self.centre.worker.drain()

    def act(self, camera: int, at: datetime, **changed: Any) -> None:
        since = (at - self.centre.now).total_seconds()
        kind: dict[str, Any] = {
            "category": "camera.no_helmet",
            "sensor": "cam-1",
            "severity": 2,
            "value": None,
        }
        self.centre.put(camera, "act", started_s=since, **kind | changed)

    def look(self) -> int:
        return open_recurring(self.centre.database, self.centre.now)

    def ticket(self) -> TicketDetail:
        ticket_id = self.centre.value("SELECT ticket_id FROM ticket ORDER BY number DESC LIMIT 1")
        return self.centre.tickets.get_ticket(ticket_id)

    def claim(self) -> uuid.UUID:
        ticket_id = self.ticket().ticket_id
        for action in (Action.ACKNOWLEDGE, Action.RESOLVE):
            self.centre.tickets.act(ticket_id, action, person())
        return ticket_id

    def check(self, *, blind: bool = False) -> dict[Verdict, int]:
        return check_claims(self.centre.database, SETTINGS, self.centre.now, blind=blind)


def picture(at: datetime, number: int) -> dict[str, Any]:
    return {
        "sha256": f"{number:064x}",
        "media_type": "image/jpeg",
        "size": 1000,
        "width": 64,
        "height": 48,
        "captured_at": to_ms(at),
    }


@pytest.fixture
def street(database_url: str) -> Iterator[Street]:
    with Database(database_url, size=12) as database:
        centre = Centre(database)
        centre.build()
        say(centre, plan=PLAN)
        cameras = [centre.device("lamp-1", BORDER_LON - 0.002), centre.device("lamp-2", BORDER_LON + 0.002)]
        yield Street(centre, cameras)


def test_a_stretch_becomes_a_ticket_when_its_rate_passes_the_limit_and_only_once(street: Street) -> None:
    street.morning(70)  # of 4 camera-hours: 17.5
    assert street.look() == 0
    street.morning(100)  # and now 170 of 8
    assert street.look() == 1
    assert street.look() == 0
    ticket = street.ticket()
    assert (ticket.category, ticket.channel, ticket.severity) == ("camera.no_helmet", "camera", 2)
    assert ticket.events[0].detail["recurring"]["stretch"] == "avenue"
    place = ticket.recurring
    assert place is not None
    assert (place.stretch_zh, place.band_en, place.hours) == ("鼓楼大街", "Morning peak", ("07:00-09:00",))
    assert (place.opened_upon.acts, place.opened_upon.looked_h, place.opened_upon.per_h) == (170, 8.0, 21.25)
    assert (place.cameras, place.before, place.after, place.verdict) == (2, None, None, None)


def test_the_worst_acts_are_the_evidence(street: Street) -> None:
    street.morning(90)
    at = street.centre.now - timedelta(hours=1)
    street.act(street.cameras[0], at, severity=3, count=1, evidence=[picture(at, 999)])
    street.centre.worker.drain()
    assert street.look() == 1
    ticket = street.ticket()
    assert ticket.recurring is not None
    assert ticket.recurring.worst[0].pictures == (f"/api/evidence/{999:064x}",)
    assert all(act.pictures for act in ticket.recurring.worst)
    shown = {picture.sha256 for one in ticket.linked_incidents for picture in one.evidence}
    assert f"{999:064x}" in shown


def test_bands_are_counted_each_for_itself(street: Street) -> None:
    street.morning(60)
    street.morning(60, hour=17)
    assert street.look() == 0
    street.morning(120, hour=17)
    assert street.look() == 1
    assert street.ticket().recurring.band == "evening"  # type: ignore[union-attr]


def test_acts_outside_the_bands_are_not_counted(street: Street) -> None:
    street.morning(500, hour=12)
    assert street.look() == 0


def test_what_a_drill_shows_is_not_counted(street: Street) -> None:
    street.morning(10)
    at = street.centre.now - timedelta(hours=1)
    for _ in range(200):
        street.act(street.cameras[0], at, mark="drill")
    street.centre.worker.drain()
    assert street.look() == 0


def test_without_books_the_clock_is_the_bound(street: Street) -> None:
    street.morning(100, looked_h=0)  # 7 mornings of 2 h of 2 cameras: 28 camera-hours at most
    assert street.look() == 0
    street.morning(500, looked_h=0)
    assert street.look() == 1
    place = street.ticket().recurring
    assert place is not None
    assert place.opened_upon.per_h is None
    assert place.opened_upon.at_least_per_h == pytest.approx(600 / 28, abs=0.01)


def test_a_camera_on_no_stretch_is_a_place_of_its_own(street: Street) -> None:
    lone = street.centre.device("lone", BORDER_LON, LAT + 0.005)
    street.cameras = [lone, lone]
    street.morning(90)
    assert street.look() == 1
    assert street.ticket().recurring.stretch == "gulou/lone"  # type: ignore[union-attr]


def opened(street: Street) -> None:
    street.morning(90)
    assert street.look() == 1


def test_a_claim_waits_until_enough_was_looked_and_closes_when_the_rate_came_down(street: Street) -> None:
    opened(street)
    ticket_id = street.claim()
    assert street.check() == {Verdict.WAIT: 1}
    street.morning(5, looked_h=1.5)  # 3 camera-hours of the 4 that are asked for
    assert street.check() == {Verdict.WAIT: 1}
    street.morning(5)
    assert street.check() == {Verdict.CLEAN: 1}
    ticket = street.centre.tickets.get_ticket(ticket_id)
    assert (ticket.state, ticket.closed_by) == ("closed", "look")
    place = ticket.recurring
    assert place is not None
    assert place.before is not None
    assert place.after is not None
    assert place.before.per_h == 22.5
    assert place.after.per_h == pytest.approx(1.43, abs=0.01)
    assert place.verdict == "came_down"
    assert ticket.events[-1].detail["after"]["acts"] == 10


def test_a_rate_that_has_not_come_down_reopens_the_ticket(street: Street) -> None:
    opened(street)
    ticket_id = street.claim()
    street.morning(95)
    assert street.check() == {Verdict.DIRTY: 1}
    ticket = street.centre.tickets.get_ticket(ticket_id)
    assert (ticket.state, ticket.reopenings) == ("reopened", 1)
    assert ticket.events[-1].detail["because"] == "the rate has not come down"
    assert ticket.recurring is not None
    assert ticket.recurring.verdict == "not_down"


def test_merged_into_another_ticket_it_is_measured_there(street: Street) -> None:
    opened(street)
    first = street.ticket()
    centre = street.centre
    other = centre.open_one("camera.rubbish_overflow", lon=BORDER_LON, sensor="cam-9")
    told = centre.value("SELECT observation_id FROM incident_observation WHERE sensor = 'cam-9'")
    device = centre.value("SELECT device_id FROM incident_observation WHERE sensor = 'cam-9'")
    centre.put(device, "end", category="camera.rubbish_overflow", observation_id=told, revision=1, ended_s=1)
    centre.worker.drain()
    MergeService(centre.database, centre.clock).merge(first.ticket_id, other, person(), "one place")
    for action in (Action.ACKNOWLEDGE, Action.RESOLVE):
        centre.tickets.act(other, action, person())
    street.morning(95)
    assert street.check() == {Verdict.DIRTY: 1}
    ticket = centre.tickets.get_ticket(other)
    assert (ticket.state, ticket.events[-1].detail["because"]) == ("reopened", "the rate has not come down")
    for action in (Action.ACKNOWLEDGE, Action.RESOLVE):
        centre.tickets.act(other, action, person())
    street.morning(3)
    assert street.check() == {Verdict.BLIND: 1}  # the rate came down, and the rubbish nobody has looked at
    assert centre.tickets.get_ticket(other).recurring.verdict == "came_down"  # type: ignore[union-attr]


def test_hours_that_are_not_comparable_prove_nothing(street: Street) -> None:
    opened(street)
    street.claim()
    street.morning(0 + 1, hour=12)
    street.morning(0 + 1, hour=17)
    assert street.check() == {Verdict.WAIT: 1}


def test_a_camera_that_does_not_look_makes_the_ticket_blind_and_never_closes_it(street: Street) -> None:
    opened(street)
    ticket_id = street.claim()
    for _ in range(15):
        street.morning(1, looked_h=0)
        street.check()
    ticket = street.centre.tickets.get_ticket(ticket_id)
    assert (ticket.state, ticket.blind_at is not None) == ("verifying", True)
    assert ticket.recurring is not None
    assert ticket.recurring.verdict == "blind"
    street.morning(3)  # it sees again
    assert street.check(blind=True) == {Verdict.CLEAN: 1}


def test_a_place_that_comes_back_after_its_end_is_counted_anew(street: Street) -> None:
    opened(street)
    street.claim()
    street.morning(4)
    assert street.check() == {Verdict.CLEAN: 1}
    assert street.look() == 0  # what was before the end was the last ticket's matter
    street.morning(60)
    assert street.look() == 0
    street.morning(120)
    assert street.look() == 1
    assert street.centre.value("SELECT count(*) FROM ticket") == 2
    assert street.centre.value("SELECT count(DISTINCT matter_id) FROM ticket") == 1


def test_the_sweeper_counts_once_a_minute(street: Street) -> None:
    street.morning(90)
    watch = RecurringWatch(street.centre.database)
    assert watch.look(street.centre.now) == 1
    with street.centre.database.transaction() as tx:
        tx.run("UPDATE ticket SET state = 'void', closed_at = opened_at - interval '7 days'")
    assert watch.look(street.centre.now + timedelta(seconds=59)) == 0
    assert watch.look(street.centre.now + timedelta(seconds=61)) == 1


def test_the_interface_lists_recurring_places(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as it, it.client("viewer") as anybody:
        assert anybody.get("/api/recurring").json() == {"items": [], "next_cursor": None}
        centre = Centre(it.centre.database)
        say(centre, plan=PLAN)
        street = Street(centre, [centre.device("lamp-1"), centre.device("lamp-2")])
        opened(street)
        (item,) = anybody.get("/api/recurring", params={"open": True}).json()["items"]
        assert (item["place"]["stretch_en"], item["place"]["limit_per_h"]) == ("Drumtower Avenue", 20.0)
        assert anybody.get("/api/recurring", params={"open": False}).json()["items"] == []
        assert anybody.get(f"/api/tickets/{item['ticket_id']}").json()["recurring"] == item["place"]
        page = anybody.get(f"/tickets/{item['ticket_id']}")
        assert page.status_code == 200
        for told in ("频发路段", "鼓楼大街", "07:00-09:00", "每观测小时 22.5 起"):
            assert told in page.text


def test_new_rates_are_told_though_the_version_stays_and_refuse_nobody_who_acts(
    database_url: str, tmp_path: Path
) -> None:
    with served(database_url, tmp_path) as it, it.client("supervisor") as somebody:
        centre = Centre(it.centre.database)
        say(centre, plan=PLAN)
        street = Street(centre, [centre.device("lamp-1"), centre.device("lamp-2")])
        opened(street)
        path = f"/api/tickets/{street.claim()}"
        assert street.check() == {Verdict.WAIT: 1}
        before = somebody.get(path)
        street.morning(5, looked_h=1.5)
        assert street.check() == {Verdict.WAIT: 1}
        after = somebody.get(path, headers={"If-None-Match": before.headers["etag"]})
        assert after.status_code == 200
        assert after.json()["version"] == before.json()["version"]
        assert after.json()["recurring"]["after"]["acts"] == 5
        again = somebody.get(path, headers={"If-None-Match": after.headers["etag"]})
        assert (again.status_code, again.headers["etag"]) == (304, after.headers["etag"])
        note = {"action": "note", "note": "they are fewer"}
        acted = somebody.post(f"{path}/actions", json=note, headers={"If-Match": before.headers["etag"]})
        assert acted.status_code == 200, acted.text
        stale = somebody.post(f"{path}/actions", json=note, headers={"If-Match": after.headers["etag"]})
        assert stale.status_code == 412
