"""What an incident does to tickets: opens one, joins the one that is open, or tells it news."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from cloud.db import Transaction
from cloud.dispatch import repo as dispatch_repo
from cloud.dispatch.domain import Route
from cloud.dispatch.repo import Share
from cloud.dispatch.service import find_route
from cloud.incidents.domain import Change, Incident
from cloud.sla.repo import policy_for
from cloud.storm.service import because_of, storm_for
from cloud.tickets import domain, repo
from cloud.tickets.domain import EventKind, State, Ticket
from cloud.tickets.editing import SYSTEM, Editing
from common.runtime.clock import to_ms
from common.wire.ids import uuid7

_CENTRE = "centre"


def tell_tickets(transaction: Transaction, change: Change, now: datetime) -> UUID | None:
    """Apply what happened to an incident to its ticket; the matter's locks are held.

    Returns:
        The ticket, or None where the incident is worth none.
    """
    incident = change.incident
    if not incident.ticket_worthy:
        return None
    linked = repo.ticket_of_incident(transaction, incident.incident_id)
    ticket_id = linked or repo.open_ticket_of_matter(transaction, incident.matter_id)
    ticket = repo.lock(transaction, ticket_id) if ticket_id else None
    if ticket is not None and linked is None and ticket.state in domain.FINAL:
        ticket = None  # it was closed while we waited for its row
    if ticket is None:
        return _open(transaction, incident, now)
    editing = Editing(transaction, ticket, now)
    if linked is None:
        repo.link(transaction, incident.incident_id, ticket.ticket_id, now)
        editing.record(EventKind.INCIDENT_ATTACHED, detail=_named(incident))
    if ticket.state not in domain.FINAL:
        _tell_news(editing, change, is_linked=linked is not None)
    editing.save()
    return ticket.ticket_id


def _tell_news(editing: Editing, change: Change, *, is_linked: bool) -> None:
    incident = change.incident
    if is_linked and change.ended:
        editing.record(EventKind.INCIDENT_ENDED, detail=_named(incident))
    if is_linked and change.returned:
        editing.record(EventKind.INCIDENT_RETURNED, detail=_named(incident))
    if incident.severity > editing.ticket.severity:
        detail = {"from": editing.ticket.severity, "to": incident.severity}
        editing.ticket.severity = incident.severity
        editing.record(EventKind.SEVERITY_RAISED, detail=detail)


def _open(transaction: Transaction, incident: Incident, now: datetime) -> UUID:
    place = dispatch_repo.place(transaction, incident.lon, incident.lat)
    found = storm_for(transaction, list(place.values()), incident.category)
    severity = max(incident.severity, found[1].raise_to) if found else incident.severity
    route = find_route(transaction, incident.category, severity, place, now)
    owned = route.unit_code is not None
    owner = route.unit_code or place.get(_CENTRE)
    policy = policy_for(transaction, incident.category, severity, storm=found is not None, unit_code=owner)
    count = repo.next_count(transaction, now.astimezone(domain.DISTRICT_ZONE).date())
    ticket = Ticket(
        ticket_id=uuid7(to_ms(now)),
        number=domain.ticket_number(now, count),
        matter_id=incident.matter_id,
        category=incident.category,
        channel=domain.channel_of(incident.category),
        severity=severity,
        state=State.OPEN,
        version=0,
        level=0,
        unit_code=owner,
        unassigned=not owned,
        grid_code=place.get("grid"),
        lon=incident.lon,
        lat=incident.lat,
        policy=policy.snapshot(now.astimezone(domain.DISTRICT_ZONE).date()),
        opened_at=now,
        dispatched_at=now if owned else None,
    )
    editing = Editing(transaction, ticket, now, domain.clocks_at_opening(policy, now, owned=owned))
    editing.record(EventKind.OPENED, detail=_named(incident) | {"policy": policy.name})
    if found and severity > incident.severity:
        raised = {"from": incident.severity, "to": severity} | because_of(found[0])
        editing.record(EventKind.SEVERITY_RAISED, detail=raised)
    if owned:
        editing.record(
            EventKind.DISPATCHED,
            detail={"unit_code": route.unit_code, "because": route.because},
            to_state=State.DISPATCHED,
        )
    else:
        editing.record(EventKind.UNASSIGNED, detail={"because": route.because})
    for code in route.called:
        editing.record(EventKind.CALLED, detail={"unit_code": code, "because": route.because})
    editing.save()
    repo.link(transaction, incident.incident_id, ticket.ticket_id, now)
    _record_shares(transaction, ticket, route, now)
    return ticket.ticket_id


def _record_shares(transaction: Transaction, ticket: Ticket, route: Route, now: datetime) -> None:
    if route.unit_code is not None:
        dispatch_repo.assign(
            transaction,
            Share(ticket.ticket_id, route.unit_code, "owner", now, SYSTEM.name, route.because),
        )
    for code in route.called:
        dispatch_repo.assign(
            transaction, Share(ticket.ticket_id, code, "called", now, SYSTEM.name, route.because)
        )


def _named(incident: Incident) -> dict[str, Any]:
    return {"incident_id": str(incident.incident_id)}
