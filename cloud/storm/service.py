"""Beginning and ending storms, by rule and by hand, and raising what is open while one lasts."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cloud.auth.domain import Account
from cloud.auth.roles import may
from cloud.db import Database, Transaction
from cloud.duty import repo as duty
from cloud.duty.repo import Notice
from cloud.errors import ConflictError, ForbiddenError, NotFoundError
from cloud.storm import repo
from cloud.storm.domain import Plan, Storm, codes
from cloud.storm.repo import NewEvent
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import NOT_OPEN, EventKind
from cloud.tickets.editing import SYSTEM, Actor, Editing
from common.runtime.clock import Clock, to_datetime, to_ms
from common.runtime.errors import InvalidError
from common.wire.categories import BY_CODE
from common.wire.ids import uuid7

_BATCH = 200
_KEPT = 50
_AREAS = ("centre", "street", "community")


class StormService:
    """Storms for the API and the console.

    Args:
        database: where they are.
        clock: what time it is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def list_storms(self) -> tuple[list[Storm], list[dict[str, Any]]]:
        """Those that go on and the last ones, newest first, and their histories."""
        with self._database.transaction() as transaction:
            going_on = repo.going_on(transaction)
            known = {storm.storm_id for storm in going_on}
            storms = going_on[::-1] + [
                storm for storm in repo.newest(transaction, _KEPT) if storm.storm_id not in known
            ]
            return storms, repo.events(transaction, [storm.storm_id for storm in storms])

    def going_on(self) -> list[Storm]:
        """Those that go on."""
        with self._database.transaction() as transaction:
            return repo.going_on(transaction)

    def begin(
        self,
        account: Account,
        unit_code: str,
        reason: str,
        ends_at: datetime | None,
        began_at: datetime | None,
    ) -> Storm:
        """Begin one by hand.

        Args:
            account: who.
            unit_code: the area, a community or above.
            reason: why.
            ends_at: when it ends by itself; None: when somebody ends it.
            began_at: since when, if not now.

        Raises:
            ForbiddenError: not with this role, or not there.
            InvalidError: no such area, a beginning in the future, an end in the past.
            ConflictError: one goes on there, or the district plans nothing for storms.
        """
        now = to_datetime(self._clock.now_ms())
        _require(account, unit_code)
        _check_times(now, began_at, ends_at)
        actor = Actor(str(account.account_id), account.shown_name)
        storm = Storm(
            uuid7(to_ms(now)), unit_code, False, began_at or now, actor.name, reason.strip(), ends_at
        )

        def work(transaction: Transaction) -> Storm:
            if repo.unit_kind(transaction, unit_code) not in _AREAS:
                raise InvalidError(
                    "storm.unknown_area",
                    f"expected the code of a centre, street or community, got {unit_code!r}",
                )
            if repo.plan(transaction) is None:
                raise ConflictError(
                    "storm.no_plan",
                    "expected a section 'storm' in the district's file, which says what a storm does; found none",
                    "add it and load the district again",
                )
            if not _begin(transaction, storm, actor, now):
                raise ConflictError("storm.going_on", f"a storm goes on in {unit_code!r} already")
            return storm

        return self._database.run(work)

    def end(self, account: Account, storm_id: UUID, reason: str) -> Storm:
        """End one by hand; the severity of its tickets stays.

        Raises:
            NotFoundError: there is no such storm.
            ForbiddenError: not with this role, or not there.
            ConflictError: it has ended.
        """
        now = to_datetime(self._clock.now_ms())

        def work(transaction: Transaction) -> Storm:
            storm = repo.one(transaction, storm_id)
            if storm is None:
                raise NotFoundError("storm.unknown", f"expected the id of a storm, got {storm_id}")
            _require(account, storm.unit_code)
            actor = Actor(str(account.account_id), account.shown_name)
            if not _end(transaction, storm, actor, reason.strip(), now):
                raise ConflictError("storm.over", "this storm has ended already")
            ended = repo.one(transaction, storm_id)
            assert ended is not None
            return ended

        return self._database.run(work)


def _require(account: Account, unit_code: str) -> None:
    if not may(account, "storm", unit_code):
        raise ForbiddenError(
            "storm.forbidden",
            f"{account.name} ({account.role} of {account.unit_code}) may not declare a storm in {unit_code!r}",
            "ask a supervisor of that unit, or of one above it",
        )


def _check_times(now: datetime, began_at: datetime | None, ends_at: datetime | None) -> None:
    if began_at is not None and began_at > now:
        raise InvalidError(
            "storm.begins_in_future",
            f"expected a beginning that has been, got {began_at.isoformat()}",
            "leave it out to begin now",
        )
    if ends_at is not None and ends_at <= now:
        raise InvalidError(
            "storm.ends_in_past",
            f"expected an end to come, got {ends_at.isoformat()}",
            "leave it out where nobody knows",
        )


