"""Who may call which endpoint: one row each, asked before anything else is done. Pure.

What has no row is refused. Where a role is limited by place, the row says so, and what knows the place asks
``cloud/auth/roles.py`` with it. The table is the one of ``docs/reference/access.md``, and a test calls every
endpoint as every role, inside and outside its units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloud.auth.domain import Account, Action, Caller, Scope
from cloud.auth.roles import ALLOWED
from cloud.errors import ForbiddenError
from cloud.tickets.domain import TRANSITIONS

#: By what the place of a request is known: none at all, the ticket's units, or the unit that it names.
Where = Literal["everywhere", "ticket", "unit"]

#: What people can do to a ticket over its one endpoint for that; what has an endpoint of its own is not among them.
TICKET_ACTIONS: Final[tuple[Action, ...]] = tuple(
    action
    for action in ALLOWED
    if any(action == known.value and not step.by_system for known, step in TRANSITIONS.items())
)


@dataclass(frozen=True, slots=True)
class Access:
    """A row.

    Attributes:
        scope: what a service token needs; None: no token may, only a person who signed in.
        actions: what the role must allow, at least one of them; none: every role reads (docs/adr/0007).
        where: by what the place is known.
        refused: the code of the refusal.
        is_open: for everybody, without signing in.
    """

    scope: Scope | None = None
    actions: tuple[Action, ...] = ()
    where: Where = "everywhere"
    refused: str = "auth.forbidden"
    is_open: bool = False


OPEN: Final = Access(is_open=True)


def _reads(scope: Scope) -> Access:
    return Access(scope)


ACCESS: Final[Mapping[tuple[str, str], Access]] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/api/tickets"): _reads("tickets:read"),
    ("GET", "/api/tickets/{ticket_id}"): _reads("tickets:read"),
    ("POST", "/api/tickets/{ticket_id}/actions"): Access(
        "tickets:act", TICKET_ACTIONS, "ticket", "ticket.forbidden"
    ),
    ("GET", "/api/tickets/{ticket_id}/photos"): _reads("tickets:read"),
    ("POST", "/api/tickets/{ticket_id}/photos"): Access(
        "tickets:act", ("photo",), "ticket", "ticket.forbidden"
    ),
    ("GET", "/api/tickets/{ticket_id}/shelf"): _reads("tickets:read"),
    ("POST", "/api/tickets/{ticket_id}/shelf"): Access(
        "tickets:act", ("shelve",), "ticket", "ticket.forbidden"
    ),
    ("POST", "/api/tickets/{ticket_id}/shelf/{shelved_id}/off"): Access(
        "tickets:act", ("shelve",), "ticket", "ticket.forbidden"
    ),
    ("GET", "/api/tickets/{ticket_id}/whistle"): _reads("tickets:read"),
    ("POST", "/api/tickets/{ticket_id}/calls/{unit_code}/arrival"): Access(
        "tickets:act", ("arrive",), "unit", "ticket.forbidden"
    ),
    ("POST", "/api/tickets/{ticket_id}/conferences"): Access(
        "tickets:act", ("call",), "ticket", "ticket.forbidden"
    ),
    ("POST", "/api/tickets/{ticket_id}/tasks/{task_id}/done"): Access(
        "tickets:act", ("resolve",), "ticket", "ticket.forbidden"
    ),
    ("POST", "/api/tickets/{ticket_id}/advice"): Access(
        "tickets:act", ("note",), "ticket", "ticket.forbidden"
    ),
    ("POST", "/api/tickets/{ticket_id}/advice/{advice_id}/answer"): Access(
        "tickets:act", ("note",), "ticket", "ticket.forbidden"
    ),
    ("GET", "/api/assessment"): _reads("assessment:read"),
    ("GET", "/api/assessment/league"): _reads("assessment:read"),
    ("GET", "/api/assessment/hotspots"): _reads("assessment:read"),
    ("GET", "/api/assessment/unsolved"): _reads("assessment:read"),
    ("POST", "/api/tickets/{ticket_id}/ratings"): Access(
        "tickets:act", ("rate",), "ticket", "assessment.forbidden"
    ),
    ("GET", "/api/exports/tickets.csv"): _reads("tickets:read"),
    ("GET", "/api/exports/tickets.geojson"): _reads("tickets:read"),
    ("GET", "/api/incidents"): _reads("incidents:read"),
    ("GET", "/api/recurring"): _reads("incidents:read"),
    ("GET", "/api/severity"): _reads("rules:read"),
    ("GET", "/api/severity/explain"): _reads("rules:read"),
    ("GET", "/api/evidence/{sha256}"): _reads("evidence:read"),
    ("GET", "/api/evidence/{sha256}/views"): Access("audit:read", ("audit",)),
    ("GET", "/api/stream"): _reads("stream:read"),
    ("GET", "/api/summary"): _reads("summary:read"),
    ("GET", "/api/routing"): _reads("rules:read"),
    ("PUT", "/api/routing"): Access("rules:write", ("manage",), refused="district.forbidden"),
    ("GET", "/api/routing/explain"): _reads("rules:read"),
    ("GET", "/api/policies"): _reads("rules:read"),
    ("PUT", "/api/policies"): Access("rules:write", ("manage",), refused="district.forbidden"),
    ("GET", "/api/calendar"): _reads("rules:read"),
    ("GET", "/api/duty"): _reads("duty:read"),
    ("PUT", "/api/duty"): Access("duty:write", ("duty",), "unit", "duty.forbidden"),
    ("GET", "/api/duty/on"): _reads("duty:read"),
    ("GET", "/api/duty/holes"): _reads("duty:read"),
    ("GET", "/api/storms"): _reads("storms:read"),
    ("POST", "/api/storms"): Access("storms:write", ("storm",), "unit", "storm.forbidden"),
    ("POST", "/api/storms/{storm_id}/actions"): Access("storms:write", ("storm",), "unit", "storm.forbidden"),
    ("POST", "/api/reports"): Access("reports:write", ("report",)),
    ("GET", "/api/reports"): _reads("reports:read"),
    ("GET", "/api/reports/{report_id}"): _reads("reports:read"),
    ("GET", "/api/reports/{report_id}/person"): Access(
        "personal:read", ("personal",), "ticket", "report.forbidden"
    ),
    ("POST", "/api/reports/{report_id}/answer"): Access("reports:write", ("report",)),
    ("GET", "/api/tickets/{ticket_id}/suggestions"): _reads("reports:read"),
    ("POST", "/api/tickets/{ticket_id}/merge"): Access(
        "tickets:act", ("merge",), "ticket", "ticket.forbidden"
    ),
    ("POST", "/api/tickets/{ticket_id}/split"): Access(
        "tickets:act", ("split",), "ticket", "ticket.forbidden"
    ),
    # Open to everybody, and counted by address (cloud/limits.py); a receipt shows its progress with its secret alone.
    ("POST", "/api/public/reports"): OPEN,
    ("GET", "/api/public/reports/{receipt}"): OPEN,
    ("POST", "/api/public/reports/{receipt}/answer"): OPEN,
    ("POST", "/api/public/reports/{receipt}/rating"): OPEN,
    # Open311: reading is open by its specification; filing asks for an api_key, a token with reports:write.
    ("GET", "/open311/v2/discovery.{form}"): OPEN,
    ("GET", "/open311/v2/services.{form}"): OPEN,
    ("GET", "/open311/v2/services/{service_code}.{form}"): OPEN,
    ("GET", "/open311/v2/requests.{form}"): OPEN,
    ("GET", "/open311/v2/requests/{service_request_id}.{form}"): OPEN,
    ("GET", "/open311/v2/tokens/{token}.{form}"): OPEN,
    ("POST", "/open311/v2/requests.{form}"): OPEN,
    ("GET", "/api/tokens"): Access(actions=("manage",), refused="token.forbidden"),
    ("POST", "/api/tokens"): Access(actions=("manage",), where="unit", refused="token.forbidden"),
    ("POST", "/api/tokens/{token_id}/revoke"): Access(
        actions=("manage",), where="unit", refused="token.forbidden"
    ),
}


def access_of(method: str, path: str) -> Access:
    """The row of an endpoint.

    Raises:
        ForbiddenError: there is none, so nobody may.
    """
    row = ACCESS.get((method, path))
    if row is None:
        raise ForbiddenError(
            "auth.no_row",
            f"nobody may {method} {path}: it has no row in the table of access",
            "this is a fault of ours: the row belongs into cloud/auth/access.py",
        )
    return row


def check_access(row: Access, caller: Caller) -> None:
    """Whether somebody may call an endpoint at all; where, is asked when the place is known.

    Raises:
        ForbiddenError: not with this token, or not with this role.
    """
    if caller.scopes is not None and (row.scope is None or row.scope not in caller.scopes):
        raise ForbiddenError(
            "auth.scope",
            f"expected a token with the scope {row.scope!r}, got one with {', '.join(sorted(caller.scopes))}"
            if row.scope
            else "expected a person who signed in, got a service token",
            "make one: drumtower cloud token add" if row.scope else "sign in",
        )
    if row.actions and not any(_role_allows(caller.account, action) for action in row.actions):
        account = caller.account
        raise ForbiddenError(
            row.refused,
            f"{account.name} ({account.role} of {account.unit_code}) may not do this in any place",
            "docs/reference/access.md says which role may",
        )


def _role_allows(account: Account, action: Action) -> bool:
    return account.role in ALLOWED[action]
