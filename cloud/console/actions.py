"""Which buttons a ticket shows to whom. Pure; the ticket service decides again when one is pressed."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.auth.domain import Account
from cloud.auth.roles import ALLOWED, may, may_any
from cloud.console.service import District
from cloud.tickets.domain import BY_CALLED, BY_PLACE, TRANSITIONS, Action
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


def storm_areas(district: District, account: Account) -> list[str]:
    """Where this account may begin and end storm mode, in the order of the tree."""
    areas = district.of_kind("centre", "street", "community")
    return [unit.unit_code for unit in areas if may(account, "storm", unit.unit_code)]


def _button(action: Action) -> Button:
    step = TRANSITIONS[action]
    return Button(action, step.needs_note, step.needs_unit, action is Action.SUSPEND)
