"""From the inbox to tickets, on the real database."""

from __future__ import annotations

import itertools
import random
import threading
import uuid
from typing import Any

import psycopg
import pytest

from cloud.db import Database
from cloud.db.database import lock_key
from cloud.inbox import repo
from cloud.summary.service import summarise
from tests.fixtures.centre import BORDER_LON, LAT, Centre

pytestmark = pytest.mark.services


def tickets(centre: Centre) -> list[dict[str, Any]]:
    return centre.rows("SELECT * FROM ticket ORDER BY number")


def assert_sound(centre: Centre) -> None:
    found = summarise(centre.database, centre.rules)
    assert found.sound, found
    assert found.inbox.waiting == 0


def test_an_alarm_becomes_a_dispatched_ticket_with_clocks_and_history(centre: Centre) -> None:
    device = centre.device("gauge-1")
    centre.put(device, severity=3)
    assert centre.worker.drain() == 1
    (ticket,) = tickets(centre)
    assert ticket["state"] == "dispatched"
    assert (ticket["unit_code"], ticket["grid_code"], ticket["channel"]) == ("water", "grid-a", "sensor")
    assert ticket["number"] == "DT-20260101-0001"  # midnight in UTC is the morning there
    detail = centre.tickets.get_ticket(ticket["ticket_id"])
    assert [event.kind for event in detail.events] == ["opened", "dispatched", "called"]
    assert detail.version == 3
    assert {clock.name: (clock.due_at - centre.now).total_seconds() for clock in detail.clocks} == {
        "ack": 60,
        "arrive": 120,
        "resolve": 600,
    }
    assert [(part.unit_code, part.kind) for part in detail.assignments] == [
        ("water", "owner"),
        ("fire", "called"),
    ]
    assert detail.policy["name"] == "storm"
    assert_sound(centre)


def test_the_phases_of_an_observation_in_any_order_make_the_same_incident(centre: Centre) -> None:
    phases: list[dict[str, Any]] = [
        {"phase": "start", "revision": 0},
        {"phase": "update", "revision": 1, "at_s": 60, "severity": 4, "value": 0.5},
        {"phase": "update", "revision": 2, "at_s": 120, "count": 3},
        {"phase": "end", "revision": 3, "ended_s": 180, "value": 0.05},
    ]
    told = set()
    for number, order in enumerate(itertools.permutations(phases)):
        device = centre.device(f"gauge-{number}", lon=BORDER_LON + number * 0.01)
        observation_id = uuid.uuid4()
        for phase in order:
            centre.put(device, observation_id=observation_id, **phase)
            centre.worker.drain()
        (incident,) = centre.rows(
            "SELECT severity, started_at, last_at, ended_at, observations, count, ticket_worthy FROM incident"
            " WHERE device_id = %(device)s",
            device=device,
        )
        told.add(tuple(incident.values()))
    assert len(told) == 1
    assert centre.value("SELECT count(*) FROM ticket WHERE severity = 4") == 24
    assert_sound(centre)


def test_the_same_phase_twice_changes_nothing(centre: Centre) -> None:
    device = centre.device("gauge-1")
    told = centre.put(device)
    centre.worker.drain()
    events = centre.value("SELECT count(*) FROM stream_event")
    centre.put(device, observation_id=told)
    centre.worker.drain()
    assert centre.value("SELECT count(*) FROM stream_event") == events
    assert centre.value("SELECT count FROM incident") == 1


def test_two_sensors_at_one_place_are_one_matter_and_two_places_are_two(centre: Centre) -> None:
    centre.put(centre.device("a"))
    centre.put(centre.device("b", lon=BORDER_LON + 0.0003))  # 30 m
    centre.put(centre.device("c", lon=BORDER_LON + 0.002))  # 200 m
    centre.put(centre.device("d"), category="smoke.alarm")
    centre.worker.drain()
    assert len(tickets(centre)) == 3
    assert centre.value("SELECT count(*) FROM incident") == 3
    assert_sound(centre)


