"""Which buttons a ticket shows to whom. Pure; the ticket service decides again when one is pressed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cloud.auth.domain import Account
from cloud.auth.roles import ALLOWED, may, may_any
from cloud.console.service import District
from cloud.tickets.domain import BY_CALLED, BY_PLACE, NOT_OPEN, TRANSITIONS, Action, State
from cloud.tickets.schemas import TicketDetail

#: The next step of the work, one press each; everything else stands under "more".
STEPS = (Action.ACKNOWLEDGE, Action.ARRIVE, Action.RESOLVE)


@dataclass(frozen=True, slots=True)
class Button:
    """An action and what its form asks for."""

    action: Action
    needs_note: bool
    needs_unit: bool
    needs_review: bool

    @property
    def departments_only(self) -> bool:
        """Whether only departments can be named."""
        return self.action is Action.CALL


def buttons(ticket: TicketDetail, account: Account) -> list[Button]:
    """What this account may do to this ticket now."""
    called = [one.unit_code for one in ticket.assignments if one.kind == "called" and one.ended_at is None]
    allowed = []
    for action in ticket.actions:
        places = [ticket.unit_code]
        if action in BY_PLACE:
            places.append(ticket.grid_code)
        if action in BY_CALLED:
            places += called
        known = next((name for name in ALLOWED if name == action.value), None)
        if known is not None and may_any(account, known, places):
            allowed.append(_button(action))
    return allowed


def may_merge(ticket: TicketDetail, account: Account) -> bool:
    """Whether this account may merge this ticket into another now."""
    movable = ticket.state in TRANSITIONS[Action.MERGE].sources
    return movable and may_any(account, "merge", (ticket.unit_code, ticket.grid_code))


def may_shelve(ticket: TicketDetail, account: Account) -> bool:
    """Whether this account may let an alarm of this ticket call no one for a while."""
    return may_any(account, "shelve", (ticket.unit_code, ticket.grid_code))


@dataclass(frozen=True, slots=True)
class Proof:
    """What this account may add to a ticket's proof now; ``owing``: the promises of which it may say that they are kept."""

    may_photo: bool
    may_confer: bool
    owing: frozenset[UUID]
    party: frozenset[str]


def proof(ticket: TicketDetail, account: Account, tasks: Iterable[Mapping[str, Any]]) -> Proof:
    """Which forms of photos, conferences and promises this ticket shows to whom."""
    called = [one.unit_code for one in ticket.assignments if one.kind == "called" and one.ended_at is None]
    whose = (ticket.unit_code, ticket.grid_code)
    return Proof(
        may_photo=ticket.state is State.VERIFYING and may_any(account, "photo", (*whose, *called)),
        may_confer=bool(called) and ticket.state not in NOT_OPEN and may_any(account, "call", whose),
        owing=frozenset(
            one["task_id"]
            for one in tasks
            if one["done_at"] is None and may_any(account, "resolve", (one["unit_code"], *whose))
        ),
        party=frozenset(code for code in (ticket.unit_code, *called) if code is not None),
    )


def storm_areas(district: District, account: Account) -> list[str]:
    """Where this account may begin and end storm mode, in the order of the tree."""
    areas = district.of_kind("centre", "street", "community")
    return [unit.unit_code for unit in areas if may(account, "storm", unit.unit_code)]


def _button(action: Action) -> Button:
    step = TRANSITIONS[action]
    return Button(action, step.needs_note, step.needs_unit, action is Action.SUSPEND)
