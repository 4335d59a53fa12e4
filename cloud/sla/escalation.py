"""Calling out and escalating: who is told when a clock is missed, and who a step further up.

All of it happens in the transaction that holds the ticket's row: the line in the history, the new level and the
row for the sender are written together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from cloud.dispatch import repo as dispatch_repo
from cloud.duty import repo as duty
from cloud.duty.domain import Callee
from cloud.duty.repo import Notice
from cloud.sla import repo
from cloud.sla.domain import Clock, Escalate, Policy
from cloud.sla.ladder import next_rung
from cloud.sla.repo import Pending
from cloud.tickets.domain import EventKind
from cloud.tickets.editing import Editing

#: A unit that misses one of these has not answered: it is called out in person.
_ANSWERS = frozenset({"assign", "ack"})


def after_miss(editing: Editing, clock: Clock) -> None:
    """What a missed clock leads to: call out who did not answer, then escalate, at once or later."""
    if clock.name in _ANSWERS:
        _call_out(editing, clock)
    plan = Policy.from_snapshot(editing.ticket.policy).escalation_of(clock.name)
    if plan is None:
        return
    if plan.after_s:
        _put_off(editing, clock, plan.to, plan.after_s, plan.again_s)
    else:
        _climb_for(editing, clock, plan)


def go_on(editing: Editing, clock: Clock, pending: Pending) -> None:
    """Escalate what was put off, and once more later where the policy says so."""
    repo.drop_pending(editing.transaction, pending.ticket_id, pending.clock, pending.round)
    _climb_for(editing, clock, Escalate(pending.clock, pending.target, 0, pending.again_s))


def _climb_for(editing: Editing, clock: Clock, plan: Escalate) -> None:
    because = {"clock": clock.name, "round": clock.round, "because": "the clock was missed"}
    detail = climb(editing, because, plan.to)
    if detail is None:
        return
    editing.record(EventKind.ESCALATED, detail=detail)
    if plan.again_s is not None:
        _put_off(editing, clock, "", plan.again_s, plan.again_s)


def _put_off(editing: Editing, clock: Clock, target: str, wait_s: int, again_s: int | None) -> None:
    at = editing.now + timedelta(seconds=wait_s)
    pending = Pending(editing.ticket.ticket_id, clock.name, clock.round, target, at, again_s)
    repo.put_off(editing.transaction, pending)


def climb(editing: Editing, because: Mapping[str, Any], to: str = "") -> dict[str, Any] | None:
    """Take a ticket up the ladder and tell whoever stands there; the caller writes the line of the history.

    Args:
        editing: the ticket.
        because: what the history and the message say of the reason.
        to: the step by name; empty: the next one up.

    Returns:
        What the history says; None when there is no step further up.
    """
    ticket = editing.ticket
    place = dispatch_repo.place(editing.transaction, ticket.lon, ticket.lat)
    owner = None if ticket.unassigned else ticket.unit_code
    found = next_rung(repo.ladder(editing.transaction), ticket.level, place, owner, to)
    if found is None:
        return None
    rung, unit_code = found
    callee = duty.callee(editing.transaction, unit_code, editing.now, lead=rung.lead)
    detail = {
        **because,
        "level": rung.level,
        "step": rung.name,
        "step_zh": rung.name_zh,
        "step_en": rung.name_en,
        "unit_code": unit_code,
        "person": callee.person,
    }
    ticket.level = rung.level
    _tell(editing, "escalated", callee, detail, f"v{ticket.version + 1}")
    return detail


def _call_out(editing: Editing, clock: Clock) -> None:
    unit_code = editing.ticket.unit_code
    if unit_code is None:
        return
    callee = duty.callee(editing.transaction, unit_code, editing.now)
    detail = {
        "clock": clock.name,
        "round": clock.round,
        "unit_code": unit_code,
        "person": callee.person,
        "found_by": callee.how,
    }
    editing.record(EventKind.CALLED_OUT, detail=detail)
    _tell(editing, "call_out", callee, detail, f"{clock.name}:{clock.round}")


def remind_of_review(editing: Editing, times: int) -> None:
    """Tell the owner and the district's supervisors that a review date has passed; the clocks stay stopped."""
    ticket = editing.ticket
    review_at = "" if ticket.review_at is None else ticket.review_at.isoformat()
    place = dispatch_repo.place(editing.transaction, ticket.lon, ticket.lat)
    units = dict.fromkeys(code for code in (ticket.unit_code, place.get("centre")) if code is not None)
    detail = {"review_at": review_at, "times": times, "told": list(units)}
    for code in units:
        callee = duty.callee(editing.transaction, code, editing.now)
        _tell(editing, "review_due", callee, detail, f"{review_at}:{times}:{code}")
    editing.record(EventKind.REVIEW_DUE, detail=detail)


def _tell(editing: Editing, kind: Any, callee: Callee, detail: Mapping[str, Any], reason: str) -> None:
    ticket = editing.ticket
    payload = {
        "ticket_id": str(ticket.ticket_id),
        "number": ticket.number,
        "category": ticket.category,
        "severity": ticket.severity,
        "owner": ticket.unit_code,
        "lon": ticket.lon,
        "lat": ticket.lat,
        **detail,
    }
    notice = Notice(kind, callee, payload, f"{kind}:{ticket.ticket_id}:{reason}", editing.now)
    duty.notify(editing.transaction, notice, editing.now)
