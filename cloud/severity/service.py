"""Raising a ticket's severity by what is known of its matter: at its opening, with each news, and as time passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from cloud.db import Database, Transaction
from cloud.dispatch.domain import fits
from cloud.severity import repo
from cloud.severity.domain import Facts, Raised, SeverityRule, decide, places_near
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import NOT_OPEN, EventKind, Ticket
from cloud.tickets.editing import Editing
from common.wire.categories import BY_CODE

_BATCH = 200


def at_opening(
    transaction: Transaction,
    category: str,
    severity: int,
    place: tuple[float, float],
    *,
    incidents: Sequence[UUID] = (),
    reports: int = 0,
) -> Raised | None:
    """What raises a matter whose ticket is about to be opened.

    Args:
        transaction: the one that opens it.
        category: as it is told.
        severity: as it is told.
        place: longitude and latitude.
        incidents: what devices saw of it.
        reports: how many people told of it.
    """
    rules = _that_raise(repo.rules(transaction), severity)
    if not rules:
        return None
    facts = Facts(category, repo.seen(transaction, incidents), reports)
    return decide(rules, _placed(transaction, facts, place), severity)


def reconsider(editing: Editing, *, until: datetime | None = None) -> Raised | None:
    """Raise a ticket, whose row is locked, to what is known of it now; the caller saves it.

    Args:
        editing: the ticket.
        until: what goes on has lasted until then; None: until it was last heard of, so that nothing depends on when
            this is asked.
    """
    ticket = editing.ticket
    rules = _that_raise(repo.rules(editing.transaction), ticket.severity)
    if not rules or ticket.state in NOT_OPEN:
        return None
    raised = decide(rules, facts_of(editing.transaction, ticket, until), ticket.severity)
    if raised is not None:
        detail = raised.told(ticket.severity)
        ticket.severity = raised.rule.raise_to
        editing.record(EventKind.SEVERITY_RAISED, detail=detail)
    return raised


def facts_of(transaction: Transaction, ticket: Ticket, until: datetime | None = None) -> Facts:
    """What is known of an open ticket's matter."""
    incidents = repo.incidents_of(transaction, ticket.ticket_id)
    seen = repo.seen(transaction, incidents, until)
    facts = Facts(ticket.category, seen, repo.reports_of(transaction, ticket.ticket_id))
    return _placed(transaction, facts, (ticket.lon, ticket.lat))


def _placed(transaction: Transaction, facts: Facts, place: tuple[float, float]) -> Facts:
    codes = {facts.category, *(one.category for one in facts.seen)}
    return replace(facts, places=places_near(repo.places(transaction), codes, *place))


def raise_lasting(database: Database, now: datetime) -> int:
    """The sweeper's part: raise what has gone on for too long, although nothing new is heard of it.

    Returns:
        How many tickets were raised.

    Raises:
        TransientError: when the database is away.
    """
    with database.transaction() as transaction:
        rules = [rule for rule in repo.rules(transaction) if rule.lasts_s is not None]
    found: dict[UUID, None] = {}
    for rule in rules:
        codes = [code for code in BY_CODE if fits(rule.category, code)]
        after: UUID | None = None
        while True:
            since = now - timedelta(seconds=rule.lasts_s or 0)
            with database.transaction() as transaction:
                page = repo.lasting(transaction, rule, codes, since, (after, _BATCH))
            found |= dict.fromkeys(page)
            if len(page) < _BATCH:
                break
            after = page[-1]
    return sum(_raise(database, ticket_id, now) for ticket_id in found)


def _raise(database: Database, ticket_id: UUID, now: datetime) -> bool:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        if ticket is None or ticket.state in NOT_OPEN:
            return False
        editing = Editing(transaction, ticket, now)
        raised = reconsider(editing, until=now)
        editing.save()
        return raised is not None


def _that_raise(rules: Sequence[SeverityRule], severity: int) -> list[SeverityRule]:
    return [rule for rule in rules if rule.raise_to > severity]
