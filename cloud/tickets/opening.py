"""Opening a ticket, for whatever reason; and what an incident does: opens one, joins the open one, or tells it news."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from cloud.db import Transaction
from cloud.dispatch import repo as dispatch_repo
from cloud.dispatch.domain import Route
from cloud.dispatch.repo import Share
from cloud.incidents.domain import Change, Incident, leading
from cloud.severity.service import reconsider
from cloud.storm.service import because_of
from cloud.tickets import domain, repo, settling
from cloud.tickets.deciding import Asked, Decision, decide
from cloud.tickets.domain import Channel, EventKind, State, Ticket
from cloud.tickets.editing import SYSTEM, Editing
from cloud.tickets.settling import facts_of
from cloud.whistle.calling import call_unit
from common.runtime.clock import to_ms
from common.wire.ids import uuid7


def tell_tickets(transaction: Transaction, change: Change, now: datetime) -> UUID | None:
    """Apply what happened to an incident to its ticket; the matter's locks are held.

    Returns:
        The ticket, or None where the incident is worth none.
    """
    incident = change.incident
    if not incident.ticket_worthy:
        return None
    ticket = lock_ticket_of_incident(transaction, incident.incident_id)
    linked = None if ticket is None else ticket.ticket_id
    ticket = ticket or lock_open_ticket(transaction, incident.matter_id)
    if ticket is None:
        return _open(transaction, change, now)
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
        _raise(editing, incident.severity)
    _name_by_family(editing, change)
    reconsider(editing)
    settling.settle(editing, change)


def _raise(editing: Editing, severity: int) -> None:
    detail = {"from": editing.ticket.severity, "to": severity}
    editing.ticket.severity = severity
    editing.record(EventKind.SEVERITY_RAISED, detail=detail)


def _name_by_family(editing: Editing, change: Change) -> None:
    """Name a ticket by the leading category of what is seen of it, so that the order of hearing does not show."""
    ticket = editing.ticket
    named = leading(change.family, ticket.category, change.incident.category)
    if named != ticket.category:
        detail = _named(change.incident) | {"from": ticket.category, "to": named}
        ticket.category = named
        if ticket.channel in domain.BY_DEVICES:
            ticket.channel = domain.channel_of(named)
        editing.record(EventKind.CATEGORY_CHANGED, detail=detail)


def lock_ticket_of_incident(transaction: Transaction, incident_id: UUID) -> Ticket | None:
    """The ticket that an incident stands in, locked."""
    while (ticket_id := repo.ticket_of_incident(transaction, incident_id)) is not None:
        ticket = repo.lock(transaction, ticket_id)
        if ticket is None or ticket.state is not State.MERGED:
            return ticket
        # Merged while we waited for its row: the incident stands in the other one now.
    return None


def lock_open_ticket(transaction: Transaction, matter_id: int) -> Ticket | None:
    """The one open ticket of a matter, or the one it was merged into, locked; None where none is open."""
    while (ticket_id := repo.open_ticket_of_matter(transaction, matter_id)) is not None:
        ticket = repo.lock(transaction, ticket_id)
        if ticket is not None and ticket.state not in domain.NOT_OPEN:
            return ticket
        # Closed or merged while we waited for its row: look again.
    return None


@dataclass(frozen=True, slots=True)
class Opening:
    """What a new ticket is about.

    Attributes:
        matter_id: whose locks are held.
        category, channel, severity: of the matter.
        lon, lat: WGS-84 degrees.
        detail: what the history says of the reason.
        family: the categories that tell of this matter; who gets it and by when goes by the leading one, so that it
            does not depend on which of them came first.
        incidents: what devices saw of it.
        reports: how many people told of it.
        observed_at: when it was observed, where that is not long ago; None: it counts as of now.
    """

    matter_id: int
    category: str
    channel: Channel
    severity: int
    lon: float
    lat: float
    detail: Mapping[str, Any]
    family: tuple[str, ...] = ()
    incidents: tuple[UUID, ...] = ()
    reports: int = 0
    observed_at: datetime | None = None


def _open(transaction: Transaction, change: Change, now: datetime) -> UUID:
    incident = change.incident
    facts = facts_of(transaction, incident.incident_id)
    opening = Opening(
        incident.matter_id,
        incident.category,
        domain.channel_of(incident.category),
        facts.severity if facts else incident.severity,
        facts.lon if facts else incident.lon,
        facts.lat if facts else incident.lat,
        _named(incident),
        change.family,
        (incident.incident_id,),
        observed_at=facts.observed_at if facts else None,
    )
    ticket = open_ticket(transaction, opening, now)
    repo.link(transaction, incident.incident_id, ticket.ticket_id, now)
    if facts:
        settling.keep(transaction, ticket, facts)
    if incident.severity > ticket.severity:
        # Told of after its first minute: it is graver now, and still whose it was.
        editing = Editing(transaction, ticket, now)
        _raise(editing, incident.severity)
        editing.save()
    return ticket.ticket_id


def open_ticket(transaction: Transaction, opening: Opening, now: datetime) -> Ticket:
    """Open a ticket and give it to its owner; its matter has no open one, and the matter's locks are held."""
    asked = Asked(
        opening.category,
        opening.family[0] if opening.category in opening.family else opening.category,
        opening.severity,
        (opening.lon, opening.lat),
        opening.observed_at or now,
        opening.incidents,
        opening.reports,
    )
    decided = decide(transaction, asked)
    route, policy = decided.route, decided.policy
    count = repo.next_count(transaction, now.astimezone(domain.DISTRICT_ZONE).date())
    ticket = Ticket(
        ticket_id=uuid7(to_ms(now)),
        number=domain.ticket_number(now, count),
        matter_id=opening.matter_id,
        category=opening.category,
        channel=opening.channel,
        severity=decided.severity,
        state=State.OPEN,
        version=0,
        level=0,
        unit_code=decided.owner,
        unassigned=not decided.owned,
        grid_code=decided.units.get("grid"),
        lon=opening.lon,
        lat=opening.lat,
        policy=policy.snapshot(asked.at.astimezone(domain.DISTRICT_ZONE).date()),
        opened_at=now,
        dispatched_at=now if decided.owned else None,
    )
    editing = Editing(transaction, ticket, now, domain.clocks_at_opening(policy, now, owned=decided.owned))
    editing.record(EventKind.OPENED, detail={**opening.detail, "policy": policy.name})
    record_raises(editing, decided, opening.severity)
    _record_route(editing, route)
    editing.save()
    _record_shares(transaction, ticket, route, now)
    return ticket


