"""Merging tickets and splitting them again by hand: nothing is cancelled, nothing forgotten.

A merged ticket rests with its clocks stopped. What was promised for it now holds for the ticket that the work goes on
in: of two deadlines the earlier one. Its incidents and reports move there, so that devices and reporters of both are
asked whether it is solved; its units are called onto it. A split moves back exactly what the merge moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from cloud.auth.domain import Account
from cloud.auth.domain import Action as Right
from cloud.auth.roles import may_any
from cloud.db import Database, Transaction
from cloud.dispatch import repo as dispatch_repo
from cloud.errors import ConflictError, ForbiddenError, NotFoundError, StaleVersionError
from cloud.incidents import repo as incident_repo
from cloud.reports import repo
from cloud.reports.following import report_row
from cloud.reports.repo import Link, Merge
from cloud.severity.service import reconsider
from cloud.sla.domain import ClockName, Clocks
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import NOT_OPEN, Action, EventKind, State, Ticket
from cloud.tickets.editing import Actor, Editing
from cloud.tickets.opening import Opening, open_ticket
from cloud.whistle.calling import call_unit
from common.runtime.clock import Clock, to_datetime, to_ms
from common.runtime.errors import InvalidError
from common.wire.ids import uuid7


class MergeService:
    """Merging and splitting for the API.

    Args:
        database: where the tickets are.
        clock: what time it is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def merge(
        self, ticket_id: UUID, into: UUID, account: Account, note: str, expected_version: int | None = None
    ) -> None:
        """Let a ticket rest in another one, in which the work goes on.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or not at both places.
            StaleVersionError: somebody changed the first since it was read.
            ConflictError: the first is in no state to be merged, or the second is over or merged itself.
            InvalidError: both are the same.
        """
        if ticket_id == into:
            raise InvalidError(
                "ticket.merge_itself", "expected another ticket to merge into, got the same one"
            )
        now = self._now()

        def work(transaction: Transaction) -> None:
            ticket, other = _lock_both(transaction, ticket_id, into)
            for one in (ticket, other):
                _require(one, account, "merge")
            if expected_version is not None and expected_version != ticket.version:
                raise StaleVersionError(
                    "ticket.stale_version",
                    f"expected version {expected_version} of {ticket.number}, it is now {ticket.version}",
                    "read the ticket again and decide anew",
                )
            if other.state in NOT_OPEN:
                raise ConflictError(
                    "ticket.merge_into_closed",
                    f"expected an open ticket to merge into, {other.number} is {other.state.value!r}",
                    "merge into the one in which the work goes on",
                )
            _merge(transaction, ticket, other, _named(account), note=note, now=now)

        self._database.run(work)

    def split(self, ticket_id: UUID, merged: UUID, account: Account, note: str) -> None:
        """Let a merged ticket go its own way again, with what it brought.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or not at both places.
            ConflictError: it is not merged into this one, or this one is over.
        """
        now = self._now()

        def work(transaction: Transaction) -> None:
            other, ticket = _lock_both(transaction, ticket_id, merged)
            for one in (ticket, other):
                _require(one, account, "split")
            if ticket.merged_into != other.ticket_id:
                raise ConflictError(
                    "ticket.not_merged",
                    f"expected a ticket that is merged into {other.number}, {ticket.number} is not",
                    "the history of a merged ticket says which one it rests in",
                )
            _require_open(other)
            _split(transaction, ticket, other, _named(account), note=note, now=now)

        self._database.run(work)

    def split_reports(self, ticket_id: UUID, report_ids: Sequence[UUID], account: Account, note: str) -> UUID:
        """Give reports that are about something else a ticket of their own; its id.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or not at this place.
            ConflictError: the ticket is over, or a report does not stand in it.
        """
        now = self._now()

        def work(transaction: Transaction) -> UUID:
            ticket = _lock(transaction, ticket_id)
            _require(ticket, account, "split")
            _require_open(ticket)
            return _split_reports(
                transaction, ticket, sorted(set(report_ids)), _named(account), note=note, now=now
            )

        return self._database.run(work)

    def _now(self) -> datetime:
        return to_datetime(self._clock.now_ms())


def _merge(
    transaction: Transaction, ticket: Ticket, other: Ticket, actor: Actor, *, note: str, now: datetime
) -> None:
    leaving, staying = Editing(transaction, ticket, now), Editing(transaction, other, now)
    promised = leaving.clocks
    ticket.merged_into = other.ticket_id
    leaving.move(Action.MERGE, actor, note, {"into": str(other.ticket_id), "number": other.number})
    incidents = repo.move_incidents(transaction, ticket.ticket_id, other.ticket_id)
    reports = repo.move(transaction, ticket.ticket_id, other.ticket_id)
    _link(transaction, reports, other.ticket_id, "merged", actor, now=now)
    staying.clocks, moved = earlier_promises(staying.clocks, promised)
    detail: dict[str, Any] = {
        "merged": str(ticket.ticket_id),
        "number": ticket.number,
        "incidents": len(incidents),
        "reports": len(reports),
        "clocks": moved,
    }
    staying.record(EventKind.MERGED_IN, actor, note, detail)
    if ticket.severity > other.severity:
        raised = {"from": other.severity, "to": ticket.severity}
        other.severity = ticket.severity
        staying.record(EventKind.SEVERITY_RAISED, actor, detail=raised)
    reconsider(staying)
    _call(staying, ticket, actor)
    leaving.save()
    staying.save()
    merge = Merge(ticket.ticket_id, other.ticket_id, now, actor.name, note, incidents, reports)
    repo.insert_merge(transaction, merge)