def follow(database: Database, now: datetime) -> int:
    """The sweeper's part: begin and end by rule, end what has reached its end, raise what is open.

    What a storm is stands in its row, so a restart changes nothing; the database lets one of two begin or end it.

    Returns:
        How many storms began or ended.

    Raises:
        TransientError: when the database is away.
    """
    with database.transaction() as transaction:
        plan = repo.plan(transaction)
        storms = repo.going_on(transaction)
        changed = sum(
            _end(transaction, storm, SYSTEM, "its time is over", now)
            for storm in storms
            if storm.ends_at is not None and storm.ends_at <= now
        )
        if plan is not None and plan.rule_categories:
            changed += _by_rule(transaction, plan, storms, now)
    if plan is not None:
        raise_open(database, plan, now)
    return changed


def _by_rule(transaction: Transaction, plan: Plan, storms: Collection[Storm], now: datetime) -> int:
    counted = codes(plan.rule_categories, BY_CODE)
    changed = 0
    if any(storm.by_rule for storm in storms):
        busy = repo.areas_busy(transaction, counted, now - timedelta(seconds=plan.rule_quiet_s))
        quiet = f"no incident for {plan.rule_quiet_s // 60} min"
        for storm in storms:
            if storm.by_rule and storm.unit_code not in busy:
                changed += _end(transaction, storm, SYSTEM, quiet, now)
    going_on = {storm.unit_code for storm in storms}
    since = now - timedelta(seconds=plan.rule_within_s)
    for code, incidents in repo.areas_over(transaction, counted, since, plan.rule_area, plan.rule_incidents):
        if code not in going_on:
            reason = f"{incidents} incidents within {plan.rule_within_s // 60} min"
            storm = Storm(uuid7(to_ms(now)), code, True, now, SYSTEM.name, reason)
            changed += _begin(transaction, storm, SYSTEM, now)
    return changed


def raise_open(database: Database, plan: Plan, now: datetime) -> int:
    """Raise the severity of open tickets that lie in a storm and are of its categories; how many."""
    raised = 0
    with database.transaction() as transaction:
        storms = repo.going_on(transaction)
        if not storms:
            return 0
        concerned = [code for code in repo.categories_open(transaction, plan.raise_to) if plan.concerns(code)]
        found = {
            ticket_id: storm
            for storm in storms
            for ticket_id in repo.to_raise(transaction, storm.unit_code, concerned, plan.raise_to, _BATCH)
        }
    for ticket_id, storm in found.items():
        raised += _raise(database, ticket_id, storm, plan, now)
    return raised


def _raise(database: Database, ticket_id: UUID, storm: Storm, plan: Plan, now: datetime) -> bool:
    with database.transaction() as transaction:
        ticket = ticket_repo.try_lock(transaction, ticket_id)
        if ticket is None or ticket.state in NOT_OPEN or ticket.severity >= plan.raise_to:
            return False
        editing = Editing(transaction, ticket, now)
        detail = {"from": ticket.severity, "to": plan.raise_to} | because_of(storm)
        ticket.severity = plan.raise_to
        editing.record(EventKind.SEVERITY_RAISED, detail=detail)
        editing.save()
        return True


def because_of(storm: Storm) -> dict[str, str]:
    """What a ticket's history says of a storm."""
    return {"because": "storm", "storm_id": str(storm.storm_id)}


def storm_for(transaction: Transaction, units: Collection[str], category: str) -> tuple[Storm, Plan] | None:
    """The storm that a matter of this category lies in, by the units of its place."""
    storms = repo.going_on(transaction, units)
    plan = repo.plan(transaction) if storms else None
    return (storms[0], plan) if plan is not None and plan.concerns(category) else None


def _begin(transaction: Transaction, storm: Storm, actor: Actor, now: datetime) -> bool:
    if not repo.begin(transaction, storm):
        return False
    _tell(transaction, storm, NewEvent("began", actor.actor_id, actor.name, storm.reason, now))
    return True


def _end(transaction: Transaction, storm: Storm, actor: Actor, reason: str, now: datetime) -> bool:
    if not repo.end(transaction, storm.storm_id, actor.name, reason, now):
        return False
    _tell(transaction, storm, NewEvent("ended", actor.actor_id, actor.name, reason, now))
    return True


def _tell(transaction: Transaction, storm: Storm, event: NewEvent) -> None:
    """Its history, whoever is on duty, and the stream."""
    repo.add_event(transaction, storm.storm_id, event)
    news = {
        "storm_id": str(storm.storm_id),
        "unit_code": storm.unit_code,
        "by_rule": storm.by_rule,
        "by": event.actor_name,
        "reason": event.reason,
        "at": event.at.isoformat(),
        "ends_at": None if storm.ends_at is None else storm.ends_at.isoformat(),
    }
    callee = duty.callee(transaction, storm.unit_code, event.at)
    key = f"storm:{storm.storm_id}:{event.kind}"
    notice = Notice("storm", callee, news | {"what": event.kind}, key, event.at)
    duty.notify(transaction, notice, event.at)
    transaction.announce(f"storm.{event.kind}", news)
