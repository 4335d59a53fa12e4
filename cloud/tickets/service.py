"""What people do with tickets: read them, act on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from cloud.auth.domain import Account
from cloud.auth.roles import may
from cloud.db import Database, Transaction
from cloud.dispatch import repo as dispatch_repo
from cloud.dispatch.repo import Share
from cloud.errors import ConflictError, ForbiddenError, NotFoundError, StaleVersionError
from cloud.paging import decode_cursor, encode_cursor
from cloud.recurring.reading import recurring_of
from cloud.sla import repo as clock_repo
from cloud.sla.domain import Clocks, Policy
from cloud.sla.escalation import climb
from cloud.tickets import domain, repo
from cloud.tickets.domain import Action, EventKind, Ground, Ticket
from cloud.tickets.editing import SYSTEM, Actor, Editing
from cloud.tickets.schemas import (
    ActionRequest,
    Assignment,
    Clock,
    Event,
    EvidenceRef,
    LinkedIncident,
    SeverityReason,
    TicketDetail,
    TicketFilters,
    TicketPage,
    TicketReport,
    TicketSummary,
)
from cloud.verify.photos import accept
from cloud.whistle.calling import call_unit
from common.runtime.clock import Clock as WallClock
from common.runtime.clock import to_datetime
from common.runtime.errors import InvalidError

_NO_FILTERS = TicketFilters()


class TicketService:
    """Tickets for the API and the console.

    Args:
        database: where they are.
        clock: what time it is.
    """

    def __init__(self, database: Database, clock: WallClock) -> None:
        self._database = database
        self._clock = clock

    def list_tickets(self, filters: TicketFilters = _NO_FILTERS, cursor: str | None = None) -> TicketPage:
        """A page of tickets, newest first.

        Raises:
            InvalidError: when the cursor is not one of ours.
        """
        before = None if cursor is None else decode_cursor(cursor)
        with self._database.transaction() as transaction:
            rows = repo.summaries(transaction, filters, before, extra=1)
        items = tuple(TicketSummary.model_validate(row) for row in rows[: filters.limit])
        more = len(rows) > filters.limit
        return TicketPage(
            items=items,
            next_cursor=encode_cursor(items[-1].opened_at, items[-1].ticket_id) if more else None,
        )

    def get_ticket(self, ticket_id: UUID) -> TicketDetail:
        """Everything about a ticket.

        Raises:
            NotFoundError: when there is none.
        """
        with self._database.transaction() as transaction:
            return self._detail(transaction, ticket_id)

    def act(
        self,
        ticket_id: UUID,
        action: Action,
        actor: Account,
        *,
        note: str = "",
        expected_version: int | None = None,
        unit_code: str | None = None,
        review_at: datetime | None = None,
    ) -> TicketDetail:
        """Do something to a ticket.

        Args:
            ticket_id: which.
            action: what.
            actor: who.
            note: why; some actions need it.
            expected_version: what the actor saw; None does not ask.
            unit_code: for dispatch, transfer and call.
            review_at: for suspend.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or not at this place.
            StaleVersionError: somebody changed it since.
            ConflictError: its state does not allow it.
            InvalidError: the note or the unit is missing, or there is no such unit.
        """

        def work(transaction: Transaction) -> TicketDetail:
            ticket = repo.lock(transaction, ticket_id)
            if ticket is None:
                raise _no_such_ticket(ticket_id)
            _require_allowed(transaction, ticket, action, actor)
            if expected_version is not None and expected_version != ticket.version:
                raise StaleVersionError(
                    "ticket.stale_version",
                    f"expected version {expected_version} of {ticket.number}, it is now {ticket.version}",
                    "read the ticket again and decide anew",
                )
            domain.next_state(ticket.state, action, ticket.resumes_to)
            domain.check_request(action, note, unit_code, by_person=True)
            editing = Editing(transaction, ticket, to_datetime(self._clock.now_ms()))
            request = ActionRequest(action=action, note=note, unit_code=unit_code, review_at=review_at)
            _carry_out(editing, request, actor)
            editing.save()
            return self._detail(transaction, ticket_id)

        return self._database.run(work)

    def _detail(self, transaction: Transaction, ticket_id: UUID) -> TicketDetail:
        rows = repo.summaries(transaction, ticket_id=ticket_id)
        if not rows:
            raise _no_such_ticket(ticket_id)
        incidents = repo.linked_incidents(transaction, ticket_id)
        hashes = [picture["sha256"] for row in incidents for picture in row["evidence"]]
        arrived = repo.arrived_evidence(transaction, hashes) if hashes else set()
        told = repo.events(transaction, ticket_id)
        clocks = clock_repo.clocks_of(transaction, ticket_id)
        policy = Policy.from_snapshot(rows[0]["policy"])
        rung = next((one for one in clock_repo.ladder(transaction) if one.level == rows[0]["level"]), None)
        return TicketDetail.model_validate(
            rows[0]
            | {
                "actions": domain.allowed_actions(domain.State(rows[0]["state"])),
                "events": [Event.model_validate(row) for row in told],
                "severity_reasons": severity_reasons(told),
                "recurring": recurring_of(transaction, ticket_id),
                "level_zh": rung.name_zh if rung else "",
                "level_en": rung.name_en if rung else "",
                "calendar_gaps": _gaps(policy, clocks),
                "clocks": [Clock.model_validate(clock, from_attributes=True) for clock in clocks],
                "assignments": [
                    Assignment.model_validate(row) for row in repo.assignments(transaction, ticket_id)
                ],
                "reports": [TicketReport.model_validate(row) for row in repo.reports(transaction, ticket_id)],
                "linked_incidents": [
                    LinkedIncident.model_validate(
                        row | {"evidence": [_picture(picture, arrived) for picture in row["evidence"]]}
                    )
                    for row in incidents
                ],
            }
        )


def severity_reasons(events: Iterable[Mapping[str, Any]]) -> list[SeverityReason]:
    """Why a ticket's severity rose, by its history."""
    return [
        SeverityReason(
            at=event["at"],
            before=event["detail"]["from"],
            after=event["detail"]["to"],
            because=event["detail"].get("because", "told"),
            rule=event["detail"].get("rule", ""),
            facts=event["detail"].get("facts"),
        )
        for event in events
        if event["kind"] == EventKind.SEVERITY_RAISED
    ]


