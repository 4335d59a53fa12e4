"""Changing the rules and policies of a district that runs: checked as a whole, written as a whole, and audited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from cloud.auth import repo as audit
from cloud.auth.domain import Account
from cloud.auth.roles import may
from cloud.calendar.repo import calendars
from cloud.db import Database, Transaction
from cloud.dispatch import checking
from cloud.dispatch import repo as dispatch_repo
from cloud.dispatch.checking import Finding
from cloud.dispatch.domain import Book, StandIn
from cloud.district import repo
from cloud.district.clock_checks import overlaps, policy_faults
from cloud.district.domain import shadowed, unmatched
from cloud.district.schemas import PolicyBook, PolicyEntry, RoutingBook
from cloud.district.service import rule_of
from cloud.errors import ForbiddenError
from cloud.etags import IfMatch
from cloud.sla import repo as sla_repo
from common.runtime.config import Wrong
from common.runtime.errors import InvalidError
from common.wire.categories import BY_CODE

_NOTHING = "nothing was written"
#: What each kind of finding is refused as; what finds no owner is told and goes to the centre's queue.
_REFUSED: Final[dict[str, Callable[[str], InvalidError]]] = {
    "loop": lambda said: InvalidError("routing.loop", said, _NOTHING),
    "unknown_unit": lambda said: InvalidError("routing.unknown_unit", said, _NOTHING),
    "unknown_calendar": lambda said: InvalidError("routing.unknown_calendar", said, _NOTHING),
    "unreachable": lambda said: InvalidError("routing.unreachable", said, _NOTHING),
}


def change_routing(
    database: Database, account: Account, book: RoutingBook, now: datetime, expected: IfMatch
) -> list[Finding]:
    """Put other rules into force.

    Returns:
        What would find no owner by them.

    Raises:
        ForbiddenError: not an administrator.
        StaleVersionError: others are in force than the ones that were read.
        InvalidError: a loop, a rule that is never reached, a unit or a calendar that there is not.
    """
    _require_admin(account)

    def work(transaction: Transaction) -> list[Finding]:
        repo.lock(transaction)
        expected.check(repo.routing_etag(transaction))
        parents, kinds = dispatch_repo.organisation(transaction)
        hours = calendars(transaction)
        loose = [
            Finding("unknown_unit", f"a stand-in names {code!r}, which is no unit")
            for entry in book.stand_ins
            for code in (entry.unit_code, entry.after_hours)
            if code not in kinds
        ] + [
            Finding(
                "unknown_calendar", f"{entry.unit_code!r} has the hours {entry.hours!r}, which there are not"
            )
            for entry in book.stand_ins
            if entry.hours not in hours
        ]
        _refuse(loose)
        stand_ins = {
            entry.unit_code: StandIn(hours[entry.hours], entry.after_hours) for entry in book.stand_ins
        }
        rules = [rule_of(position, rule) for position, rule in enumerate(book.rules, start=1)]
        found = checking.check(Book(rules, frozenset(kinds), hours, stand_ins), parents, kinds, BY_CODE, now)
        _refuse(found)
        repo.store_routing(transaction, book.rules)
        repo.store_stand_ins(transaction, book.stand_ins)
        _audit(transaction, account, "routing_changed", len(book.rules), now)
        return found

    return database.run(work)


def change_policies(
    database: Database, account: Account, book: PolicyBook, now: datetime, expected: IfMatch
) -> None:
    """Put other policies into force for tickets opened from now on.

    Raises:
        ForbiddenError: not an administrator.
        StaleVersionError: others are in force than the ones that were read.
        InvalidError: policies that overlap, a category without one, a calendar or step that there is not.
    """
    _require_admin(account)

    def work(transaction: Transaction) -> None:
        repo.lock(transaction)
        expected.check(repo.policies_etag(transaction))
        hours = calendars(transaction)
        days = {name: calendar.day_s for name, calendar in hours.items()}
        steps = {rung.name for rung in sla_repo.ladder(transaction)}
        of_storms = book.storm.policies if book.storm is not None else []
        overlapping = [*_overlapping(book.policies, days), *_overlapping(of_storms, days)]
        if overlapping:
            raise InvalidError("policy.overlapping", _said(overlapping), _NOTHING)
        wrong = [*_names(book)]
        for policies in (book.policies, of_storms):
            wrong += policy_faults(policies, ("policies",), set(hours), days, steps)
        missing = unmatched(book.policies, BY_CODE)
        if missing:
            wrong.append(Wrong((), f"no clocks for {', '.join(missing)}"))
        if wrong:
            raise InvalidError("policy.invalid", _said(wrong), _NOTHING)
        repo.store_policies(transaction, book.policies, book.storm, days)
        _audit(transaction, account, "policies_changed", len(book.policies) + len(of_storms), now)

    database.run(work)


def _overlapping(policies: list[PolicyEntry], days: dict[str, int]) -> Iterator[Wrong]:
    for late, early in shadowed(policies):
        said = f"{policies[late].name!r} is never reached: {policies[early].name!r} takes everything it would"
        yield Wrong((), said)
    yield from overlaps(policies, ("policies",), days)


def _names(book: PolicyBook) -> Iterator[Wrong]:
    seen = set()
    for policy in [*book.policies, *(book.storm.policies if book.storm is not None else [])]:
        if policy.name in seen:
            yield Wrong((), f"two policies are called {policy.name!r}")
        seen.add(policy.name)


def _said(wrong: Iterable[Wrong]) -> str:
    return "; ".join(f"{'.'.join(map(str, one.at))} {one.told('before it')}".strip() for one in wrong)[:4000]


def _refuse(found: list[Finding]) -> None:
    for kind, refuse in _REFUSED.items():
        if said := [one.message for one in found if one.kind == kind]:
            raise refuse("; ".join(said)[:4000])


def _require_admin(account: Account) -> None:
    if not may(account, "manage", account.unit_code):
        raise ForbiddenError(
            "district.forbidden",
            f"{account.name} ({account.role}) may not change rules and policies",
            "ask an administrator",
        )


def _audit(transaction: Transaction, account: Account, what: str, count: int, now: datetime) -> None:
    audit.add_audit(
        transaction, now, account.name, what, account_id=account.account_id, detail={"entries": count}
    )
