"""What a claim comes to, by the looks of devices, the word of reporters and a person's photo."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.geometry import distance_m
from cloud.tickets.domain import GROUNDS, TRANSITIONS, Action, Ground, State, ground_of
from cloud.verify.domain import Asked, Verdict, conclude
from cloud.verify.photo_domain import check_place, check_time
from common.runtime.errors import InvalidError

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATER, BEFORE = NOW + timedelta(hours=1), NOW - timedelta(hours=1)
YES, NO = Asked("a", LATER, True), Asked("b", LATER, False)
ASKED, SILENT = Asked("c", LATER, None), Asked("d", BEFORE, None)

asked = st.lists(
    st.builds(
        Asked, st.text(max_size=3), st.sampled_from([BEFORE, LATER]), st.sampled_from([True, False, None])
    ),
    max_size=4,
)
verdicts = st.sampled_from(list(Verdict))


def ground(verdict: Verdict, *asked: Asked, has_devices: bool = True) -> Ground | None:
    return conclude(verdict, asked, NOW, has_devices=has_devices).ground


@given(verdicts, asked, st.booleans())
def test_a_no_reopens_whatever_else_is_said(verdict: Verdict, others: list[Asked], has_devices: bool) -> None:
    found = conclude(verdict, [*others, NO], NOW, has_devices=has_devices)
    assert (found.verdict, found.ground) == (Verdict.DIRTY, None)


@given(verdicts, asked, st.booleans())
def test_nothing_closes_but_a_clean_look_or_a_yes(
    verdict: Verdict, others: list[Asked], has_devices: bool
) -> None:
    found = conclude(verdict, others, NOW, has_devices=has_devices)
    assert (found.ground is not None) == (found.verdict is Verdict.CLEAN)
    if found.ground is Ground.LOOK:
        assert verdict is Verdict.CLEAN
    if found.ground is Ground.CITIZEN:
        assert any(one.satisfied for one in others)
        assert verdict is Verdict.BLIND or not has_devices
    assert found.ground not in {Ground.PHOTO, Ground.OVERRIDE}


@given(verdicts, asked, st.booleans())
def test_nothing_closes_while_an_answer_is_waited_for(
    verdict: Verdict, others: list[Asked], has_devices: bool
) -> None:
    assert conclude(verdict, [*others, ASKED], NOW, has_devices=has_devices).ground is None


def test_a_clean_look_closes_when_nobody_is_waited_for() -> None:
    assert ground(Verdict.CLEAN) is Ground.LOOK
    assert ground(Verdict.CLEAN, YES) is Ground.LOOK
    assert ground(Verdict.CLEAN, SILENT) is Ground.LOOK
    assert ground(Verdict.CLEAN, ASKED) is None


def test_a_yes_closes_what_no_device_saw_or_none_can_see() -> None:
    assert ground(Verdict.WAIT, YES, has_devices=False) is Ground.CITIZEN
    assert ground(Verdict.BLIND, YES) is Ground.CITIZEN
    assert ground(Verdict.WAIT, YES) is None


def test_silence_is_no_yes() -> None:
    assert ground(Verdict.BLIND, SILENT, has_devices=False) is None
    assert conclude(Verdict.BLIND, [SILENT], NOW, has_devices=False).verdict is Verdict.BLIND


def test_every_step_to_closed_has_a_ground_and_no_other_step_has() -> None:
    closing = {action for action, step in TRANSITIONS.items() if step.target is State.CLOSED}
    assert closing == set(GROUNDS) == {Action.CLOSE, Action.ACCEPT, Action.CONFIRM}
    assert set().union(*GROUNDS.values()) == set(Ground)


@given(st.sampled_from(list(Action)), st.sampled_from([None, *Ground]))
def test_no_step_closes_on_another_steps_ground(action: Action, given_ground: Ground | None) -> None:
    if given_ground in GROUNDS.get(action, frozenset()):
        assert ground_of(action, State.CLOSED, given_ground) is given_ground
    else:
        with pytest.raises(InvalidError) as caught:
            ground_of(action, State.CLOSED, given_ground)
        assert caught.value.code == "ticket.no_ground"
    assert ground_of(action, State.REOPENED, given_ground) is None


TICKET = (119.3, 26.08)


@given(st.floats(-0.01, 0.01), st.floats(-0.01, 0.01))
def test_a_photo_counts_within_the_radius_alone(east: float, north: float) -> None:
    at = (TICKET[0] + east, TICKET[1] + north)
    distance = distance_m(*TICKET, *at)
    if distance <= 50:
        assert check_place(TICKET, at, 50) == distance
    else:
        with pytest.raises(InvalidError, match="m away"):
            check_place(TICKET, at, 50)


def test_a_place_that_is_none_is_elsewhere() -> None:
    with pytest.raises(InvalidError):
        check_place(TICKET, (float("nan"), 26.08), 50)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(-1, "photo.before_claim"), (0, None), (600, None), (659, None), (661, "photo.in_future")],
)
def test_a_photo_counts_after_the_claim_and_before_now(seconds: int, code: str | None) -> None:
    taken = NOW + timedelta(seconds=seconds)
    if code is None:
        check_time(taken, NOW, NOW + timedelta(seconds=600), 60)
        return
    with pytest.raises(InvalidError) as caught:
        check_time(taken, NOW, NOW + timedelta(seconds=600), 60)
    assert caught.value.code == code