def _gaps(policy: Policy, clocks: Clocks) -> list[int]:
    """The years that the clocks run through and whose holidays nobody had published at the opening."""
    if policy.calendar is None:
        return []
    calendar = policy.calendar
    return sorted({year for clock in clocks for year in calendar.gaps(clock.started_at, clock.due_at)})


def _no_such_ticket(ticket_id: UUID) -> NotFoundError:
    return NotFoundError("ticket.unknown", f"expected the id of a ticket, got {ticket_id}, which is none")


def _require_allowed(transaction: Transaction, ticket: Ticket, action: Action, actor: Account) -> None:
    if domain.TRANSITIONS[action].by_system:
        return  # refused for everybody, by the table, with a better reason
    places = [ticket.unit_code]
    if action in domain.BY_PLACE:
        places.append(ticket.grid_code)
    if action in domain.BY_CALLED:
        places += repo.called_units(transaction, ticket.ticket_id)
    if not any(may(actor, action.value, code) for code in places if code is not None):  # type: ignore[arg-type]
        raise ForbiddenError(
            "ticket.forbidden",
            f"{actor.name} ({actor.role} of {actor.unit_code}) may not {action.value!r} a ticket of"
            f" {ticket.unit_code or 'nobody'}",
            "ask somebody of that unit, or of one above it",
        )


def _carry_out(editing: Editing, request: ActionRequest, account: Account) -> None:
    action, detail = request.action, dict[str, Any]()
    actor = Actor(str(account.account_id), account.shown_name)
    if request.unit_code is not None and domain.TRANSITIONS[action].needs_unit:
        _assign(editing, request, request.unit_code, actor)
        detail["unit_code"] = request.unit_code
    if action is Action.SUSPEND:
        editing.ticket.review_at = _review_at(request, editing.now)
        detail["review_at"] = editing.ticket.review_at.isoformat()
    if action is Action.ESCALATE:
        detail |= _climb(editing)
    ground = None
    if action is Action.ACCEPT:
        detail |= accept(editing, account)
        ground = Ground.PHOTO
    elif action is Action.CONFIRM:
        ground = Ground.OVERRIDE
    editing.move(action, actor, request.note, detail, ground=ground)
    if action is Action.RESOLVE:
        # A claim is looked into at once; nothing rests in `resolved`.
        editing.move(Action.VERIFY, SYSTEM)


def _climb(editing: Editing) -> dict[str, Any]:
    detail = climb(editing, {"because": "by hand"})
    if detail is None:
        raise ConflictError(
            "ticket.top_level",
            "expected a step further up the ladder, found none above where the ticket stands",
            "whoever stands at the top decides; write a note",
        )
    return detail


def _review_at(request: ActionRequest, now: datetime) -> datetime:
    at = request.review_at
    if at is None or at.tzinfo is None or at <= now:
        raise InvalidError(
            "ticket.review_missing",
            f"expected a review_at in the future, with its zone, for 'suspend', got {at}",
            "a suspension says when somebody looks at it again",
        )
    return at


def _assign(editing: Editing, request: ActionRequest, unit_code: str, actor: Actor) -> None:
    ticket, action = editing.ticket, request.action
    kind = dispatch_repo.unit_kind(editing.transaction, unit_code)
    if kind is None:
        raise InvalidError(
            "ticket.unknown_unit", f"expected the code of a unit, got {unit_code!r}, which is none"
        )
    part: Literal["owner", "called"] = "called" if action is Action.CALL else "owner"
    if part == "called" and kind != "department":
        raise InvalidError(
            "ticket.not_a_department", f"expected a department to call, got {unit_code!r}, a {kind}"
        )
    if action is Action.TRANSFER and unit_code == ticket.unit_code:
        raise InvalidError("ticket.same_unit", f"{unit_code!r} owns the ticket already")
    if part == "owner":
        ticket.unit_code = unit_code
        share = Share(ticket.ticket_id, unit_code, part, editing.now, actor.name, request.note)
        dispatch_repo.assign(editing.transaction, share)
        return
    if not call_unit(
        editing.transaction, ticket, unit_code, by=actor.name, because=request.note, now=editing.now
    ):
        raise InvalidError("ticket.already_called", f"{unit_code!r} was called onto the ticket already")


def _picture(picture: Mapping[str, Any], arrived: set[str]) -> EvidenceRef:
    sha256 = picture["sha256"]
    return EvidenceRef(
        sha256=sha256,
        media_type=picture["media_type"],
        width=picture["width"],
        height=picture["height"],
        captured_at=to_datetime(picture["captured_at"]),
        arrived=sha256 in arrived,
        url=f"/api/evidence/{sha256}",
    )
