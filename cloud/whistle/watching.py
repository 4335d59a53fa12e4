"""The sweeper's part: who was called and did not come, who promised and did not keep it, and whom that is told.

Each is told once to the unit's lead, and the ticket goes one step up the ladder; as long as nothing changes it goes one
step further each day. The ticket's row is the lock, as for its clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cloud.db import Database
from cloud.sla.escalation import climb
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import FINAL, EventKind, State
from cloud.tickets.editing import Editing
from cloud.whistle import repo
from cloud.whistle.domain import WhistleSettings
from cloud.whistle.service import tell

_BATCH = 200
#: Nobody is blamed while a ticket rests, or while it is said to be done and is being checked.
_RESTS = frozenset({State.SUSPENDED, State.MERGED, State.RESOLVED, State.VERIFYING})
_LOOK_AGAIN = timedelta(minutes=15)


def follow_calls(database: Database, settings: WhistleSettings, now: datetime) -> int:
    """Look at calls and promises whose time has come; how many were missed, or go further up.

    Raises:
        TransientError: when the database is away.
    """
    with database.transaction() as transaction:
        calls = repo.due_calls(transaction, now, _BATCH)
        tasks = repo.due_tasks(transaction, now, _BATCH)
    told = sum(_look_at_call(database, settings, ticket_id, unit_code, now) for ticket_id, unit_code in calls)
    return told + sum(
        _look_at_task(database, settings, ticket_id, task_id, now) for ticket_id, task_id in tasks
    )


def _look_at_call(
    database: Database, settings: WhistleSettings, ticket_id: UUID, unit_code: str, now: datetime
) -> bool:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        call = repo.call_of(transaction, ticket_id, unit_code)
        if ticket is None or call is None or call.watch_at is None or call.watch_at > now:
            return False
        due_at = call.arrive_due_at
        detail = {"unit_code": unit_code, "due_at": "" if due_at is None else due_at.isoformat()}
        editing = Editing(transaction, ticket, now)

        def watch(again: datetime | None, missed: datetime | None) -> None:
            repo.watch_call(transaction, call, again, missed)

        first = call.missed_at is None
        return _late(
            editing, settings, (EventKind.CALL_MISSED, "call_late", unit_code), detail, watch, first=first
        )


def _look_at_task(
    database: Database, settings: WhistleSettings, ticket_id: UUID, task_id: UUID, now: datetime
) -> bool:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        task = repo.task(transaction, task_id)
        if ticket is None or task is None or task.watch_at is None or task.watch_at > now:
            return False
        detail = {
            "unit_code": task.unit_code,
            "task": task.what,
            "task_id": str(task_id),
            "due_at": task.due_at.isoformat(),
        }
        editing = Editing(transaction, ticket, now)

        def watch(again: datetime | None, missed: datetime | None) -> None:
            repo.watch_task(transaction, task, again, missed)

        first = task.missed_at is None
        return _late(
            editing, settings, (EventKind.TASK_MISSED, "task_due", task.unit_code), detail, watch, first=first
        )


def _late(
    editing: Editing,
    settings: WhistleSettings,
    what: tuple[EventKind, str, str],
    detail: dict[str, Any],
    watch: Callable[[datetime | None, datetime | None], None],
    *,
    first: bool,
) -> bool:
    """Write down and tell that something is late, and take the ticket a step up."""
    kind, notice, unit_code = what
    now = editing.now
    if editing.ticket.state in FINAL:
        watch(None, None)
        return False
    if editing.ticket.state in _RESTS:
        watch(now + _LOOK_AGAIN, None)
        return False
    if first:
        reason = f"{detail.get('task_id', unit_code)}:late"
        person = tell(editing, notice, unit_code, detail, reason, lead=True)
        editing.record(kind, detail=detail | {"person": person})
    higher = climb(editing, {"because": kind.value, "owed_by": unit_code})
    if higher is not None:
        editing.record(EventKind.ESCALATED, detail=higher)
    watch(now + timedelta(hours=settings.again_h) if higher is not None else None, now)
    editing.save()
    return first or higher is not None
