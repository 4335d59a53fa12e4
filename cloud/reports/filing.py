"""A report becomes work: it joins the open ticket of its matter, or opens one. All in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from cloud.db import Transaction
from cloud.db.database import take_locks
from cloud.geometry import box_around
from cloud.incidents import domain as incidents
from cloud.incidents import repo as incident_repo
from cloud.incidents.domain import FusionRule, Matter
from cloud.incidents.places import Places, choose_matter
from cloud.reports import repo
from cloud.reports.domain import ReportSettings, Suggestion, Told, certain, suggestions
from cloud.reports.repo import Link, NewReport
from cloud.severity.service import reconsider
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import NOT_OPEN, Action, EventKind, State, Ticket
from cloud.tickets.editing import SYSTEM, Actor, Editing
from cloud.tickets.opening import Opening, lock_open_ticket, open_ticket


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a report went."""

    ticket: Ticket
    attached: bool
    suggested: Sequence[Suggestion]


def place_report(
    transaction: Transaction,
    rules: Sequence[FusionRule],
    settings: ReportSettings,
    report: NewReport,
    *,
    places: Places,
    severity: int,
    actor: Actor,
    now: datetime,
) -> Placed:
    """Put a report where it belongs, and write it.

    The matter's place is locked as the workers lock it, so a report and an observation that come at one time do not
    open two tickets.
    """
    told = Told(report.category, report.lon, report.lat, report.occurred_at)
    rule = incidents.rule_for(incident_repo.rules_in_force(transaction, rules), report.category)
    radius_m, kept_under = rule.radius_m, incidents.matter_category(rule, report.category)
    take_locks(transaction, incidents.lock_names(kept_under, "", report.lon, report.lat, radius_m))
    reach_m = max(radius_m, settings.suggest_radius_m)
    while True:
        box = box_around(report.lon, report.lat, reach_m)
        near = repo.open_tickets_near(transaction, box)
        matter, place = _matter(transaction, places, told, kept_under, radius_m)
        sure = certain(told, near, radius_m, settings)
        ticket = _lock(transaction, sure) if sure else None
        if sure is None or ticket is not None:
            break
        # It was closed or merged while we waited for its row: look again.
    if ticket is None and matter is not None:
        ticket = lock_open_ticket(transaction, matter.matter_id)
    if ticket is not None:
        repo.insert(transaction, report, ticket.ticket_id)
        _attach(Editing(transaction, ticket, now), report, severity)
        _link(transaction, report, ticket.ticket_id, "attached", actor)
        return Placed(ticket, True, ())
    if matter is None:
        matter = incident_repo.new_matter(transaction, kept_under, "", place, now)
    opening = _opening(matter, rule, report, severity)
    ticket = open_ticket(transaction, opening, now)
    repo.insert(transaction, report, ticket.ticket_id)
    _link(transaction, report, ticket.ticket_id, "opened", actor)
    found = suggestions(told, near, settings)
    repo.suggest(transaction, report.report_id, found, now)
    return Placed(ticket, False, found)


def _matter(
    transaction: Transaction, places: Places, told: Told, category: str, radius_m: float
) -> tuple[Matter | None, tuple[float, float]]:
    box = box_around(told.lon, told.lat, 2 * radius_m)
    near = incident_repo.matters_near(transaction, category, box)
    return choose_matter(places, near, told.lon, told.lat, radius_m)


def _opening(matter: Matter, rule: FusionRule, report: NewReport, severity: int) -> Opening:
    return Opening(
        matter.matter_id,
        report.category,
        report.channel,  # type: ignore[arg-type] # every channel of a report is one of a ticket
        severity,
        report.lon,
        report.lat,
        named(report),
        rule.family,
        reports=1,
    )


def _attach(editing: Editing, report: NewReport, severity: int) -> None:
    ticket = editing.ticket
    editing.record(EventKind.REPORT_ATTACHED, detail=named(report))
    if severity > ticket.severity:
        detail = {"from": ticket.severity, "to": severity}
        ticket.severity = severity
        editing.record(EventKind.SEVERITY_RAISED, detail=detail)
    reconsider(editing)
    claimed_at = ticket.claimed_at
    if ticket.state is State.VERIFYING and claimed_at is not None and report.occurred_at > claimed_at:
        # Somebody who stands there says that it is not solved; no device's look says more.
        because = {"because": "reported again after the claim", **named(report)}
        editing.move(Action.REOPEN, SYSTEM, detail=because)
    editing.save()


def _lock(transaction: Transaction, ticket_id: UUID) -> Ticket | None:
    ticket = ticket_repo.lock(transaction, ticket_id)
    return None if ticket is None or ticket.state in NOT_OPEN else ticket


def _link(
    transaction: Transaction, report: NewReport, ticket_id: UUID, because: repo.Because, actor: Actor
) -> None:
    entry = Link(report.report_id, ticket_id, report.received_at, because, actor.actor_id, actor.name)
    repo.link(transaction, entry)


def named(report: NewReport) -> dict[str, Any]:
    """What a ticket's history says of a report: nothing that identifies who sent it."""
    return {"report_id": str(report.report_id), "receipt": report.receipt, "channel": report.channel}
