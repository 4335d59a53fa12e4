"""What called units do: come, confer, keep what they promised; and advisers who are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from cloud.auth.domain import Account, Action
from cloud.auth.roles import may_any
from cloud.db import Database, Transaction
from cloud.duty import repo as duty
from cloud.duty.repo import Notice
from cloud.errors import ConflictError, ForbiddenError, NotFoundError
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import NOT_OPEN, EventKind, Ticket
from cloud.tickets.editing import Actor, Editing
from cloud.whistle import repo
from cloud.whistle.domain import Arrival, Promise, WhistleSettings, check_arrival, check_conference
from cloud.whistle.repo import Arrived, NewConference, NewTask
from common.runtime.clock import Clock, to_datetime, to_ms
from common.runtime.errors import InvalidError
from common.wire.ids import uuid7

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Conference:
    """What is written down of a conference."""

    held_at: datetime
    present: Sequence[str]
    findings: str
    decision: str
    promises: Sequence[Promise]


class WhistleService:
    """Calls, conferences and advice for the API and the console.

    Args:
        database: where they are.
        clock: what time it is.
        settings: what counts as being there.
    """

    def __init__(self, database: Database, clock: Clock, settings: WhistleSettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings

    def read(self, ticket_id: UUID) -> dict[str, Any]:
        """Everything of a ticket: ``calls``, ``conferences`` with their ``tasks``, ``advice``.

        Raises:
            NotFoundError: no such ticket.
        """
        with self._database.transaction() as transaction:
            if not ticket_repo.summaries(transaction, ticket_id=ticket_id):
                raise _unknown(ticket_id)
            return everything(transaction, ticket_id)

    def arrive(
        self, ticket_id: UUID, unit_code: str, account: Account, arrival: tuple[float, float, datetime | None]
    ) -> dict[str, Any]:
        """A called unit reports that it is there; the same report again changes nothing.

        Args:
            ticket_id: which ticket.
            unit_code: which called unit.
            account: who reports.
            arrival: where, in WGS-84 degrees, and when; None: now.

        Raises:
            NotFoundError: no such ticket, or the unit was not called onto it.
            ForbiddenError: not this unit's account, or not with this role.
            InvalidError: too far away, or at an impossible time.
        """

        def work(editing: Editing) -> None:
            _require(account, "arrive", [unit_code], "report an arrival")
            call = repo.call_of(editing.transaction, ticket_id, unit_code)
            if call is None:
                raise NotFoundError(
                    "whistle.not_called",
                    f"expected a unit that was called onto the ticket, got {unit_code!r}",
                )
            if call.arrived_at is not None:
                return
            lon, lat, told_at = arrival
            at, ticket = told_at or editing.now, editing.ticket
            checked = Arrival(lon, lat, at)
            distance = check_arrival(
                checked, (ticket.lon, ticket.lat), call.assigned_at, editing.now, self._settings
            )
            arrived = Arrived(
                call.assignment_id, at, editing.now, account.shown_name, lon, lat, round(distance, 1)
            )
            repo.note_arrival(editing.transaction, arrived)
            late = call.arrive_due_at is not None and at > call.arrive_due_at
            detail = {
                "unit_code": unit_code,
                "at": at.isoformat(),
                "distance_m": arrived.distance_m,
                "late": late,
            }
            editing.record(EventKind.CALL_ARRIVED, _actor(account), detail=detail)

        return self._with(ticket_id, work)

    def confer(self, ticket_id: UUID, account: Account, told: Conference) -> dict[str, Any]:
        """Write down a conference and who owes what by when; each of them is told.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or not at this place.
            ConflictError: the ticket has ended.
            InvalidError: it cannot have been so, or a promise cannot be kept.
        """

        def work(editing: Editing) -> None:
            transaction, ticket, now = editing.transaction, editing.ticket, editing.now
            _require(account, "call", _whose(ticket), "write down a conference")
            _require_open(ticket)
            named = {*told.present, *(promise.unit_code for promise in told.promises)}
            units = repo.known_units(transaction, named)
            check_conference(told.held_at, told.present, told.promises, units, now)
            conference = NewConference(
                conference_id=uuid7(to_ms(now)),
                ticket_id=ticket_id,
                held_at=told.held_at,
                recorded_at=now,
                account_id=account.account_id,
                recorded_by=account.shown_name,
                present=list(dict.fromkeys(told.present)),
                findings=told.findings,
                decision=told.decision,
            )
            tasks = [
                NewTask(
                    uuid7(to_ms(now)),
                    conference.conference_id,
                    ticket_id,
                    n,
                    one.unit_code,
                    one.what,
                    one.due_at,
                )
                for n, one in enumerate(told.promises, start=1)
            ]
            repo.add_conference(transaction, conference, tasks)
            detail = {
                "conference_id": str(conference.conference_id),
                "present": conference.present,
                "tasks": [
                    {"unit_code": one.unit_code, "what": one.what, "due_at": one.due_at.isoformat()}
                    for one in tasks
                ],
            }
            editing.record(EventKind.CONFERRED, _actor(account), told.decision, detail)
            for one in tasks:
                payload = {"task": one.what, "due_at": one.due_at.isoformat(), "task_id": str(one.task_id)}
                tell(editing, "task", one.unit_code, payload, str(one.task_id))

        return self._with(ticket_id, work)

    def finish(self, ticket_id: UUID, task_id: UUID, account: Account, note: str) -> dict[str, Any]:
        """A promise is kept.

        Raises:
            NotFoundError: no such ticket, or no such promise of it.
            ForbiddenError: not by this account.
            ConflictError: it was kept before.
        """

        def work(editing: Editing) -> None:
            task = repo.task(editing.transaction, task_id)
            owing = [] if task is None else [task.unit_code]
            _require(account, "resolve", [*owing, *_whose(editing.ticket)], "say that it is done")
            if task is None or task.ticket_id != ticket_id:
                raise NotFoundError(
                    "whistle.unknown_task", f"expected a promise of the ticket, got {task_id}"
                )
            if not repo.finish_task(editing.transaction, task_id, account.shown_name, note, editing.now):
                raise ConflictError(
                    "whistle.task_done", "expected what is still owed, got what was done before"
                )
            detail = {
                "unit_code": task.unit_code,
                "task": task.what,
                "task_id": str(task_id),
                "late": task.missed_at is not None or editing.now > task.due_at,
            }
            editing.record(EventKind.TASK_DONE, _actor(account), note, detail)

        return self._with(ticket_id, work)

    def ask(
        self, ticket_id: UUID, account: Account, adviser: str, unit_code: str, question: str
    ) -> dict[str, Any]:
        """Ask an adviser; whoever is on duty for the unit that the adviser is reached through is told.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or not at this place.
            ConflictError: the ticket has ended.
            InvalidError: there is no such unit.
        """

        def work(editing: Editing) -> None:
            transaction = editing.transaction
            called = ticket_repo.called_units(transaction, ticket_id)
            _require(account, "note", [*_whose(editing.ticket), *called], "ask an adviser")
            _require_open(editing.ticket)
            if unit_code not in repo.known_units(transaction, [unit_code]):
                raise InvalidError(
                    "ticket.unknown_unit", f"expected the code of a unit, got {unit_code!r}, which is none"
                )
            advice_id = uuid7(to_ms(editing.now))
            asked = {
                "adviser": adviser,
                "unit_code": unit_code,
                "question": question,
                "by": account.shown_name,
            }
            repo.ask(transaction, advice_id, ticket_id, asked, editing.now)
            detail = {"adviser": adviser, "unit_code": unit_code, "advice_id": str(advice_id)}
            editing.record(EventKind.ADVISER_ASKED, _actor(account), question, detail)
            payload = {"adviser": adviser, "note": f"{adviser}: {question}", "advice_id": str(advice_id)}
            tell(editing, "adviser_asked", unit_code, payload, str(advice_id))

        return self._with(ticket_id, work)

    def answer(self, ticket_id: UUID, advice_id: UUID, account: Account, text: str) -> dict[str, Any]:
        """Write down what an adviser said.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not by this account.
            ConflictError: there is no such question, or it has its answer.
        """

        def work(editing: Editing) -> None:
            transaction = editing.transaction
            asked = next(
                (one for one in repo.advice(transaction, ticket_id) if one["advice_id"] == advice_id), None
            )
            called = ticket_repo.called_units(transaction, ticket_id)
            through = [] if asked is None else [asked["unit_code"]]
            _require(account, "note", [*through, *_whose(editing.ticket), *called], "answer for an adviser")
            if asked is None:
                raise NotFoundError(
                    "whistle.unknown_question", f"expected a question of the ticket, got {advice_id}"
                )
            said = {"text": text, "by": account.shown_name}
            if not repo.answer(transaction, advice_id, ticket_id, now=editing.now, **said):
                raise ConflictError(
                    "whistle.answered", "expected a question without an answer, got one that has it"
                )
            detail = {"adviser": asked["adviser"], "advice_id": str(advice_id)}
            editing.record(EventKind.ADVISER_ANSWERED, _actor(account), text, detail)

        return self._with(ticket_id, work)

    def _with(self, ticket_id: UUID, work: Callable[[Editing], None]) -> dict[str, Any]:
        def all_of_it(transaction: Transaction) -> dict[str, Any]:
            ticket = ticket_repo.lock(transaction, ticket_id)
            if ticket is None:
                raise _unknown(ticket_id)
            editing = Editing(transaction, ticket, to_datetime(self._clock.now_ms()))
            work(editing)
            editing.save()
            return everything(transaction, ticket_id)

        return self._database.run(all_of_it)


def tell(
    editing: Editing, kind: Any, unit_code: str, what: dict[str, Any], reason: str, *, lead: bool = False
) -> str:
    """Tell a unit something about a ticket; the name of the person."""
    ticket = editing.ticket
    callee = duty.callee(editing.transaction, unit_code, editing.now, lead=lead)
    payload = {
        "ticket_id": str(ticket.ticket_id),
        "number": ticket.number,
        "category": ticket.category,
        "severity": ticket.severity,
        "owner": ticket.unit_code,
        "lon": ticket.lon,
        "lat": ticket.lat,
        **what,
    }
    notice = Notice(kind, callee, payload, f"{kind}:{ticket.ticket_id}:{reason}", editing.now)
    duty.notify(editing.transaction, notice, editing.now)
    return callee.person


def everything(transaction: Transaction, ticket_id: UUID) -> dict[str, Any]:
    """A ticket's ``calls``, ``conferences`` with their ``tasks``, and ``advice``."""
    tasks = repo.tasks(transaction, ticket_id)
    return {
        "calls": repo.calls(transaction, ticket_id),
        "conferences": [
            row | {"tasks": [one for one in tasks if one["conference_id"] == row["conference_id"]]}
            for row in repo.conferences(transaction, ticket_id)
        ],
        "advice": repo.advice(transaction, ticket_id),
    }


def _whose(ticket: Ticket) -> list[str]:
    """The owner's unit and the place's."""
    return [code for code in (ticket.unit_code, ticket.grid_code) if code is not None]


def _require(account: Account, action: Action, places: Sequence[str], what: str) -> None:
    if not may_any(account, action, places):
        raise ForbiddenError(
            "ticket.forbidden",
            f"{account.name} ({account.role} of {account.unit_code}) may not {what} for {', '.join(places)}",
            "ask somebody of that unit, or of one above it",
        )


def _require_open(ticket: Ticket) -> None:
    if ticket.state in NOT_OPEN:
        raise ConflictError(
            "whistle.over", f"expected a ticket that is worked on, {ticket.number} is {ticket.state.value!r}"
        )


def _actor(account: Account) -> Actor:
    return Actor(str(account.account_id), account.shown_name)


def _unknown(ticket_id: UUID) -> NotFoundError:
    return NotFoundError("ticket.unknown", f"expected the id of a ticket, got {ticket_id}, which is none")
