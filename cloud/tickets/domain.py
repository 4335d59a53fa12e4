"""A ticket's life as data: which action leads from which state to which. Pure.

``resolved`` is a claim. The only ways into ``closed`` lead through ``verifying``, each on its ground: a clean look by the
devices or the yes of whoever reported it (``close``, which only the system does), a person's photo that another accepts
(``accept``), or a supervisor's word with a reason (``confirm``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID

from cloud.calendar import domain as calendar
from cloud.errors import ConflictError
from cloud.sla import domain as sla
from cloud.sla.domain import Clocks, Policy
from common.runtime.errors import InvalidError

DISTRICT_ZONE: Final = calendar.DISTRICT_ZONE
#: By which entry a matter came in: what devices saw, or what people said.
Channel = Literal["camera", "sensor", "device", "hotline", "citizen", "grid", "leader", "other"]
BY_DEVICES: Final = frozenset[Channel]({"camera", "sensor", "device"})


class State(StrEnum):
    """Where a ticket stands."""

    OPEN = "open"
    DISPATCHED = "dispatched"
    ACKNOWLEDGED = "acknowledged"
    ON_SITE = "on_site"
    RESOLVED = "resolved"
    VERIFYING = "verifying"
    REOPENED = "reopened"
    SUSPENDED = "suspended"
    MERGED = "merged"
    CLOSED = "closed"
    VOID = "void"


class Action(StrEnum):
    """What can be done to a ticket."""

    DISPATCH = "dispatch"
    ACKNOWLEDGE = "acknowledge"
    ARRIVE = "arrive"
    RESOLVE = "resolve"
    VERIFY = "verify"
    CLOSE = "close"
    CONFIRM = "confirm"
    ACCEPT = "accept"
    REOPEN = "reopen"
    SUSPEND = "suspend"
    RESUME = "resume"
    TRANSFER = "transfer"
    VOID = "void"
    ESCALATE = "escalate"
    CALL = "call"
    NOTE = "note"
    MERGE = "merge"
    SPLIT = "split"


class Ground(StrEnum):
    """By what a ticket was closed; there is nothing else."""

    LOOK = "look"
    PHOTO = "photo"
    CITIZEN = "citizen"
    OVERRIDE = "override"


class EventKind(StrEnum):
    """What a line of the history says."""

    OPENED = "opened"
    DISPATCHED = "dispatched"
    UNASSIGNED = "unassigned"
    ACKNOWLEDGED = "acknowledged"
    ARRIVED = "arrived"
    RESOLVED = "resolved"
    VERIFYING = "verifying"
    CLOSED = "closed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    REOPENED = "reopened"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    TRANSFERRED = "transferred"
    VOIDED = "voided"
    ESCALATED = "escalated"
    CALLED = "called"
    NOTED = "noted"
    INCIDENT_ATTACHED = "incident_attached"
    INCIDENT_ENDED = "incident_ended"
    INCIDENT_RETURNED = "incident_returned"
    SEVERITY_RAISED = "severity_raised"
    CATEGORY_CHANGED = "category_changed"
    SETTLED = "settled"
    CALL_WITHDRAWN = "call_withdrawn"
    CLOCK_MISSED = "clock_missed"
    CALLED_OUT = "called_out"
    REVIEW_DUE = "review_due"
    BLIND = "blind"
    PHOTO_ADDED = "photo_added"
    REPORTERS_ASKED = "reporters_asked"
    CALL_ARRIVED = "call_arrived"
    CALL_MISSED = "call_missed"
    CONFERRED = "conferred"
    TASK_DONE = "task_done"
    TASK_MISSED = "task_missed"
    ADVISER_ASKED = "adviser_asked"
    ADVISER_ANSWERED = "adviser_answered"
    REPORT_ATTACHED = "report_attached"
    REPORTS_LEFT = "reports_left"
    REPORTER_ANSWERED = "reporter_answered"
    MERGED = "merged"
    MERGED_IN = "merged_in"
    SPLIT = "split"
    SPLIT_OFF = "split_off"


@dataclass(slots=True)
class Ticket:
    """A ticket's own row, as one transaction holds and changes it."""

    ticket_id: UUID
    number: str
    matter_id: int
    category: str
    channel: Channel
    severity: int
    state: State
    version: int
    level: int
    unit_code: str | None
    unassigned: bool
    grid_code: str | None
    lon: float
    lat: float
    policy: dict[str, Any]
    opened_at: datetime
    dispatched_at: datetime | None = None
    claimed_at: datetime | None = None
    closed_at: datetime | None = None
    resumes_to: State | None = None
    review_at: datetime | None = None
    blind_at: datetime | None = None
    overridden: bool = False
    closed_by: Ground | None = None
    reopenings: int = 0
    merged_into: UUID | None = None

    def __post_init__(self) -> None:
        """Rows carry texts."""
        self.state = State(self.state)
        self.resumes_to = State(self.resumes_to) if self.resumes_to else None
        self.closed_by = Ground(self.closed_by) if self.closed_by else None


