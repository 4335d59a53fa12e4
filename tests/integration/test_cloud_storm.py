"""Storm mode on the real database: by rule, by hand, across restarts, with two sweepers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from cloud.db import Database
from cloud.errors import ConflictError, ForbiddenError, NotFoundError
from cloud.storm.service import StormService, follow
from common.runtime.errors import InvalidError
from common.wire.ids import uuid7
from tests.fixtures.centre import BORDER_LON, Centre, person

pytestmark = pytest.mark.services


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=12) as database:
        built = Centre(database)
        built.build()
        with database.transaction() as tx:
            tx.run(
                "INSERT INTO storm_plan VALUES (true, '{flood.*,smoke.*}', 4, '{flood.*}', 3, 1800, 'street', 3600)"
            )
            tx.run(
                "INSERT INTO policy (position, name, category, ack_s, arrive_s, resolve_s, storm)"
                " VALUES (9, 'drain', 'flood.*', 30, 60, 1800, true)"
            )
        yield built


@pytest.fixture
def storms(centre: Centre) -> StormService:
    return StormService(centre.database, centre.clock)


def begin(storms: StormService, unit: str = "street-a", **changed: Any) -> Any:
    values: dict[str, Any] = {"reason": "typhoon", "ends_at": None, "began_at": None} | changed
    return storms.begin(person(), unit, **values)


def floods(centre: Centre, count: int, first: int = 0) -> None:
    """Water at so many places of one street."""
    for number in range(first, first + count):
        centre.open_one(lon=BORDER_LON + number * 0.001)


def test_a_storm_by_hand_raises_what_is_open_and_switches_what_comes(
    centre: Centre, storms: StormService
) -> None:
    before = centre.open_one()
    far = centre.open_one(lon=119.325)  # in the other street
    assert centre.tickets.get_ticket(before).policy["name"] == "storm"  # the fixture's ordinary one for water
    storm = begin(storms)
    assert follow(centre.database, centre.now) == 0
    raised = centre.tickets.get_ticket(before)
    assert (raised.severity, raised.events[-1].kind) == (4, "severity_raised")
    assert raised.events[-1].detail == {
        "from": 3,
        "to": 4,
        "because": "storm",
        "storm_id": str(storm.storm_id),
    }
    assert raised.policy["name"] == "storm"  # what was promised stays
    assert centre.tickets.get_ticket(far).severity == 3
    after = centre.tickets.get_ticket(centre.open_one(lon=BORDER_LON + 0.003))
    assert (after.severity, after.policy["name"], after.policy["storm"]) == (4, "drain", True)
    assert [event.kind for event in after.events][:2] == ["opened", "severity_raised"]
    storms.end(person(), storm.storm_id, "the rain is over")
    calm = centre.tickets.get_ticket(centre.open_one(lon=BORDER_LON + 0.006))
    assert (calm.severity, calm.policy["name"]) == (3, "storm")
    assert centre.tickets.get_ticket(before).severity == 4


def test_what_a_storm_does_not_concern_stays_as_it_is(centre: Centre, storms: StormService) -> None:
    begin(storms)
    other = centre.tickets.get_ticket(centre.open_one("camera.zone_occupied"))
    follow(centre.database, centre.now)
    assert (other.severity, other.policy["name"]) == (3, "ordinary")


def test_its_beginning_and_end_are_told_on_the_stream_and_stand_in_its_history(
    centre: Centre, storms: StormService
) -> None:
    storm = begin(storms)
    storms.end(person(), storm.storm_id, "over")
    told = centre.rows("SELECT kind, payload FROM stream_event WHERE kind LIKE 'storm.%%' ORDER BY event_id")
    assert [row["kind"] for row in told] == ["storm.began", "storm.ended"]
    assert told[0]["payload"]["reason"] == "typhoon"
    listed, events = storms.list_storms()
    assert [(one.storm_id, one.ended_by, one.end_reason) for one in listed] == [
        (storm.storm_id, "supervisor-centre", "over")
    ]
    assert [(event["kind"], event["actor_name"], event["reason"]) for event in events] == [
        ("began", "supervisor-centre", "typhoon"),
        ("ended", "supervisor-centre", "over"),
    ]
    assert centre.value("SELECT count(*) FROM notification WHERE kind = 'storm'") == 2


def test_enough_water_in_a_street_makes_a_storm_there_and_quiet_ends_it(centre: Centre) -> None:
    floods(centre, 2)
    assert follow(centre.database, centre.now) == 0
    floods(centre, 3, first=2)
    assert follow(centre.database, centre.now) == 1
    assert follow(centre.database, centre.now) == 0
    (storm,) = centre.rows("SELECT unit_code, by_rule, began_by, reason FROM storm")
    assert storm["unit_code"] == "street-a"
    assert storm["by_rule"] is True
    assert "incidents within 30 min" in storm["reason"]
    assert centre.value("SELECT min(severity) FROM ticket") == 4
    centre.clock.advance(3500)
    assert follow(centre.database, centre.now) == 0
    centre.clock.advance(200)
    assert follow(centre.database, centre.now) == 1
    assert follow(centre.database, centre.now) == 0
    assert centre.value("SELECT end_reason FROM storm") == "no incident for 60 min"


def test_what_made_a_storm_that_somebody_ended_does_not_make_another(
    centre: Centre, storms: StormService
) -> None:
    floods(centre, 3)
    assert follow(centre.database, centre.now) == 1
    (storm,) = storms.going_on()
    centre.clock.advance(1)
    storms.end(person(), storm.storm_id, "a burst pipe, no storm")
    assert follow(centre.database, centre.now) == 0
    centre.clock.advance(1)
    for number in range(3):
        centre.open_one(lon=BORDER_LON - 0.002 - number * 0.001)
    assert follow(centre.database, centre.now) == 1


def test_a_storm_with_an_end_ends_by_itself_also_after_a_restart(centre: Centre, database_url: str) -> None:
    service = StormService(centre.database, centre.clock)
    begin(service, ends_at=centre.now + timedelta(hours=2))
    centre.clock.advance(7199)
    with Database(database_url, size=2) as restarted:  # nothing of a storm lives in a process
        assert follow(restarted, centre.now) == 0
        ticket = centre.tickets.get_ticket(centre.open_one())
        assert ticket.policy["name"] == "drain"
        centre.clock.advance(1)
        assert follow(restarted, centre.now) == 1
    assert centre.value("SELECT end_reason FROM storm") == "its time is over"


def test_two_sweepers_toggle_a_storm_once_and_raise_each_ticket_once(
    centre: Centre, database_url: str
) -> None:
    floods(centre, 8)
    with Database(database_url, size=4) as other:
        assert sum(at_once(centre, other)) == 1
        assert centre.value("SELECT count(*) FROM storm") == 1
        assert centre.value("SELECT count(*) FROM ticket_event WHERE kind = 'severity_raised'") == 8
        assert centre.value("SELECT count(*) FROM stream_event WHERE kind = 'storm.began'") == 1
        centre.clock.advance(3601)
        assert sum(at_once(centre, other)) == 1
    assert centre.value("SELECT count(*) FROM storm_event") == 2
    assert centre.value("SELECT count(*) FROM notification WHERE kind = 'storm'") == 2


def at_once(centre: Centre, other: Database) -> list[int]:
    barrier, changed = threading.Barrier(4), list[int]()

    def sweep(database: Database) -> None:
        barrier.wait()
        for _ in range(3):
            changed.append(follow(database, centre.now))

    threads = [threading.Thread(target=sweep, args=(database,)) for database in (centre.database, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return changed


def test_what_cannot_be_is_refused_and_nothing_is_written(centre: Centre, storms: StormService) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"began_at": centre.now + timedelta(seconds=1)}, "storm.begins_in_future"),
        ({"ends_at": centre.now}, "storm.ends_in_past"),
    )
    for changed, code in wrong:
        with pytest.raises(InvalidError) as caught:
            begin(storms, **changed)
        assert caught.value.code == code
    with pytest.raises(InvalidError, match="centre, street or community"):
        begin(storms, "water")
    with pytest.raises(ForbiddenError):
        storms.begin(person("dispatcher", "street-a"), "street-a", "rain", None, None)
    with pytest.raises(ForbiddenError):
        storms.begin(person("supervisor", "street-b"), "street-a", "rain", None, None)
    with pytest.raises(NotFoundError):
        storms.end(person(), uuid7(centre.clock.now_ms()), "over")
    assert centre.value("SELECT count(*) FROM storm") == 0
    storm = begin(storms)
    with pytest.raises(ConflictError, match="goes on"):
        begin(storms)
    with pytest.raises(ForbiddenError):
        storms.end(person("supervisor", "street-b"), storm.storm_id, "over")
    storms.end(person(), storm.storm_id, "over")
    with pytest.raises(ConflictError, match="ended already"):
        storms.end(person(), storm.storm_id, "over")
    with centre.database.transaction() as tx:
        tx.run("DELETE FROM storm_plan")
    with pytest.raises(ConflictError, match="section"):
        begin(storms)
