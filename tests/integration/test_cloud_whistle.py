"""Departments that are called: they come or it is told, they confer, and what they promise has a clock."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cloud.auth.domain import Account
from cloud.db import Database
from cloud.errors import ConflictError, ForbiddenError, NotFoundError
from cloud.tickets.domain import Action
from cloud.verify.service import check_claims
from cloud.whistle.domain import Promise, WhistleSettings
from cloud.whistle.service import Conference, WhistleService
from cloud.whistle.watching import follow_calls
from common.runtime.errors import InvalidError
from tests.fixtures.centre import Centre, person
from tests.integration.test_cloud_sla import SETTINGS as VERIFY

pytestmark = pytest.mark.services
SETTINGS = WhistleSettings()


class Scene:
    """A flooded street: water owns it, the fire brigade was called by a rule."""

    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        self.service = WhistleService(centre.database, centre.clock, SETTINGS)
        self.ticket_id = centre.open_one()
        detail = centre.tickets.get_ticket(self.ticket_id)
        self.lon, self.lat = detail.lon, detail.lat

    def arrive(
        self, account: Account, unit: str = "fire", *, east: float = 0.0, at_s: float | None = None
    ) -> Any:
        at = None if at_s is None else self.centre.now + timedelta(seconds=at_s)
        return self.service.arrive(self.ticket_id, unit, account, (self.lon + east, self.lat, at))["calls"]

    def confer(self, *promises: Promise, account: Account | None = None, **changed: Any) -> dict[str, Any]:
        told: dict[str, Any] = {
            "held_at": self.centre.now,
            "present": ["fire", "water", "street-a"],
            "findings": "the pump is broken",
            "decision": "replace it",
            "promises": promises,
        } | changed
        return self.service.confer(
            self.ticket_id, account or person("dispatcher", "street-a"), Conference(**told)
        )

    def owed(self, hours: float = 2, unit: str = "water", what: str = "a new pump") -> Promise:
        return Promise(unit, what, self.centre.now + timedelta(hours=hours))

    def told(self, kind: str) -> list[str]:
        rows = self.centre.rows("SELECT unit_code FROM notification WHERE kind = %(k)s ORDER BY id", k=kind)
        return [row["unit_code"] for row in rows]

    def events(self, kind: str) -> list[Any]:
        return [one for one in self.centre.tickets.get_ticket(self.ticket_id).events if one.kind == kind]

    def follow(self, after_s: float = 0) -> int:
        self.centre.clock.advance(after_s)
        return follow_calls(self.centre.database, SETTINGS, self.centre.now)


@pytest.fixture
def scene(centre: Centre) -> Scene:
    return Scene(centre)


def test_a_unit_that_a_rule_calls_is_told_and_has_a_time_to_come(scene: Scene) -> None:
    (call,) = scene.service.read(scene.ticket_id)["calls"]
    assert call["unit_code"] == "fire"
    assert call["arrive_due_at"] - call["called_at"] == timedelta(
        seconds=120
    )  # as the policy gives its owner
    assert scene.told("called") == ["fire"]


def test_a_street_whistles_a_department_and_a_community_may_too(scene: Scene, centre: Centre) -> None:
    other = centre.open_one("smoke.alarm")
    centre.tickets.act(
        other, Action.CALL, person("dispatcher", "community-a"), unit_code="water", note="pipe"
    )
    calls = scene.service.read(other)["calls"]
    assert [call["unit_code"] for call in calls] == ["fire", "water"]
    assert scene.told("called") == ["fire", "fire", "water"]
    with pytest.raises(ForbiddenError):
        centre.tickets.act(other, Action.CALL, person("dispatcher", "street-b"), unit_code="water", note="x")


def test_a_called_unit_arrives_once_there_and_in_time(scene: Scene) -> None:
    scene.centre.clock.advance(100)
    (call,) = scene.arrive(person("handler", "fire"), at_s=-30)
    assert (call["arrived_by"], call["distance_m"]) == ("handler-fire", 0.0)
    assert call["reported_at"] - call["arrived_at"] == timedelta(seconds=30)
    (again,) = scene.arrive(person("handler", "fire"))
    assert again == call
    (event,) = scene.events("call_arrived")
    assert event.detail["late"] is False
    assert scene.follow(10_000) == 0


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"east": 0.002}, "whistle.elsewhere"),
        ({"at_s": 120}, "whistle.in_future"),
        ({"at_s": -2000}, "whistle.before_call"),
        ({"at_s": -1000}, "whistle.told_late"),
    ],
)
def test_an_arrival_that_cannot_have_been_is_refused(
    scene: Scene, changed: dict[str, Any], code: str
) -> None:
    scene.centre.clock.advance(1500)
    with pytest.raises(InvalidError) as caught:
        scene.arrive(person("handler", "fire"), **changed)
    assert caught.value.code == code
    assert scene.events("call_arrived") == []


def test_nobody_arrives_for_another_unit_and_none_that_was_not_called(scene: Scene) -> None:
    with pytest.raises(ForbiddenError):
        scene.arrive(person("handler", "water"))
    with pytest.raises(NotFoundError) as caught:
        scene.arrive(person("handler", "water"), "water")
    assert caught.value.code == "whistle.not_called"


def test_a_unit_that_does_not_come_is_told_of_once_and_goes_up_day_by_day(scene: Scene) -> None:
    assert scene.follow(119) == 0
    assert scene.follow(1) == 1
    assert scene.told("call_late") == ["fire"]
    assert [event.detail["step"] for event in scene.events("escalated")] == ["street"]
    assert scene.follow(86_399) == 0
    assert scene.follow(1) == 1
    assert scene.follow(86_400) == 1
    assert scene.follow(86_400) == 0  # the head stands at the top
    assert scene.follow(10 * 86_400) == 0
    assert [event.detail["step"] for event in scene.events("escalated")] == ["street", "district", "head"]
    assert len(scene.events("call_missed")) == 1
    (call,) = scene.arrive(person("handler", "fire"))
    assert call["missed_at"] is not None
    assert scene.events("call_arrived")[0].detail["late"] is True


def test_nobody_is_blamed_while_a_ticket_rests_or_after_its_end(scene: Scene) -> None:
    centre = scene.centre
    review = centre.now + timedelta(days=9)
    centre.tickets.act(scene.ticket_id, Action.SUSPEND, person(), note="typhoon", review_at=review)
    assert scene.follow(86_400) == 0
    centre.tickets.act(scene.ticket_id, Action.RESUME, person())
    centre.tickets.act(scene.ticket_id, Action.VOID, person(), note="nothing there")
    assert scene.follow(86_400) == 0
    assert scene.told("call_late") == []
    assert centre.value("SELECT count(*) FROM assignment WHERE watch_at IS NOT NULL") == 0


def test_a_conference_says_who_owes_what_by_when_and_each_is_told(scene: Scene) -> None:
    found = scene.confer(scene.owed(), scene.owed(4, "fire", "sandbags"))
    (conference,) = found["conferences"]
    assert conference["decision"] == "replace it"
    assert [(one["unit_code"], one["what"]) for one in conference["tasks"]] == [
        ("water", "a new pump"),
        ("fire", "sandbags"),
    ]
    assert scene.told("task") == ["water", "fire"]
    (event,) = scene.events("conferred")
    assert (event.note, event.detail["present"]) == ("replace it", ["fire", "water", "street-a"])


def test_a_conference_is_not_changed_any_more(scene: Scene) -> None:
    scene.confer()
    for statement in ("UPDATE conference SET decision = 'no'", "DELETE FROM conference"):
        with (
            psycopg.connect(scene.centre.database.url) as connection,
            pytest.raises(psycopg.Error, match="never changed"),
        ):
            connection.execute(statement)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"held_at": 60}, "whistle.conference_in_future"),
        ({"present": ["nobody"]}, "ticket.unknown_unit"),
        ({"promises": ["nobody", 3600]}, "ticket.unknown_unit"),
        ({"promises": ["water", -1]}, "whistle.bad_date"),
        ({"promises": ["water", 400 * 86_400]}, "whistle.bad_date"),
    ],
)
def test_a_conference_that_cannot_have_been_is_refused_whole(
    scene: Scene, changed: dict[str, Any], code: str
) -> None:
    if "held_at" in changed:
        changed = {"held_at": scene.centre.now + timedelta(seconds=changed["held_at"])}
    if "promises" in changed:
        unit, seconds = changed["promises"]
        changed = {"promises": [scene.owed(seconds / 3600, unit)]}
    with pytest.raises(InvalidError) as caught:
        scene.confer(**changed)
    assert caught.value.code == code
    assert scene.service.read(scene.ticket_id)["conferences"] == []


def test_a_promise_that_is_not_kept_is_told_and_goes_up_until_it_is(scene: Scene) -> None:
    scene.arrive(person("handler", "fire"))
    (conference,) = scene.confer(scene.owed(2))["conferences"]
    task_id: uuid.UUID = conference["tasks"][0]["task_id"]
    assert scene.follow(7199) == 0
    assert scene.follow(1) == 1
    assert scene.told("task_due") == ["water"]
    (missed,) = scene.events("task_missed")
    assert (missed.detail["task"], missed.detail["unit_code"]) == ("a new pump", "water")
    done = scene.service.finish(scene.ticket_id, task_id, person("handler", "water"), "it runs")
    assert done["conferences"][0]["tasks"][0]["done_by"] == "handler-water"
    assert scene.events("task_done")[0].detail["late"] is True
    assert scene.follow(30 * 86_400) == 0
    with pytest.raises(ConflictError) as caught:
        scene.service.finish(scene.ticket_id, task_id, person("handler", "water"), "again")
    assert caught.value.code == "whistle.task_done"


def test_what_is_kept_in_time_troubles_nobody(scene: Scene) -> None:
    scene.arrive(person("handler", "fire"))
    (conference,) = scene.confer(scene.owed(2))["conferences"]
    scene.service.finish(
        scene.ticket_id, conference["tasks"][0]["task_id"], person("handler", "street-a"), ""
    )
    assert scene.follow(86_400) == 0
    assert scene.told("task_due") == []


def test_two_sweepers_tell_of_each_miss_once(scene: Scene, database_url: str) -> None:
    scene.confer(*(scene.owed(0.01, what=f"thing {number}") for number in range(10)))
    scene.centre.clock.advance(200)
    with Database(database_url, size=4) as other:
        barrier = threading.Barrier(4)

        def sweep(database: Database) -> None:
            barrier.wait()
            for _ in range(20):
                follow_calls(database, SETTINGS, scene.centre.now)

        databases = (scene.centre.database, other) * 2
        threads = [threading.Thread(target=sweep, args=(database,)) for database in databases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(scene.events("task_missed")) == 10
    assert len(scene.told("task_due")) == 10
    assert len(scene.events("call_missed")) == len(scene.told("call_late")) == 1


def test_an_adviser_is_asked_and_answers(scene: Scene) -> None:
    handler = person("handler", "fire")
    (asked,) = scene.service.ask(scene.ticket_id, handler, "Prof. Wu", "water", "will the wall hold?")[
        "advice"
    ]
    assert scene.told("adviser_asked") == ["water"]
    (answered,) = scene.service.answer(scene.ticket_id, asked["advice_id"], handler, "until noon")["advice"]
    assert (answered["answer"], answered["answered_by"]) == ("until noon", "handler-fire")
    with pytest.raises(ConflictError) as caught:
        scene.service.answer(scene.ticket_id, asked["advice_id"], handler, "no")
    assert caught.value.code == "whistle.answered"
    assert [event.note for event in scene.events("adviser_asked") + scene.events("adviser_answered")] == [
        "will the wall hold?",
        "until noon",
    ]


def test_strangers_neither_confer_nor_ask_nor_say_that_it_is_done(scene: Scene) -> None:
    (conference,) = scene.confer(scene.owed())["conferences"]
    stranger = person("supervisor", "street-b")
    with pytest.raises(ForbiddenError):
        scene.confer(account=stranger)
    with pytest.raises(ForbiddenError):
        scene.service.finish(scene.ticket_id, conference["tasks"][0]["task_id"], stranger, "")
    with pytest.raises(ForbiddenError):
        scene.service.ask(scene.ticket_id, stranger, "Wu", "water", "how?")


def test_what_has_ended_is_not_conferred_about(scene: Scene) -> None:
    scene.centre.tickets.act(scene.ticket_id, Action.VOID, person(), note="nothing")
    with pytest.raises(ConflictError) as caught:
        scene.confer()
    assert caught.value.code == "whistle.over"


def test_a_claim_that_is_being_checked_puts_off_what_is_owed(scene: Scene) -> None:
    scene.arrive(person("handler", "fire"))
    scene.confer(scene.owed(0.5))
    scene.centre.tickets.act(scene.ticket_id, Action.ACKNOWLEDGE, person())
    scene.centre.tickets.act(scene.ticket_id, Action.RESOLVE, person())
    assert scene.follow(3600) == 0
    check_claims(scene.centre.database, VERIFY, scene.centre.now)
    scene.centre.tickets.act(scene.ticket_id, Action.REOPEN, person(), note="wet")
    assert scene.follow(900) == 1