def record_raises(editing: Editing, decided: Decision, told: int) -> None:
    """Say why a ticket is graver than what was told of it."""
    if decided.raised:
        editing.record(EventKind.SEVERITY_RAISED, detail=decided.raised.told(told))
    if decided.storm and decided.severity > decided.known:
        detail = {"from": decided.known, "to": decided.severity} | because_of(decided.storm)
        editing.record(EventKind.SEVERITY_RAISED, detail=detail)


def _record_route(editing: Editing, route: Route) -> None:
    if route.unit_code is not None:
        detail = {"unit_code": route.unit_code, "because": route.because}
        editing.record(EventKind.DISPATCHED, detail=detail, to_state=State.DISPATCHED)
    else:
        editing.record(EventKind.UNASSIGNED, detail={"because": route.because})
    for code in route.called:
        editing.record(EventKind.CALLED, detail={"unit_code": code, "because": route.because})


def _record_shares(transaction: Transaction, ticket: Ticket, route: Route, now: datetime) -> None:
    if route.unit_code is not None:
        dispatch_repo.assign(
            transaction,
            Share(ticket.ticket_id, route.unit_code, "owner", now, SYSTEM.name, route.because),
        )
    for code in route.called:
        call_unit(transaction, ticket, code, by=SYSTEM.name, because=route.because, now=now)


def _named(incident: Incident) -> dict[str, Any]:
    return {"incident_id": str(incident.incident_id)}
