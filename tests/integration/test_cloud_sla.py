"""Clocks that fire and claims that are looked into, on the real database."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest

from cloud.db import Database
from cloud.sla.service import fire_due, remind_of_reviews
from cloud.tickets.domain import Action, State
from cloud.verify.domain import Verdict, VerifySettings
from cloud.verify.service import check_claims
from tests.fixtures.centre import BORDER_LON, Centre, person

pytestmark = pytest.mark.services
SETTINGS = VerifySettings(looks=3, settle_s=20, grace_s=60, blind_after_s=600)


def test_a_missed_clock_fires_once_and_raises_the_level(centre: Centre) -> None:
    ticket_id = centre.open_one()
    assert fire_due(centre.database, centre.now) == 0
    centre.clock.advance(60)
    assert fire_due(centre.database, centre.now) == 1
    assert fire_due(centre.database, centre.now) == 0
    detail = centre.tickets.get_ticket(ticket_id)
    assert (detail.level, detail.clocks_missed) == (1, 1)
    assert [event.kind for event in detail.events[-3:]] == ["clock_missed", "called_out", "escalated"]
    assert detail.events[-3].detail["clock"] == "ack"
    centre.clock.advance(10_000)
    assert fire_due(centre.database, centre.now) == 2  # arrive and resolve
    assert centre.tickets.get_ticket(ticket_id).level == 3


def test_two_sweepers_fire_each_clock_once(centre: Centre, database_url: str) -> None:
    for number in range(20):
        centre.open_one(lon=BORDER_LON + number * 0.0007)
    centre.clock.advance(60)
    with Database(database_url, size=4) as other:
        barrier, fired = threading.Barrier(4), list[int]()

        def sweep(database: Database) -> None:
            barrier.wait()
            for _ in range(3):
                fired.append(fire_due(database, centre.now))

        threads = [
            threading.Thread(target=sweep, args=(database,)) for database in (centre.database, other) * 2
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(fired) == 20
    assert centre.value("SELECT count(*) FROM ticket_event WHERE kind = 'clock_missed'") == 20
    assert centre.value("SELECT count(*) FROM ticket WHERE level = 1") == 20


def test_a_suspended_ticket_misses_nothing(centre: Centre) -> None:
    ticket_id = centre.open_one()
    review = centre.now + timedelta(days=30)
    centre.tickets.act(ticket_id, Action.SUSPEND, person(), note="the road is closed", review_at=review)
    centre.clock.advance(86_400)
    assert fire_due(centre.database, centre.now) == 0
    centre.tickets.act(ticket_id, Action.RESUME, person())
    assert fire_due(centre.database, centre.now) == 0
    centre.clock.advance(60)
    assert fire_due(centre.database, centre.now) == 1


def test_a_review_that_is_due_is_told_daily_and_the_clocks_stay_stopped(centre: Centre) -> None:
    ticket_id = centre.open_one()
    review = centre.now + timedelta(hours=2)
    centre.tickets.act(ticket_id, Action.SUSPEND, person(), note="the road is closed", review_at=review)
    centre.clock.advance(7199)
    assert remind_of_reviews(centre.database, centre.now) == 0
    centre.clock.advance(1)
    assert remind_of_reviews(centre.database, centre.now) == 1
    assert remind_of_reviews(centre.database, centre.now) == 0
    detail = centre.tickets.get_ticket(ticket_id)
    assert (detail.state, detail.review_at, detail.events[-1].kind) == ("suspended", review, "review_due")
    assert {clock.state for clock in detail.clocks} == {"stopped"}
    told = centre.rows("SELECT unit_code, kind FROM notification WHERE kind <> 'called' ORDER BY unit_code")
    assert told == [
        {"unit_code": "centre", "kind": "review_due"},
        {"unit_code": "water", "kind": "review_due"},
    ]
    centre.clock.advance(86_400)
    assert remind_of_reviews(centre.database, centre.now) == 1
    assert fire_due(centre.database, centre.now) == 0
    centre.tickets.act(ticket_id, Action.RESUME, person())
    assert remind_of_reviews(centre.database, centre.now + timedelta(days=2)) == 0


def test_a_clock_met_at_the_last_moment_does_not_fire(centre: Centre) -> None:
    ticket_id = centre.open_one()
    centre.clock.advance(60)
    centre.tickets.act(ticket_id, Action.ACKNOWLEDGE, person())
    assert fire_due(centre.database, centre.now) == 0


def read_sensor(centre: Centre, device_id: int, *seconds: float, flags: int = 0) -> None:
    """Readings of the device's sensor, so many seconds from now."""
    with centre.database.transaction() as tx:
        tx.run(
            "INSERT INTO series (device_id, sensor, metric) VALUES (%(device)s, 'sensor-1', 'water_depth')"
            " ON CONFLICT DO NOTHING",
            device=device_id,
        )
        for second in seconds:
            tx.run(
                "INSERT INTO reading (captured_at, received_at, value, series_id, flags)"
                " SELECT %(at)s, %(at)s, 0.0, series_id, %(flags)s FROM series WHERE device_id = %(device)s",
                at=centre.now + timedelta(seconds=second),
                flags=flags,
                device=device_id,
            )