def test_what_comes_back_while_the_ticket_is_open_joins_it(centre: Centre) -> None:
    device = centre.device("gauge-1")
    centre.put(device, "end", revision=1, ended_s=30)
    centre.worker.drain()
    centre.clock.advance(3600)
    centre.put(device)  # an hour later: another incident of the same matter
    centre.worker.drain()
    (ticket,) = tickets(centre)
    assert centre.value("SELECT count(*) FROM ticket_incident") == 2
    kinds = [event.kind for event in centre.tickets.get_ticket(ticket["ticket_id"]).events]
    assert kinds == ["opened", "dispatched", "called", "incident_attached"]
    assert_sound(centre)


def test_a_zone_of_one_camera_is_not_the_zone_of_its_neighbour(centre: Centre) -> None:
    lamp, other = centre.device("lamp-1"), centre.device("lamp-2")
    for device, sensor in ((lamp, "cam-1"), (lamp, "cam-2"), (other, "cam-1"), (lamp, "cam-1")):
        centre.put(device, category="camera.zone_occupied", sensor=sensor)
    centre.worker.drain()
    assert len(tickets(centre)) == 3
    assert centre.value("SELECT count(*) FROM incident") == 3


def test_acts_are_counted_by_device_and_hour_and_are_never_a_ticket(centre: Centre) -> None:
    device = centre.device("lamp-1")
    for minute in (0, 5, 59, 61):
        centre.put(device, "act", category="camera.wrong_way", started_s=minute * 60, count=2)
    centre.put(centre.device("lamp-2"), "act", category="camera.wrong_way")
    centre.worker.drain()
    counted = centre.rows("SELECT observations, count, ended_at FROM incident ORDER BY count")
    assert [(row["observations"], row["count"]) for row in counted] == [(1, 1), (1, 2), (3, 6)]
    assert all(row["ended_at"] for row in counted)
    assert tickets(centre) == []
    assert_sound(centre)


def test_an_act_that_is_told_as_a_condition_is_counted_and_never_a_ticket(centre: Centre) -> None:
    device = centre.device("lamp-1")
    told = centre.put(device, "start", category="camera.wrong_way", severity=4)
    centre.worker.drain()
    centre.put(device, "update", category="camera.wrong_way", observation_id=told, revision=1, count=3)
    centre.put(
        device, "end", category="camera.wrong_way", observation_id=told, revision=2, count=3, ended_s=9
    )
    centre.put(device, "act", category="camera.wrong_way", count=2)
    centre.worker.drain()
    (counted,) = centre.rows("SELECT kind, observations, count, ticket_worthy FROM incident")
    assert tuple(counted.values()) == ("act", 2, 5, False)
    assert tickets(centre) == []
    assert_sound(centre)


def test_a_condition_that_is_told_as_an_act_is_over_and_still_a_ticket(centre: Centre) -> None:
    centre.put(centre.device("gauge-1"), "act")
    centre.worker.drain()
    assert centre.value("SELECT kind FROM incident WHERE ended_at = last_at") == "condition"
    assert len(tickets(centre)) == 1
    assert_sound(centre)


def test_an_invented_category_is_kept_and_calls_no_department(centre: Centre) -> None:
    centre.put(centre.device("gauge-1"), category="flood.made_up", severity=4)  # the rules cover flood.*
    centre.put(centre.device("gauge-1"), "act", category="flood.made_up")
    centre.worker.drain()
    (ticket,) = tickets(centre)
    detail = centre.tickets.get_ticket(ticket["ticket_id"])
    assert (detail.state, detail.unassigned, detail.unit_code) == ("open", True, "centre")
    assert list(detail.assignments) == []
    assert detail.events[1].detail["because"] == "nobody declared the category flood.made_up"
    assert centre.value("SELECT count(*) FROM incident WHERE category = 'flood.made_up'") == 2
    assert_sound(centre)


