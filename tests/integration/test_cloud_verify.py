"""A claim to its true end: the dirty look's picture, the reporter's word, and no way round them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cloud.errors import ConflictError
from cloud.tickets.domain import Action, State
from cloud.verify.domain import Verdict
from common.runtime.clock import to_ms
from tests.fixtures.centre import Centre, person
from tests.fixtures.claims import Claim
from tests.fixtures.photos import file_report
from tests.integration.test_cloud_sla import read_sensor

pytestmark = pytest.mark.services


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


def test_nobody_is_asked_who_was_not_told_that_it_is_done(claim: Claim, centre: Centre) -> None:
    report = file_report(centre.database, claim.ticket_id, centre.now)
    centre.tickets.act(claim.ticket_id, Action.REOPEN, person(), note="no")
    with pytest.raises(ConflictError) as caught:
        claim.answer(report, satisfied=True)
    assert caught.value.code == "ticket.nothing_asked"