class Claim:
    """A ticket of one gauge that somebody says is resolved."""

    def __init__(self, centre: Centre, category: str = "flood.water_level", *, ended: bool = True) -> None:
        self.centre = centre
        self.category = category
        self.device = centre.device(f"gauge-{uuid.uuid4().hex[:6]}", lon=BORDER_LON + 0.002)
        self.told = centre.put(self.device, category=category)
        centre.worker.drain()
        if ended:
            self.end(-1)
        self.ticket_id = centre.value("SELECT ticket_id FROM ticket")
        centre.tickets.act(self.ticket_id, Action.ACKNOWLEDGE, person())
        centre.tickets.act(self.ticket_id, Action.RESOLVE, person())

    def end(self, at_s: float) -> None:
        self.centre.put(
            self.device,
            "end",
            category=self.category,
            observation_id=self.told,
            revision=1,
            started_s=-60,
            ended_s=at_s,
        )
        self.centre.worker.drain()

    def check(self, after_s: float = 0) -> Verdict:
        self.centre.clock.advance(after_s)
        blind = self.centre.value("SELECT blind_at IS NOT NULL FROM ticket")
        (verdict,) = check_claims(self.centre.database, SETTINGS, self.centre.now, blind=blind)
        return verdict

    @property
    def state(self) -> State:
        return self.centre.tickets.get_ticket(self.ticket_id).state


def test_clean_looks_after_the_claim_close_the_ticket(centre: Centre) -> None:
    claim = Claim(centre)
    read_sensor(centre, claim.device, -30, -20, -10, 5, 15)
    assert claim.check(30) is Verdict.WAIT  # two looks after the claim are not three
    read_sensor(centre, claim.device, 0)
    assert claim.check() is Verdict.CLEAN
    detail = centre.tickets.get_ticket(claim.ticket_id)
    assert (detail.state, detail.overridden, detail.closed_at) == ("closed", False, centre.now)
    assert detail.closed_by == "look"
    assert detail.events[-1].detail == {"devices": 1, "looks": 3, "by": "look"}


def test_readings_by_a_wrong_clock_are_no_looks(centre: Centre) -> None:
    claim = Claim(centre)
    read_sensor(centre, claim.device, 5, 15, 25, 30, flags=1)
    assert claim.check(40) is Verdict.WAIT


def test_silence_is_never_resolved_and_is_said_once(centre: Centre) -> None:
    claim = Claim(centre)
    assert claim.check(30) is Verdict.WAIT
    assert claim.check(600) is Verdict.BLIND
    assert claim.check(86_400 * 365) is Verdict.BLIND
    detail = centre.tickets.get_ticket(claim.ticket_id)
    assert detail.state is State.VERIFYING
    assert [event.kind for event in detail.events].count("blind") == 1
    read_sensor(centre, claim.device, 5, 15, 25)
    assert claim.check(30) is Verdict.CLEAN  # it spoke again


