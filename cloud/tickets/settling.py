"""An opening that settles: what belongs before it and comes in late, within the lateness bound, decides it anew.

Devices are heard in any order, and nobody is made to wait for the others. So a ticket is given to an owner at once, by
what is known; should something that was observed earlier, or in its first minute, be heard only then, the rules are asked
again, and the ticket is what it would have been. It is handed over openly, with a line that says why, and only while
nobody has touched it: what a person decided stays.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from cloud.db import Transaction
from cloud.dispatch import repo as dispatch_repo
from cloud.dispatch.repo import Share
from cloud.incidents.domain import Change
from cloud.incidents.order import LATENESS, Facts, opening_by
from cloud.sla.domain import moved_to
from cloud.tickets import domain, repo
from cloud.tickets.deciding import Asked, Decision, decide
from cloud.tickets.domain import EventKind, State, Ticket
from cloud.tickets.editing import SYSTEM, Editing
from cloud.whistle.calling import call_unit, withdraw_call

_BECAUSE: Final = "an earlier or graver observation of the beginning was heard of late"
_UNTOUCHED: Final = frozenset({State.OPEN, State.DISPATCHED})


def facts_of(transaction: Transaction, incident_id: UUID, ticket: Ticket | None = None) -> Facts | None:
    """By what a ticket is to be opened, or should have been: from its incidents of one matter, as they are known now.

    Args:
        transaction: holds the locks of the matter.
        incident_id: one of them.
        ticket: whose other incidents count as well.
    """
    ticket_id = None if ticket is None else ticket.ticket_id
    return opening_by(repo.seen_at_opening(transaction, incident_id, ticket_id, LATENESS))


def keep(transaction: Transaction, ticket: Ticket, facts: Facts) -> None:
    """Remember by what a ticket was opened."""
    repo.save_opening(transaction, ticket.ticket_id, facts)


def settle(editing: Editing, change: Change) -> None:
    """Ask the rules again where an observation shows that a ticket's opening was another one; the caller saves it."""
    ticket, transaction = editing.ticket, editing.transaction
    seen = change.seen
    if ticket.state not in _UNTOUCHED or seen is None or not seen.severe_since:
        return
    kept = repo.opening(transaction, ticket.ticket_id)
    if kept is None or seen.started_at > kept.observed_at + LATENESS:
        return
    facts = facts_of(transaction, change.incident.incident_id, ticket)
    if facts is None or facts == kept or repo.touched(transaction, ticket.ticket_id):
        return
    asked = Asked(
        ticket.category,
        change.family[0] if ticket.category in change.family else ticket.category,
        facts.severity,
        (facts.lon, facts.lat),
        facts.observed_at,
        repo.incidents_of(transaction, ticket.ticket_id),
    )
    decided = decide(transaction, asked)
    keep(transaction, ticket, facts)
    _apply(editing, facts, decided)


def _apply(editing: Editing, facts: Facts, decided: Decision) -> None:
    ticket = editing.ticket
    policy = decided.policy.snapshot(facts.observed_at.astimezone(domain.DISTRICT_ZONE).date())
    before = _decided(ticket)
    if decided.severity > ticket.severity:
        detail = {"from": ticket.severity, "to": decided.severity}
        ticket.severity = decided.severity
        editing.record(EventKind.SEVERITY_RAISED, detail=detail)
    ticket.lon, ticket.lat, ticket.grid_code = facts.lon, facts.lat, decided.units.get("grid")
    ticket.policy, ticket.unit_code, ticket.unassigned = policy, decided.owner, not decided.owned
    if _decided(ticket) != before:
        _record(editing, facts, decided, before["unit_code"])
        promised = domain.clocks_at_opening(decided.policy, ticket.opened_at, owned=decided.owned)
        editing.clocks = moved_to(editing.clocks, promised)
    _call(editing, decided)


def _decided(ticket: Ticket) -> dict[str, Any]:
    return {
        name: getattr(ticket, name)
        for name in ("lon", "lat", "grid_code", "policy", "unit_code", "unassigned")
    }


def _record(editing: Editing, facts: Facts, decided: Decision, from_unit: str | None) -> None:
    """Say openly what was decided anew, and hand the ticket over where that names another owner."""
    ticket, now = editing.ticket, editing.now
    detail: dict[str, Any] = {
        "because": f"{_BECAUSE}; {decided.route.because}",
        "observed_at": facts.observed_at.isoformat(),
        "policy": decided.policy.name,
    }
    if decided.owner == from_unit and decided.owned == (ticket.state is State.DISPATCHED):
        editing.record(EventKind.SETTLED, detail=detail)
        return
    if not decided.owned:
        ticket.dispatched_at = None
        dispatch_repo.end_ownership(editing.transaction, ticket.ticket_id, now)
        editing.record(EventKind.UNASSIGNED, detail=detail, to_state=State.OPEN)
        return
    assert decided.owner is not None
    kind = EventKind.TRANSFERRED if ticket.state is State.DISPATCHED else EventKind.DISPATCHED
    ticket.dispatched_at = now
    share = Share(ticket.ticket_id, decided.owner, "owner", now, SYSTEM.name, detail["because"])
    dispatch_repo.assign(editing.transaction, share)
    named = {"unit_code": decided.owner, "from": from_unit}
    editing.record(kind, detail=detail | named, to_state=State.DISPATCHED)


def _call(editing: Editing, decided: Decision) -> None:
    """The departments that the route whistles in, and none that it would not have."""
    ticket, transaction = editing.ticket, editing.transaction
    wanted = decided.route.called
    for code in dispatch_repo.withdraw_calls(transaction, ticket.ticket_id, wanted, editing.now):
        editing.record(EventKind.CALL_WITHDRAWN, detail={"unit_code": code, "because": _BECAUSE})
        withdraw_call(transaction, ticket, code, _BECAUSE, editing.now)
    for code in wanted:
        because = decided.route.because
        if call_unit(transaction, ticket, code, by=SYSTEM.name, because=because, now=editing.now):
            editing.record(EventKind.CALLED, detail={"unit_code": code, "because": because})
