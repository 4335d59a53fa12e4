"""A claim to its true end: the dirty look's picture, a person's photo, the reporter's word, and no way round them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cloud.auth.domain import Account
from cloud.db import Database
from cloud.errors import ConflictError, ForbiddenError, TooLargeError
from cloud.reports.coordinates import to_wgs84
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import Action, Ground, State
from cloud.tickets.editing import Editing
from cloud.tickets.schemas import TicketDetail
from cloud.verify import requests
from cloud.verify.domain import Verdict, VerifySettings
from cloud.verify.photos import PhotoService, Upload
from cloud.verify.service import check_claims
from common.runtime.clock import to_ms
from common.runtime.errors import InvalidError
from tests.fixtures.centre import BORDER_LON, Centre, person
from tests.fixtures.photos import MAKER, file_report, photo
from tests.integration.test_cloud_sla import read_sensor

pytestmark = pytest.mark.services
SETTINGS = VerifySettings(looks=3, settle_s=20, grace_s=60, blind_after_s=600, answer_within_h=24)


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=12) as database:
        built = Centre(database)
        built.build()
        yield built


class Claim:
    """A ticket of one gauge that somebody says is resolved, and all that can be said against it."""

    def __init__(self, centre: Centre, directory: Path, **changed: Any) -> None:
        self.centre = centre
        self.photos = PhotoService(centre.database, centre.clock, centre.rules, directory, SETTINGS)
        self.device = centre.device(f"gauge-{uuid.uuid4().hex[:6]}", **changed)
        self.told = centre.put(self.device)
        centre.worker.drain()
        self.ticket_id: uuid.UUID = centre.value("SELECT ticket_id FROM ticket ORDER BY number DESC LIMIT 1")
        self.end()
        self.claim()

    def end(self) -> None:
        self.centre.put(self.device, "end", observation_id=self.told, revision=9, started_s=-60, ended_s=-1)
        self.centre.worker.drain()

    def claim(self) -> None:
        self.centre.tickets.act(self.ticket_id, Action.ACKNOWLEDGE, person())
        self.centre.tickets.act(self.ticket_id, Action.RESOLVE, person())

    @property
    def detail(self) -> TicketDetail:
        return self.centre.tickets.get_ticket(self.ticket_id)

    def check(self, after_s: float = 0) -> Verdict:
        self.centre.clock.advance(after_s)
        blind = self.detail.blind_at is not None
        (verdict,) = check_claims(self.centre.database, SETTINGS, self.centre.now, blind=blind)
        return verdict

    def go_blind(self) -> None:
        assert self.check(601) is Verdict.BLIND

    def upload(self, seed: int = 1, **changed: Any) -> dict[str, Any]:
        account: Account = changed.pop("account", person("handler", "water"))
        values: dict[str, Any] = {
            "content": photo(seed),
            "lon": self.detail.lon,
            "lat": self.detail.lat,
            "coordinate_system": "WGS-84",
            "taken_at": self.centre.now,
        } | changed
        return self.photos.add(self.ticket_id, account, Upload(**values))

    def answer(self, report_id: uuid.UUID, *, satisfied: bool) -> None:
        with self.centre.database.transaction() as tx:
            ticket = ticket_repo.lock(tx, self.ticket_id)
            assert ticket is not None
            editing = Editing(tx, ticket, self.centre.now)
            requests.answer(editing, str(report_id), satisfied=satisfied, settings=SETTINGS)
            editing.save()


@pytest.fixture
def claim(centre: Centre, tmp_path: Path) -> Claim:
    return Claim(centre, tmp_path)


def picture(name: str, at: datetime) -> dict[str, Any]:
    return {
        "sha256": name * 64,
        "media_type": "image/jpeg",
        "width": 8,
        "height": 6,
        "size": 1,
        "captured_at": to_ms(at),
    }


def test_a_dirty_look_reopens_the_ticket_with_its_picture(claim: Claim, centre: Centre) -> None:
    before = centre.now
    centre.clock.advance(700)
    centre.put(claim.device, value=0.4, evidence=[picture("a", before), picture("b", centre.now)])
    centre.worker.drain()
    assert claim.check() is Verdict.DIRTY
    reopened = claim.detail.events[-1]
    assert reopened.kind == "reopened"
    assert [one["sha256"][0] for one in reopened.detail["pictures"]] == ["b"]
    (seen,) = reopened.detail["seen"]
    assert (seen["value"], seen["unit"], seen["sensor"]) == (0.4, "m", "sensor-1")
    assert reopened.detail["because"] == "a device sees it again"


def test_a_photo_closes_what_no_device_can_see_once_another_person_accepts_it(
    claim: Claim, centre: Centre, tmp_path: Path
) -> None:
    claim.go_blind()
    kept = claim.upload(account=person("handler", "grid-a"))
    file = tmp_path / kept["sha256"][:2] / f"{kept['sha256']}.jpg"
    assert MAKER.encode() not in file.read_bytes()
    assert b"Exif" not in file.read_bytes()
    assert kept["width"] < kept["height"]  # upright, as its orientation said
    assert claim.detail.state is State.VERIFYING
    done = centre.tickets.act(claim.ticket_id, Action.ACCEPT, person("dispatcher", "street-a"))
    assert (done.state, done.closed_by, done.overridden) == ("closed", "photo", False)
    assert done.events[-1].detail == {"photos": [kept["sha256"]]}
    (accepted,) = claim.photos.photos(claim.ticket_id)
    assert accepted["accepted_by"] == "dispatcher-street-a"


def test_nobody_accepts_his_own_photo(claim: Claim, centre: Centre) -> None:
    claim.go_blind()
    alone = person("dispatcher", "street-a")
    claim.upload(account=alone)
    with pytest.raises(ConflictError) as caught:
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, alone)
    assert caught.value.code == "ticket.no_photo"


def test_while_devices_can_look_they_decide(claim: Claim, centre: Centre) -> None:
    claim.upload()
    with pytest.raises(ConflictError) as caught:
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, person())
    assert caught.value.code == "ticket.not_blind"


def test_the_handling_unit_does_not_have_the_last_word(claim: Claim, centre: Centre) -> None:
    claim.go_blind()
    claim.upload()
    with pytest.raises(ForbiddenError):
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, person("handler", "water"))


def test_a_photo_of_an_earlier_claim_proves_nothing_of_the_next(claim: Claim, centre: Centre) -> None:
    claim.go_blind()
    claim.upload()
    centre.tickets.act(claim.ticket_id, Action.REOPEN, person(), note="still wet")
    claim.claim()
    claim.go_blind()
    with pytest.raises(ConflictError) as caught:
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, person())
    assert caught.value.code == "ticket.no_photo"
    with pytest.raises(ConflictError) as caught:
        claim.upload()
    assert caught.value.code == "photo.used_before"


def test_one_photo_proves_one_ticket(claim: Claim, centre: Centre, tmp_path: Path) -> None:
    claim.upload()
    other = Claim(centre, tmp_path, lon=BORDER_LON + 0.003)
    with pytest.raises(ConflictError) as caught:
        other.upload()
    assert caught.value.code == "photo.used_before"


def test_the_same_photo_sent_twice_is_one(claim: Claim) -> None:
    first, second = claim.upload(), claim.upload()
    assert first["photo_id"] == second["photo_id"]
    assert [event.kind for event in claim.detail.events].count("photo_added") == 1


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"lon": BORDER_LON + 0.001}, "photo.elsewhere"),
        ({"lat": 91.0, "lon": 0.0}, "photo.elsewhere"),
        ({"taken_at": -10.0}, "photo.before_claim"),
        ({"taken_at": 3600.0}, "photo.in_future"),
        ({"content": b"\xff\xd8\xff\xe0 no picture at all"}, "report.no_photo"),
        ({"content": b"GIF89a" + b"\0" * 100}, "report.no_photo"),
        ({"content": b""}, "report.no_photo"),
        ({"coordinate_system": "BD-09"}, "report.unknown_coordinates"),
        ({"coordinate_system": ""}, "report.unknown_coordinates"),
    ],
)
def test_what_is_no_proof_is_refused_and_nothing_is_written(
    claim: Claim, changed: dict[str, Any], code: str
) -> None:
    if "taken_at" in changed:
        changed = {"taken_at": claim.centre.now + timedelta(seconds=changed["taken_at"])}
    with pytest.raises(InvalidError) as caught:
        claim.upload(**changed)
    assert caught.value.code == code
    assert claim.photos.photos(claim.ticket_id) == []


def test_a_photo_beyond_the_limit_is_refused(claim: Claim) -> None:
    with pytest.raises(TooLargeError):
        claim.upload(content=b"\xff\xd8" + b"\0" * 20_000_000)


def test_a_photo_in_gcj02_is_converted_when_it_says_so_and_lies_elsewhere_when_it_does_not(
    claim: Claim,
) -> None:
    lon, lat = claim.detail.lon, claim.detail.lat
    # Where a position in GCJ-02 has to stand so that it means the ticket's place.
    shifted = [lon, lat]
    for _ in range(20):
        back = to_wgs84(shifted[0], shifted[1], "GCJ-02")
        shifted = [shifted[0] + lon - back[0], shifted[1] + lat - back[1]]
    with pytest.raises(InvalidError) as caught:
        claim.upload(lon=shifted[0], lat=shifted[1])
    assert caught.value.code == "photo.elsewhere"
    kept = claim.upload(lon=shifted[0], lat=shifted[1], coordinate_system="GCJ-02")
    assert kept["distance_m"] < 1
    assert (kept["lon"], kept["coordinate_system"]) == (pytest.approx(lon, abs=1e-5), "GCJ-02")


def test_who_reported_it_is_asked_and_a_no_reopens_it(claim: Claim, centre: Centre) -> None:
    report = file_report(centre.database, claim.ticket_id, centre.now)
    assert claim.check() is Verdict.WAIT
    asked = claim.detail.events[-1]
    assert (asked.kind, asked.detail["reports"]) == ("reporters_asked", [str(report)])
    claim.answer(report, satisfied=False)
    assert claim.detail.state is State.REOPENED


def test_a_clean_look_waits_for_the_reporters_answer(claim: Claim, centre: Centre) -> None:
    report = file_report(centre.database, claim.ticket_id, centre.now)
    read_sensor(centre, claim.device, 5, 15, 25)
    assert claim.check(30) is Verdict.WAIT
    claim.answer(report, satisfied=True)
    assert claim.detail.state is State.VERIFYING
    assert claim.check(1) is Verdict.CLEAN
    assert claim.detail.closed_by == "look"


def test_a_reporter_who_does_not_answer_holds_up_a_clean_look_for_a_day_only(
    claim: Claim, centre: Centre
) -> None:
    file_report(centre.database, claim.ticket_id, centre.now)
    read_sensor(centre, claim.device, 5, 15, 25)
    assert claim.check(30) is Verdict.WAIT
    assert claim.check(86_400) is Verdict.CLEAN


def test_a_yes_closes_what_the_devices_cannot_see(claim: Claim, centre: Centre) -> None:
    report = file_report(centre.database, claim.ticket_id, centre.now)
    claim.go_blind()
    claim.answer(report, satisfied=True)
    assert (claim.detail.state, claim.detail.closed_by) == ("closed", "citizen")


def test_a_photo_is_not_accepted_over_the_head_of_who_reported_it(claim: Claim, centre: Centre) -> None:
    file_report(centre.database, claim.ticket_id, centre.now)
    claim.go_blind()
    claim.upload()
    with pytest.raises(ConflictError) as caught:
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, person())
    assert caught.value.code == "ticket.reporter_asked"
    centre.clock.advance(86_401)
    assert centre.tickets.act(claim.ticket_id, Action.ACCEPT, person()).closed_by == "photo"


def test_nobody_is_asked_who_was_not_told_that_it_is_done(claim: Claim, centre: Centre) -> None:
    report = file_report(centre.database, claim.ticket_id, centre.now)
    centre.tickets.act(claim.ticket_id, Action.REOPEN, person(), note="no")
    with pytest.raises(ConflictError) as caught:
        claim.answer(report, satisfied=True)
    assert caught.value.code == "ticket.nothing_asked"


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
            self.centre.database, self.centre.clock, self.centre.rules, self.directory, SETTINGS
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
            check_claims(self.centre.database, SETTINGS, self.centre.now, blind=blind)

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
            requests.answer(editing, str(self.reports[-1]), satisfied=satisfied, settings=SETTINGS)
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