def earlier_promises(clocks: Clocks, others: Clocks) -> tuple[Clocks, list[ClockName]]:
    """The clocks of a ticket that takes another in, with the earlier of two deadlines; the names that moved."""
    due = {clock.name: clock.due_at for clock in others if clock.state == "running"}
    moved = [
        clock.name
        for clock in clocks
        if clock.state == "running" and clock.name in due and due[clock.name] < clock.due_at
    ]
    changed = tuple(
        replace(clock, due_at=due[clock.name], version=clock.version + 1)
        if clock.state == "running" and clock.name in moved
        else clock
        for clock in clocks
    )
    return changed, moved


def _call(staying: Editing, ticket: Ticket, actor: Actor) -> None:
    """Departments that work on the merged ticket go on with it in the other one."""
    transaction, other = staying.transaction, staying.ticket
    units = ticket_repo.called_units(transaction, ticket.ticket_id)
    if ticket.unit_code is not None and not ticket.unassigned:
        units.append(ticket.unit_code)
    because = f"merged from {ticket.number}"
    for code in dict.fromkeys(units):
        if code == other.unit_code or dispatch_repo.unit_kind(transaction, code) != "department":
            continue
        if call_unit(transaction, other, code, by=actor.name, because=because, now=staying.now):
            staying.record(EventKind.CALLED, actor, detail={"unit_code": code, "because": because})


def _split(
    transaction: Transaction, ticket: Ticket, other: Ticket, actor: Actor, *, note: str, now: datetime
) -> None:
    merge = repo.merge_of(transaction, ticket.ticket_id)
    assert merge is not None, "a ticket that is merged has a merge"
    leaving, staying = Editing(transaction, ticket, now), Editing(transaction, other, now)
    incidents = repo.move_incidents(transaction, other.ticket_id, ticket.ticket_id, merge["incidents"])
    reports = repo.move(transaction, other.ticket_id, ticket.ticket_id, merge["reports"])
    _link(transaction, reports, ticket.ticket_id, "split", actor, now=now)
    leaving.move(Action.SPLIT, actor, note, {"from": str(other.ticket_id), "number": other.number})
    detail = {
        "split": str(ticket.ticket_id),
        "number": ticket.number,
        "incidents": len(incidents),
        "reports": len(reports),
    }
    staying.record(EventKind.SPLIT_OFF, actor, note, detail)
    leaving.save()
    staying.save()
    repo.note_split(transaction, merge["merge_id"], now, actor.name, note)


def _split_reports(
    transaction: Transaction, ticket: Ticket, ids: Sequence[UUID], actor: Actor, *, note: str, now: datetime
) -> UUID:
    rows = [report_row(transaction, one) for one in ids]
    if not rows or any(row["ticket_id"] != ticket.ticket_id for row in rows):
        raise ConflictError(
            "ticket.report_elsewhere",
            f"expected reports that stand in {ticket.number}, got {'none' if not rows else 'one that does not'}",
            "the report says in which ticket it stands",
        )
    first = min(rows, key=lambda row: (row["received_at"], row["report_id"]))
    lon, lat = first["lon"], first["lat"]
    # A matter of its own each time: by place it would be the one that a person says it is not, and one that was split
    # off before may rest, merged, in this very ticket.
    scope = f"split/{uuid7(to_ms(now))}"
    matter = incident_repo.new_matter(transaction, first["category"], scope, (lon, lat), now)
    detail = {"receipt": first["receipt"], "split_from": str(ticket.ticket_id), "number": ticket.number}
    opening = Opening(
        matter.matter_id, first["category"], first["channel"], ticket.severity, lon, lat, detail
    )
    opened = open_ticket(transaction, opening, now)
    moved = repo.move(transaction, ticket.ticket_id, opened.ticket_id, ids)
    _link(transaction, moved, opened.ticket_id, "split", actor, now=now)
    editing = Editing(transaction, ticket, now)
    left = {"into": str(opened.ticket_id), "number": opened.number, "reports": len(moved)}
    editing.record(EventKind.REPORTS_LEFT, actor, note, left)
    editing.save()
    return opened.ticket_id


def _link(
    transaction: Transaction,
    reports: Sequence[UUID],
    ticket_id: UUID,
    because: repo.Because,
    actor: Actor,
    *,
    now: datetime,
) -> None:
    for report_id in reports:
        entry = Link(report_id, ticket_id, now, because, actor.actor_id, actor.name)
        repo.link(transaction, entry)


def _lock(transaction: Transaction, ticket_id: UUID) -> Ticket:
    ticket = ticket_repo.lock(transaction, ticket_id)
    if ticket is None:
        raise NotFoundError("ticket.unknown", f"expected the id of a ticket, got {ticket_id}, which is none")
    return ticket


def _lock_both(transaction: Transaction, one: UUID, other: UUID) -> tuple[Ticket, Ticket]:
    """Always in one order, so that two merges of the same two never wait for each other."""
    locked = {ticket_id: _lock(transaction, ticket_id) for ticket_id in sorted((one, other))}
    return locked[one], locked[other]


def _require(ticket: Ticket, account: Account, right: Right) -> None:
    if not may_any(account, right, (ticket.unit_code, ticket.grid_code)):
        raise ForbiddenError(
            "ticket.forbidden",
            f"{account.name} ({account.role} of {account.unit_code}) may not {right!r} a ticket of"
            f" {ticket.unit_code or 'nobody'}",
            "ask a dispatcher of that unit, or of one above both",
        )


def _require_open(ticket: Ticket) -> None:
    if ticket.state in NOT_OPEN:
        raise ConflictError(
            "ticket.split_closed",
            f"expected a ticket whose work goes on, {ticket.number} is {ticket.state.value!r}",
            "what was merged into it was done with it"
            if ticket.state is not State.MERGED
            else "split it from the one that it rests in first",
        )


def _named(account: Account) -> Actor:
    return Actor(str(account.account_id), account.shown_name)