def test_what_begins_again_after_the_claim_reopens_it_with_new_clocks(centre: Centre) -> None:
    claim = Claim(centre)
    centre.clock.advance(700)
    centre.put(claim.device)
    centre.worker.drain()
    assert claim.check() is Verdict.DIRTY
    detail = centre.tickets.get_ticket(claim.ticket_id)
    assert (detail.state, detail.reopenings, detail.claimed_at) == ("reopened", 1, None)
    assert {(clock.name, clock.round) for clock in detail.clocks if clock.state == "running"} == {
        ("ack", 2),
        ("arrive", 2),
        ("resolve", 2),
    }
    assert [event.kind for event in detail.events][-2:] == ["incident_attached", "reopened"]


def test_what_still_goes_on_after_the_grace_reopens_it(centre: Centre) -> None:
    claim = Claim(centre, ended=False)
    read_sensor(centre, claim.device, 5, 15, 25, 35)
    assert claim.check(50) is Verdict.WAIT
    read_sensor(centre, claim.device, 15)
    assert claim.check(20) is Verdict.DIRTY
    assert claim.state is State.REOPENED


def test_what_drains_within_the_grace_closes_it(centre: Centre) -> None:
    claim = Claim(centre, ended=False)
    centre.clock.advance(40)
    claim.end(0)
    read_sensor(centre, claim.device, 5, 15, 21)
    assert claim.check(25) is Verdict.CLEAN


def status(centre: Centre, device_id: int, at_s: float, analysed: int, camera: str = "sensor-1") -> None:
    with centre.database.transaction() as tx:
        tx.run(
            "INSERT INTO device_status (received_at, device_id, state, said_at, version, counters)"
            " VALUES (%(at)s, %(device)s, 'online', %(at)s, '1',"
            " jsonb_build_object('analysed', %(n)s::bigint, 'analysed.' || %(camera)s::text, %(n)s::bigint))",
            at=centre.now + timedelta(seconds=at_s),
            device=device_id,
            n=analysed,
            camera=camera,
        )


def test_a_camera_looks_when_it_analyses_frames_and_not_when_it_stands_still(centre: Centre) -> None:
    claim = Claim(centre, "camera.zone_occupied")
    for second in range(5, 40, 5):
        status(centre, claim.device, second, analysed=100)
    assert claim.check(40) is Verdict.WAIT
    for second in (0, 5, 10, 15):
        status(centre, claim.device, second, analysed=200 + second)
    assert claim.check(16) is Verdict.CLEAN


def test_what_another_camera_of_the_box_analyses_is_no_look(centre: Centre) -> None:
    claim = Claim(centre, "camera.zone_occupied")
    for second in range(5, 40, 5):
        status(centre, claim.device, second, analysed=100 + second, camera="sensor-2")
    assert claim.check(40) is Verdict.WAIT


def test_a_blind_camera_does_not_keep_its_neighbour_from_looking(centre: Centre) -> None:
    claim = Claim(centre, "camera.zone_occupied")
    centre.put(claim.device, category="device.camera_blind", sensor="sensor-2")
    centre.worker.drain()
    for second in range(5, 40, 5):
        status(centre, claim.device, second, analysed=100 + second)
    verdicts = check_claims(centre.database, SETTINGS, centre.now + timedelta(seconds=40))
    assert verdicts == {Verdict.CLEAN: 1}


def test_a_blind_camera_does_not_look(centre: Centre) -> None:
    claim = Claim(centre, "camera.zone_occupied")
    centre.put(claim.device, category="device.camera_blind")
    centre.worker.drain()
    for second in range(5, 40, 5):
        status(centre, claim.device, second, analysed=100 + second)
    verdicts = check_claims(centre.database, SETTINGS, centre.now + timedelta(seconds=40))
    assert verdicts == {Verdict.WAIT: 1}