def test_an_alarm_long_over_is_an_incident_and_calls_nobody(centre: Centre) -> None:
    device = centre.device("gauge-1")
    told = centre.put(device, "start", started_s=-9000)
    centre.put(device, "end", observation_id=told, revision=1, started_s=-9000, ended_s=-7200)
    centre.worker.drain()  # both phases in one batch: its end is known when it is judged
    assert tickets(centre) == []
    assert centre.value("SELECT ticket_worthy FROM incident") is False
    centre.put(device, "start", started_s=-8000)  # still goes on, as far as anybody knows
    centre.worker.drain()
    assert len(tickets(centre)) == 1
    assert_sound(centre)


def test_nobodys_place_goes_to_the_centres_queue_with_a_clock(centre: Centre) -> None:
    centre.put(centre.device("far", lon=BORDER_LON + 1), category="smoke.alarm")
    centre.put(centre.device("odd"), category="air.quality_poor")
    centre.worker.drain()
    for ticket in tickets(centre):
        detail = centre.tickets.get_ticket(ticket["ticket_id"])
        assert (detail.state, detail.unassigned, detail.unit_code) == ("open", True, "centre")
        assert [clock.name for clock in detail.clocks] == ["assign", "resolve"]
        assert detail.events[1].kind == "unassigned"
        assert detail.events[1].detail["because"]
    assert len(tickets(centre)) == 2


def test_severity_only_rises_in_a_ticket(centre: Centre) -> None:
    device = centre.device("gauge-1")
    told = centre.put(device, severity=2)
    centre.worker.drain()
    centre.put(device, "update", observation_id=told, revision=1, severity=4, at_s=10)
    centre.worker.drain()
    centre.put(device, "update", observation_id=told, revision=2, severity=1, at_s=20)
    centre.worker.drain()
    (ticket,) = tickets(centre)
    assert ticket["severity"] == 4
    kinds = [event.kind for event in centre.tickets.get_ticket(ticket["ticket_id"]).events]
    assert kinds.count("severity_raised") == 1


def test_what_cannot_be_applied_is_tried_again_then_kept_apart_and_stops_nothing(centre: Centre) -> None:
    device = centre.device("gauge-1")
    centre.put(device, severity=9, category="smoke.alarm")  # the incident's table allows 1 to 4
    centre.put(device, evidence=[{"no": "hash"}], category="manhole.open")
    centre.put(device)
    centre.worker.drain()
    assert len(tickets(centre)) == 1
    assert centre.value("SELECT count(*) FROM inbox_attempt") == 2
    for _ in range(3):
        centre.clock.advance(10)
        centre.worker.drain()
    found = summarise(centre.database, centre.rules)
    assert (found.inbox.waiting, found.inbox.failed, found.sound) == (0, 2, False)
    errors = [row["error"] for row in centre.rows("SELECT error FROM inbox_failed ORDER BY inbox_id")]
    assert "CheckViolation" in errors[0]
    assert "evidence as on the wire" in errors[1]
    assert centre.value("SELECT count(*) FROM matter") == 1  # nothing half-written


def test_what_failed_can_be_put_back_after_a_fix(centre: Centre) -> None:
    device = centre.device("gauge-1")
    centre.put(device, severity=9)
    for _ in range(4):
        centre.worker.drain()
        centre.clock.advance(10)
    with centre.database.transaction() as tx:
        tx.run("UPDATE inbox_failed SET inbox_row = jsonb_set(inbox_row, '{severity}', '3')")
        assert repo.put_back(tx) == 1
    centre.worker.drain()
    assert len(tickets(centre)) == 1
    assert_sound(centre)