FINAL: Final = frozenset({State.CLOSED, State.VOID})
_IN_HAND: Final = frozenset({State.DISPATCHED, State.ACKNOWLEDGED, State.ON_SITE, State.REOPENED})
#: No work goes on in these; a merged one's work goes on in another ticket, and it can come back.
NOT_OPEN: Final = FINAL | {State.MERGED}
_ALIVE: Final = frozenset(State) - NOT_OPEN
#: They have their own commands, which name the other ticket; the list of actions does not offer them.
OWN_COMMANDS: Final = frozenset({Action.MERGE, Action.SPLIT})


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table.

    Attributes:
        sources: the states it may start from.
        target: the state it leads to; ``same`` stays, ``interrupted`` goes back to what a suspension stopped.
        event: the line it writes into the history.
        by_system: nobody does it by the list of actions: the system does, or a command of its own.
        needs_note: a person must say why.
        needs_unit: it names a unit.
    """

    sources: frozenset[State]
    target: State | Literal["same", "interrupted"]
    event: EventKind
    by_system: bool = False
    needs_note: bool = False
    needs_unit: bool = False


TRANSITIONS: Final[Mapping[Action, Transition]] = {
    Action.DISPATCH: Transition(
        frozenset({State.OPEN}), State.DISPATCHED, EventKind.DISPATCHED, needs_unit=True
    ),
    Action.ACKNOWLEDGE: Transition(
        frozenset({State.DISPATCHED, State.REOPENED}), State.ACKNOWLEDGED, EventKind.ACKNOWLEDGED
    ),
    Action.ARRIVE: Transition(
        frozenset({State.DISPATCHED, State.ACKNOWLEDGED, State.REOPENED}), State.ON_SITE, EventKind.ARRIVED
    ),
    Action.RESOLVE: Transition(
        frozenset({State.ACKNOWLEDGED, State.ON_SITE}), State.RESOLVED, EventKind.RESOLVED
    ),
    Action.VERIFY: Transition(
        frozenset({State.RESOLVED}), State.VERIFYING, EventKind.VERIFYING, by_system=True
    ),
    Action.CLOSE: Transition(frozenset({State.VERIFYING}), State.CLOSED, EventKind.CLOSED, by_system=True),
    Action.ACCEPT: Transition(frozenset({State.VERIFYING}), State.CLOSED, EventKind.ACCEPTED),
    Action.CONFIRM: Transition(
        frozenset({State.VERIFYING}), State.CLOSED, EventKind.CONFIRMED, needs_note=True
    ),
    Action.REOPEN: Transition(
        frozenset({State.VERIFYING}), State.REOPENED, EventKind.REOPENED, needs_note=True
    ),
    Action.SUSPEND: Transition(
        _IN_HAND | {State.OPEN}, State.SUSPENDED, EventKind.SUSPENDED, needs_note=True
    ),
    Action.RESUME: Transition(frozenset({State.SUSPENDED}), "interrupted", EventKind.RESUMED),
    Action.TRANSFER: Transition(
        _IN_HAND, State.DISPATCHED, EventKind.TRANSFERRED, needs_note=True, needs_unit=True
    ),
    Action.VOID: Transition(
        _IN_HAND | {State.OPEN, State.SUSPENDED}, State.VOID, EventKind.VOIDED, needs_note=True
    ),
    Action.ESCALATE: Transition(_ALIVE, "same", EventKind.ESCALATED, needs_note=True),
    Action.CALL: Transition(_IN_HAND | {State.OPEN}, "same", EventKind.CALLED, needs_unit=True),
    Action.NOTE: Transition(_ALIVE, "same", EventKind.NOTED, needs_note=True),
    Action.MERGE: Transition(_IN_HAND | {State.OPEN}, State.MERGED, EventKind.MERGED, by_system=True),
    Action.SPLIT: Transition(frozenset({State.MERGED}), "interrupted", EventKind.SPLIT, by_system=True),
}


#: What the street in whose grid a ticket lies may do although another unit owns it: the last word on
#: "solved" is the street's, not the handler's. A called department may add its findings.
BY_PLACE: Final = frozenset(
    {Action.NOTE, Action.CALL, Action.ESCALATE, Action.REOPEN, Action.CONFIRM, Action.ACCEPT}
)
BY_CALLED: Final = frozenset({Action.NOTE})


#: On what ground an action may close; the devices' look and the reporter's yes come by the system.
GROUNDS: Final[Mapping[Action, frozenset[Ground]]] = {
    Action.CLOSE: frozenset({Ground.LOOK, Ground.CITIZEN}),
    Action.ACCEPT: frozenset({Ground.PHOTO}),
    Action.CONFIRM: frozenset({Ground.OVERRIDE}),
}


def ground_of(action: Action, target: State, given: Ground | None) -> Ground | None:
    """On what ground a step closes; None for a step that closes nothing.

    Raises:
        InvalidError: it would close a ticket without one, or on another's ground.
    """
    if target is not State.CLOSED:
        return None
    allowed = GROUNDS.get(action, frozenset())
    if given not in allowed:
        names = " or ".join(sorted(ground.value for ground in allowed)) or "nothing"
        raise InvalidError(
            "ticket.no_ground",
            f"expected {action.value!r} to close by {names}, got {given.value if given else 'no ground'}",
        )
    return given


def next_state(state: State, action: Action, interrupted: State | None = None) -> State:
    """Where an action leads.

    Args:
        state: where the ticket stands.
        action: what is done.
        interrupted: of a suspended ticket, the state to come back to.

    Raises:
        ConflictError: when the table has no such step; the message lists the steps there are.
    """
    transition = TRANSITIONS[action]
    if state not in transition.sources:
        can = ", ".join(allowed_actions(state)) or "nothing any more"
        raise ConflictError(
            "ticket.wrong_transition",
            f"expected an action that a ticket in state {state.value!r} allows ({can}), got {action.value!r}",
            "read the ticket again; somebody may have moved it",
        )
    if transition.target == "same":
        return state
    if transition.target == "interrupted":
        if interrupted is None:
            raise InvalidError("ticket.nothing_interrupted", "a suspended ticket knows no state to resume to")
        return interrupted
    return transition.target


def allowed_actions(state: State) -> tuple[Action, ...]:
    """What people can do to a ticket in this state."""
    return tuple(
        action
        for action, transition in TRANSITIONS.items()
        if state in transition.sources and not transition.by_system
    )


def check_request(action: Action, note: str, unit_code: str | None, *, by_person: bool) -> None:
    """Whether a request carries what its action needs.

    Raises:
        ConflictError: when only the system may do it.
        InvalidError: when the reason or the unit is missing.
    """
    transition = TRANSITIONS[action]
    if by_person and action in OWN_COMMANDS:
        raise ConflictError(
            "ticket.own_command",
            f"{action.value!r} names another ticket and has its own command",
            f"POST /api/tickets/…/{action.value}",
        )
    if by_person and transition.by_system:
        raise ConflictError(
            "ticket.system_only",
            f"{action.value!r} is done by the system alone, when the devices have looked again",
            f"a supervisor can {Action.CONFIRM.value!r} with a reason",
        )
    if by_person and transition.needs_note and not note.strip():
        raise InvalidError(
            "ticket.note_missing", f"expected a note that says why, for {action.value!r}, got none"
        )
    if transition.needs_unit and not unit_code:
        raise InvalidError("ticket.unit_missing", f"expected a unit_code for {action.value!r}, got none")


_ClockStep = Callable[[Clocks, Policy, datetime], Clocks]


def _hand_to_owner(clocks: Clocks, policy: Policy, now: datetime) -> Clocks:
    return sla.start(sla.meet(clocks, ["assign"], now), ["ack", "arrive"], policy, now)


def _claim(clocks: Clocks, _policy: Policy, now: datetime) -> Clocks:
    # Who says it is solved need not come any more; whether that is true, verification finds out.
    return sla.cancel(sla.meet(clocks, ["ack", "resolve"], now))


def _end(clocks: Clocks, _policy: Policy, _now: datetime) -> Clocks:
    return sla.cancel(clocks)


_CLOCK_STEPS: Final[Mapping[Action, _ClockStep]] = {
    Action.DISPATCH: _hand_to_owner,
    Action.TRANSFER: _hand_to_owner,
    Action.ACKNOWLEDGE: lambda clocks, _policy, now: sla.meet(clocks, ["ack"], now),
    Action.ARRIVE: lambda clocks, _policy, now: sla.meet(clocks, ["ack", "arrive"], now),
    Action.RESOLVE: _claim,
    Action.REOPEN: lambda clocks, policy, now: sla.start(clocks, ["ack", "arrive", "resolve"], policy, now),
    Action.SUSPEND: lambda clocks, policy, now: sla.stop(clocks, now, policy.calendar),
    Action.RESUME: lambda clocks, policy, now: sla.resume(clocks, now, policy.calendar),
    Action.MERGE: lambda clocks, policy, now: sla.stop(clocks, now, policy.calendar),
    Action.SPLIT: lambda clocks, policy, now: sla.resume(clocks, now, policy.calendar),
    Action.CLOSE: _end,
    Action.CONFIRM: _end,
    Action.ACCEPT: _end,
    Action.VOID: _end,
}


def clocks_after(action: Action, clocks: Clocks, policy: Policy, now: datetime) -> Clocks:
    """What an action does to the promises of time."""
    step = _CLOCK_STEPS.get(action)
    return clocks if step is None else step(clocks, policy, now)


def clocks_at_opening(policy: Policy, now: datetime, *, owned: bool) -> Clocks:
    """The promises of a new ticket: to be acknowledged by its owner, or first of all to find one."""
    return sla.start((), ["ack", "arrive", "resolve"] if owned else ["assign", "resolve"], policy, now)


def channel_of(category: str) -> Literal["camera", "sensor", "device"]:
    """By which entry a matter of this category comes in."""
    family = category.partition(".")[0]
    if family == "camera":
        return "camera"
    return "device" if family == "device" else "sensor"


def ticket_number(opened_at: datetime, count: int) -> str:
    """``DT-YYYYMMDD-NNNN`` by the district's day; ``count`` is which ticket of that day it is, from 1."""
    return f"DT-{opened_at.astimezone(DISTRICT_ZONE):%Y%m%d}-{count:04d}"
