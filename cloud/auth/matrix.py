"""The table of access as a page for people: ``docs/reference/access.md``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloud.auth.access import ACCESS, TICKET_ACTIONS, Access
from cloud.auth.domain import ROLES, SCOPES, Action
from cloud.auth.roles import ALLOWED
from cloud.tickets.domain import BY_CALLED, BY_PLACE
from cloud.tickets.domain import Action as TicketAction

_WHERE = {
    "everywhere": "",
    "ticket": "the ticket's owner; for some actions its street, or who was called",
    "unit": "the unit that the request names",
}


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([*_endpoints(), "", *_actions(), "", *_scopes(), ""])


def _endpoints() -> Iterator[str]:
    yield "# Who may call what\n"
    yield "`yes` for people of that role; what is limited by place holds for their own unit and every unit below it."
    yield "A service token acts as its role and unit, and needs the scope besides. An endpoint that is not here is"
    yield "refused to everybody.\n"
    yield f"| endpoint | scope | {' | '.join(ROLES)} | by place |"
    yield "|---|---|" + "---|" * (len(ROLES) + 1)
    for (method, path), row in sorted(ACCESS.items(), key=lambda item: (item[0][1], item[0][0])):
        yield f"| `{method} {path}` | {_scope(row)} | {' | '.join(_cells(row))} | {_WHERE[row.where]} |"


def _scope(row: Access) -> str:
    if row.is_open:
        return "open to everybody"
    return f"`{row.scope}`" if row.scope else "no token, people only"


def _cells(row: Access) -> list[str]:
    return _yes(row.actions) if row.actions else ["yes"] * len(ROLES)


def _yes(actions: Iterable[Action]) -> list[str]:
    wanted = tuple(actions)
    return ["yes" if any(role in ALLOWED[action] for action in wanted) else "" for role in ROLES]


def _actions() -> Iterator[str]:
    yield "## What may be done to a ticket\n"
    yield f"| action | {' | '.join(ROLES)} | of which units |"
    yield "|---|" + "---|" * (len(ROLES) + 1)
    for action in TICKET_ACTIONS:
        places = ["the owner"]
        if TicketAction(action) in BY_PLACE:
            places.append("the grid it lies in")
        if TicketAction(action) in BY_CALLED:
            places.append("whoever was called")
        yield f"| `{action}` | {' | '.join(_yes([action]))} | {', '.join(places)} |"


def _scopes() -> Iterator[str]:
    yield "## Scopes of service tokens\n"
    yield "| scope | endpoints |"
    yield "|---|---|"
    for scope in SCOPES:
        named = [f"`{method} {path}`" for (method, path), row in ACCESS.items() if row.scope == scope]
        yield f"| `{scope}` | {', '.join(sorted(named))} |"