def test_an_observation_that_changes_its_category_is_refused(centre: Centre) -> None:
    device = centre.device("gauge-1")
    told = centre.put(device)
    centre.worker.drain()
    centre.put(device, "update", observation_id=told, revision=1, category="smoke.alarm")
    centre.worker.drain()
    assert "changed_category" not in str(tickets(centre))
    assert "expected observation" in centre.value("SELECT error FROM inbox_attempt")


def test_two_workers_across_a_cell_border_open_one_ticket_a_matter(centre: Centre, database_url: str) -> None:
    """Two devices 20 m apart, the border of two place cells between them, both alarms at the same instant."""
    rounds, seeded = 40, random.Random(7)
    with Database(database_url, size=4) as other_database:
        workers = (centre.new_worker(), centre.new_worker(other_database))
        for number in range(rounds):
            lat = LAT + number * 0.01
            west = centre.device(f"west-{number}", BORDER_LON - 0.0001, lat)
            east = centre.device(f"east-{number}", BORDER_LON + 0.0001, lat)
            barrier = threading.Barrier(2)
            centre.put(west)
            centre.put(east)

            def take_one(worker_number: int, barrier: threading.Barrier = barrier) -> None:
                worker = workers[worker_number]
                barrier.wait()
                if seeded.random() < 0.5:
                    threading.Event().wait(seeded.random() * 0.003)
                worker.drain()

            # One row a batch, so that each worker holds one of the two.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("cloud.worker._BATCH", 1)
                threads = [threading.Thread(target=take_one, args=(n,)) for n in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
    assert len(tickets(centre)) == rounds
    assert centre.value("SELECT count(*) FROM matter") == rounds
    assert centre.value("SELECT count(*) FROM incident") == rounds
    assert centre.value("SELECT count(*) FROM incident_observation") == 2 * rounds
    assert_sound(centre)


def test_a_worker_waits_for_the_place_and_then_sees_what_the_other_opened(
    centre: Centre, database_url: str
) -> None:
    """The same, forced: the other worker has opened the matter and not yet committed."""
    centre.put(centre.device("west", BORDER_LON - 0.0001))
    centre.put(centre.device("east", BORDER_LON + 0.0001))
    with psycopg.connect(database_url) as holder:
        # Hold the very lock that both need: the cell of either is within reach of the other.
        holder.execute(
            "SELECT pg_advisory_xact_lock(%s)",
            [lock_key(f"matter|flood.water_level|119300|{int(LAT * 1000)}")],
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cloud.worker._BATCH", 1)
            threads = [threading.Thread(target=centre.new_worker().drain) for _ in range(2)]
            for thread in threads:
                thread.start()
            threading.Event().wait(0.3)
            assert tickets(centre) == []  # both wait
            holder.commit()
            for thread in threads:
                thread.join()
    assert len(tickets(centre)) == 1
    assert_sound(centre)


def test_many_workers_on_a_shuffled_storm_lose_and_double_nothing(centre: Centre) -> None:
    seeded = random.Random(11)
    devices = [
        centre.device(f"d-{n}", BORDER_LON + (n % 4) * 0.0002, LAT + (n // 4) * 0.002) for n in range(12)
    ]
    phases = []
    for _ in range(60):
        device, told = seeded.choice(devices), uuid.uuid4()
        category = seeded.choice(["flood.water_level", "smoke.alarm", "camera.zone_crowded"])
        for revision, phase in enumerate(("start", "update", "end")):
            phases.append((device, phase, told, revision, category))
    seeded.shuffle(phases)
    for device, phase, told, revision, category in phases:
        centre.put(
            device,
            phase,
            observation_id=told,
            revision=revision,
            category=category,
            at_s=revision,
            ended_s=2 if phase == "end" else None,
        )
    workers = [centre.new_worker() for _ in range(4)]
    threads = [threading.Thread(target=worker.drain) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    centre.worker.drain()
    assert centre.value("SELECT count(*) FROM incident_observation WHERE ended_at IS NOT NULL") == 60
    assert centre.value("SELECT sum(observations) FROM incident") == 60
    assert_sound(centre)
