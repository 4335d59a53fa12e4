"""A ticket's life as a state machine."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import ConflictError
from cloud.sla.domain import Clocks, Policy
from cloud.tickets.domain import (
    FINAL,
    TRANSITIONS,
    Action,
    EventKind,
    State,
    allowed_actions,
    channel_of,
    check_request,
    clocks_after,
    clocks_at_opening,
    next_state,
    ticket_number,
)
from common.runtime.errors import InvalidError

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
POLICY = Policy("test", 60, 120, 600)


@dataclass
class Life:
    """A ticket walked through the table, with the clocks as the services drive them."""

    state: State = State.OPEN
    interrupted: State | None = None
    clocks: Clocks = field(default_factory=lambda: clocks_at_opening(POLICY, NOON, owned=False))
    path: list[State] = field(default_factory=lambda: [State.OPEN])

    def do(self, action: Action, now: datetime) -> None:
        target = next_state(self.state, action, self.interrupted)
        self.clocks = clocks_after(action, self.clocks, POLICY, now)
        if action in {Action.SUSPEND, Action.RESUME, Action.MERGE, Action.SPLIT}:
            self.interrupted = self.state if action in {Action.SUSPEND, Action.MERGE} else None
        self.state = target
        self.path.append(target)


walks = st.lists(st.sampled_from(list(Action)), max_size=40)


def walk(actions: list[Action]) -> Life:
    life = Life()
    for minute, action in enumerate(actions):
        if life.state in TRANSITIONS[action].sources:
            life.do(action, NOON + timedelta(minutes=minute))
    return life


@given(walks)
def test_no_walk_reaches_closed_but_through_verifying(actions: list[Action]) -> None:
    path = walk(actions).path
    for before, after in itertools.pairwise(path):
        if after is State.CLOSED:
            assert before is State.VERIFYING
        if after is State.VERIFYING and before is not State.VERIFYING:
            assert before is State.RESOLVED


@given(walks)
def test_nothing_leaves_a_final_state(actions: list[Action]) -> None:
    path = walk(actions).path
    assert all(state not in FINAL for state in path[:-1])


@given(walks)
def test_a_ticket_at_its_end_has_no_running_clock(actions: list[Action]) -> None:
    life = walk(actions)
    if life.state in FINAL:
        assert not [clock for clock in life.clocks if clock.state in {"running", "stopped"}]
    if life.state in {State.SUSPENDED, State.MERGED}:
        assert not [clock for clock in life.clocks if clock.state == "running"]


@given(walks)
def test_at_most_one_clock_of_a_name_runs(actions: list[Action]) -> None:
    running = [clock.name for clock in walk(actions).clocks if clock.state in {"running", "stopped"}]
    assert len(running) == len(set(running))


@given(walks)
def test_an_owned_ticket_in_somebodys_hands_is_always_promised_an_end(actions: list[Action]) -> None:
    life = walk(actions)
    if life.state not in FINAL | {State.RESOLVED, State.VERIFYING}:
        assert [
            clock
            for clock in life.clocks
            if clock.name == "resolve" and clock.state in {"running", "stopped"}
        ]


def test_every_state_can_be_reached() -> None:
    reached, todo = {State.OPEN}, [State.OPEN]
    while todo:
        state = todo.pop()
        for action, transition in TRANSITIONS.items():
            if state in transition.sources:
                target = next_state(state, action, State.ON_SITE)
                if target not in reached:
                    reached.add(target)
                    todo.append(target)
    assert reached == set(State)


def test_a_suspension_goes_back_to_what_it_interrupted() -> None:
    assert next_state(State.SUSPENDED, Action.RESUME, State.ON_SITE) is State.ON_SITE
    with pytest.raises(InvalidError):
        next_state(State.SUSPENDED, Action.RESUME, None)


def test_a_merged_ticket_rests_whole_and_a_split_goes_back_to_what_it_interrupted() -> None:
    life = Life()
    life.do(Action.DISPATCH, NOON)
    life.do(Action.MERGE, NOON + timedelta(seconds=10))
    assert life.state is State.MERGED
    assert allowed_actions(State.MERGED) == ()
    assert {clock.name for clock in life.clocks if clock.state == "stopped"} == {"ack", "arrive", "resolve"}
    life.do(Action.SPLIT, NOON + timedelta(seconds=500))
    assert life.path[-1] is State.DISPATCHED
    ack = next(clock for clock in life.clocks if clock.name == "ack")
    assert (ack.state, ack.due_at) == ("running", NOON + timedelta(seconds=550))


@pytest.mark.parametrize("action", [Action.MERGE, Action.SPLIT])
def test_merging_and_splitting_are_no_entries_of_the_list_of_actions(action: Action) -> None:
    with pytest.raises(ConflictError) as caught:
        check_request(action, "because", None, by_person=True)
    assert caught.value.code == "ticket.own_command"


def test_a_wrong_step_says_which_ones_are_right() -> None:
    with pytest.raises(ConflictError, match=r"acknowledge.*arrive.*got 'resolve'") as caught:
        next_state(State.DISPATCHED, Action.RESOLVE)
    assert caught.value.code == "ticket.wrong_transition"


def test_a_finished_ticket_offers_nothing() -> None:
    assert [allowed_actions(state) for state in FINAL] == [(), ()]
    assert Action.CLOSE not in {action for state in State for action in allowed_actions(state)}


def test_only_the_system_closes_by_a_clean_look() -> None:
    with pytest.raises(ConflictError):
        check_request(Action.CLOSE, "please", None, by_person=True)
    check_request(Action.CLOSE, "", None, by_person=False)


@pytest.mark.parametrize("action", [Action.VOID, Action.CONFIRM, Action.SUSPEND, Action.REOPEN, Action.NOTE])
def test_what_needs_a_reason_is_refused_without_one(action: Action) -> None:
    with pytest.raises(InvalidError, match="note that says why"):
        check_request(action, "  ", "water", by_person=True)


@pytest.mark.parametrize("action", [Action.DISPATCH, Action.TRANSFER, Action.CALL])
def test_what_goes_to_a_unit_is_refused_without_one(action: Action) -> None:
    with pytest.raises(InvalidError, match="unit_code"):
        check_request(action, "why", None, by_person=True)


def test_each_step_writes_its_own_line() -> None:
    written = [transition.event for transition in TRANSITIONS.values()]
    assert len(written) == len(set(written)) == len(Action)
    assert set(written) <= set(EventKind)


def test_a_ticket_is_numbered_by_the_districts_day() -> None:
    assert ticket_number(datetime(2026, 6, 1, 15, 59, tzinfo=UTC), 7) == "DT-20260601-0007"
    assert ticket_number(datetime(2026, 6, 1, 16, 0, tzinfo=UTC), 1) == "DT-20260602-0001"
    assert ticket_number(NOON, 12345) == "DT-20260601-12345"


def test_a_category_comes_in_by_its_channel() -> None:
    assert [channel_of(code) for code in ("camera.fire", "smoke.alarm", "device.silent")] == [
        "camera",
        "sensor",
        "device",
    ]
