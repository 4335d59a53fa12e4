"""Whatever is done to a ticket, in any order: it is closed by a look, a photo, a yes or an override, and by nothing else."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cloud.errors import ConflictError
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import Action, Ground, State
from cloud.tickets.editing import Editing
from cloud.verify import requests
from cloud.verify.photos import PhotoService, Upload
from cloud.verify.service import check_claims
from common.runtime.errors import InvalidError
from tests.fixtures.centre import Centre, person
from tests.fixtures.claims import VERIFY
from tests.fixtures.photos import file_report, photo

pytestmark = pytest.mark.services


class Life(RuleBasedStateMachine):
    """Everything that anybody can do to tickets, in any order, and a memory of what would justify a closing."""

    centre: ClassVar[Centre]
    directory: ClassVar[Path]
    lives: ClassVar[Iterator[int]]
    seeds: ClassVar[Iterator[int]]
    closed: ClassVar[set[str]]

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        number = next(self.lives)
        # Each at a place of its own: matters of one place are one.
        place = {"lon": 119.2905 + number % 19 * 0.001, "lat": 26.0705 + number // 19 % 19 * 0.001}
        self.device = self.centre.device(f"life-{number}", **place)
        self.sensor = f"s{number}"
        self.centre.put(self.device, category="flood.water_level", sensor=self.sensor)
        self.centre.worker.drain()
        rows = self.centre.rows(
            "SELECT ticket_id FROM ticket WHERE state NOT IN ('closed', 'void') ORDER BY number DESC LIMIT 1"
        )
        self.ticket_id: uuid.UUID = rows[0]["ticket_id"]
        self.photos = PhotoService(
            self.centre.database, self.centre.clock, self.centre.rules, self.directory, VERIFY
        )
        self.reports: list[uuid.UUID] = []
        self.forget_claim()

    def forget_claim(self) -> None:
        self.uploaders: set[uuid.UUID] = set()
        self.looks = 0
        self.said: dict[uuid.UUID, bool] = {}
        self.overrode = False
        self.acceptor: uuid.UUID | None = None

    @property
    def state(self) -> State:
        return State(
            self.centre.value("SELECT state FROM ticket WHERE ticket_id = %(id)s", id=self.ticket_id)
        )

    @rule(
        action=st.sampled_from(list(Action)),
        role=st.sampled_from(["handler", "dispatcher", "supervisor", "supervisor"]),
        unit=st.sampled_from(["centre", "centre", "street-a", "grid-a", "water", "fire"]),
        note=st.sampled_from(["", "because", "because"]),
        to=st.sampled_from([None, "fire", "water", "street-a"]),
    )
    def somebody_acts(self, action: Action, role: str, unit: str, note: str, to: str | None) -> None:
        account = person(role, unit)
        review = self.centre.now + timedelta(hours=1)
        with suppress(InvalidError):
            self.centre.tickets.act(
                self.ticket_id, action, account, note=note, unit_code=to, review_at=review
            )
            if action is Action.RESOLVE:
                self.forget_claim()
            elif action is Action.CONFIRM:
                self.overrode = role == "supervisor" and bool(note)
            elif action is Action.ACCEPT:
                self.acceptor = account.account_id

    @rule(over=st.booleans())
    def the_work_is_done(self, over: bool) -> None:
        if over:
            self.it_ends()
        with suppress(InvalidError):
            self.centre.tickets.act(self.ticket_id, Action.ACKNOWLEDGE, person())
        with suppress(InvalidError):
            self.centre.tickets.act(self.ticket_id, Action.RESOLVE, person())
            self.forget_claim()

    @rule(seconds=st.sampled_from([1, 30, 601, 601, 90_000]))
    def time_passes_and_claims_are_checked(self, seconds: int) -> None:
        self.centre.clock.advance(seconds)
        for blind in (False, True):
            check_claims(self.centre.database, VERIFY, self.centre.now, blind=blind)

    def it_ends(self) -> None:
        rows = self.centre.rows(
            "SELECT observation_id, revision FROM incident_observation WHERE device_id = %(d)s AND ended_at IS NULL",
            d=self.device,
        )
        for row in rows:
            self.centre.put(
                self.device,
                "end",
                sensor=self.sensor,
                observation_id=row["observation_id"],
                revision=row["revision"] + 1,
                started_s=-1,
                ended_s=0,
            )
        self.centre.worker.drain()

    @rule()
    def it_is_seen_again(self) -> None:
        self.centre.put(self.device, sensor=self.sensor)
        self.centre.worker.drain()
        self.looks = 0

    @rule(times=st.integers(1, 4))
    def the_sensor_looks(self, times: int) -> None:
        for _ in range(times):
            self.centre.clock.advance(10)
            self.look()

    def look(self) -> None:
        with self.centre.database.transaction() as tx:
            tx.run(
                "INSERT INTO series (device_id, sensor, metric) VALUES (%(d)s, %(s)s, 'water_depth')"
                " ON CONFLICT DO NOTHING",
                d=self.device,
                s=self.sensor,
            )
            tx.run(
                "INSERT INTO reading (captured_at, received_at, value, series_id, flags)"
                " SELECT %(at)s, %(at)s, 0.0, series_id, 0 FROM series WHERE device_id = %(d)s AND sensor = %(s)s",
                at=self.centre.now,
                d=self.device,
                s=self.sensor,
            )
        self.looks += 1

    @rule(
        unit=st.sampled_from(["water", "grid-a", "street-a", "street-b"]),
        is_there=st.booleans(),
        is_new=st.booleans(),
    )
    def somebody_sends_a_photo(self, unit: str, is_there: bool, is_new: bool) -> None:
        account = person("handler", unit)
        ticket = self.centre.tickets.get_ticket(self.ticket_id)
        upload = Upload(
            photo(next(self.seeds)),
            ticket.lon + (0.0 if is_there else 0.005),
            ticket.lat,
            "WGS-84",
            self.centre.now - timedelta(seconds=0 if is_new else 864_000),
        )
        with suppress(InvalidError):
            self.photos.add(self.ticket_id, account, upload)
            assert is_there
            assert is_new
            self.uploaders.add(account.account_id)

    @rule()
    def no_device_looks_and_somebody_goes_there(self) -> None:
        self.time_passes_and_claims_are_checked(601)
        self.somebody_sends_a_photo("water", is_there=True, is_new=True)

    @rule(role=st.sampled_from(["handler", "dispatcher"]))
    def another_accepts_what_is_photographed(self, role: str) -> None:
        self.somebody_acts(Action.ACCEPT, role, "street-a", "", None)

    @rule(role=st.sampled_from(["dispatcher", "supervisor"]), note=st.sampled_from(["", "seen"]))
    def somebody_confirms_by_his_word(self, role: str, note: str) -> None:
        self.somebody_acts(Action.CONFIRM, role, "centre", note, None)

    @rule()
    def a_citizen_reports_it_too(self) -> None:
        if self.state not in {State.CLOSED, State.VOID, State.VERIFYING}:
            self.reports.append(file_report(self.centre.database, self.ticket_id, self.centre.now))

    @rule(satisfied=st.booleans())
    def a_citizen_answers(self, satisfied: bool) -> None:
        if not self.reports:
            return
        with suppress(ConflictError), self.centre.database.transaction() as tx:
            ticket = ticket_repo.lock(tx, self.ticket_id)
            assert ticket is not None
            editing = Editing(tx, ticket, self.centre.now)
            self.said[self.reports[-1]] = satisfied
            requests.answer(editing, str(self.reports[-1]), satisfied=satisfied, settings=VERIFY)
            editing.save()

    @rule(ground=st.sampled_from([None, *Ground]))
    def a_part_of_the_system_closes_it_without_a_reason(self, ground: Ground | None) -> None:
        for action in (Action.ACCEPT, Action.CONFIRM, Action.CLOSE):
            allowed = {Action.ACCEPT: {Ground.PHOTO}, Action.CONFIRM: {Ground.OVERRIDE}}.get(
                action, {Ground.LOOK, Ground.CITIZEN}
            )
            if ground in allowed:
                continue
            with suppress(InvalidError), self.centre.database.transaction() as tx:
                ticket = ticket_repo.lock(tx, self.ticket_id)
                assert ticket is not None
                editing = Editing(tx, ticket, self.centre.now)
                editing.move(action, ground=ground)
                editing.save()

    @invariant()
    def what_is_closed_was_closed_for_a_reason(self) -> None:
        state = self.state
        if state not in {State.CLOSED, State.VOID}:
            return
        if state is State.CLOSED:
            detail = self.centre.tickets.get_ticket(self.ticket_id)
            justified = {
                "look": self.looks >= 3,
                "photo": self.acceptor is not None and bool(self.uploaders - {self.acceptor}),
                "citizen": any(self.said.values()),
                "override": self.overrode,
            }
            assert justified[str(detail.closed_by)], (detail.closed_by, detail.events[-3:])
            assert detail.overridden == (detail.closed_by == "override")
            assert not [one for one in self.said.values() if one is False] or detail.closed_by == "override"
            self.closed.add(str(detail.closed_by))
        self.begin()


def test_no_sequence_of_commands_reaches_closed_but_by_a_look_a_photo_a_yes_or_an_override(
    centre: Centre, tmp_path: Path
) -> None:
    class Here(Life):
        pass

    Here.centre, Here.directory, Here.closed = centre, tmp_path, set()
    Here.lives, Here.seeds = itertools.count(), itertools.count()
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    # What chance may have passed by, so that no ground is one that the memory above could not have refused.
    for steps in straight_ways():
        life = Here()
        for step in steps:
            step(life)
        life.what_is_closed_was_closed_for_a_reason()
    assert Here.closed == {"look", "photo", "citizen", "override"}


def straight_ways() -> list[list[Callable[[Life], object]]]:
    """The shortest way to each ground."""

    def done(life: Life) -> object:
        return life.the_work_is_done(over=True)

    return [
        [
            done,
            lambda life: life.the_sensor_looks(4),
            lambda life: life.time_passes_and_claims_are_checked(30),
        ],
        [
            done,
            lambda life: life.no_device_looks_and_somebody_goes_there(),
            lambda life: life.another_accepts_what_is_photographed("dispatcher"),
        ],
        [
            lambda life: life.a_citizen_reports_it_too(),
            done,
            lambda life: life.time_passes_and_claims_are_checked(601),
            lambda life: life.a_citizen_answers(satisfied=True),
        ],
        [done, lambda life: life.somebody_confirms_by_his_word("supervisor", "seen")],
    ]
