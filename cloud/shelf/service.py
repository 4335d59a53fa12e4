"""Putting an alarm of a ticket on the shelf, and taking it off.

What is shelved comes off by itself, needs a reason and somebody who may, and stands in the audit (ANSI/ISA-18.2).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cloud.auth import repo as auth_repo
from cloud.auth.domain import Account
from cloud.auth.roles import may_any
from cloud.db import Database, Transaction
from cloud.db.database import take_locks
from cloud.errors import ConflictError, ForbiddenError, NotFoundError
from cloud.etags import ANY_STATE, IfMatch, etag_of
from cloud.shelf import repo
from cloud.shelf.repo import Alarm, Shelved
from cloud.shelf.schemas import read_shelf
from common.runtime.clock import Clock, to_datetime
from common.runtime.errors import InvalidError

#: For how many hours; never longer than a day, as by the gateway's command.
HOURS: Final = (1, 4, 8, 24)


class ShelfService:
    """The shelf as people at a ticket use it.

    Args:
        database: where it is.
        clock: what time it is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def shown(self, ticket_id: UUID) -> tuple[list[Alarm], list[Shelved]]:
        """A ticket's alarms that are not on the shelf, and what lies there of the others."""
        with self._database.transaction() as transaction:
            return _sorted(transaction, ticket_id, self._now())

    def shelf_of(self, ticket_id: UUID) -> tuple[list[Alarm], list[Shelved]]:
        """The same of a ticket that somebody names.

        Raises:
            NotFoundError: no such ticket.
        """
        with self._database.transaction() as transaction:
            _whose(transaction, ticket_id)
            return _sorted(transaction, ticket_id, self._now())

    def put(
        self,
        ticket_id: UUID,
        account: Account,
        key: str,
        hours: int,
        reason: str,
        *,
        expected: IfMatch = ANY_STATE,
    ) -> None:
        """Put an alarm on the shelf: what its sensor shows meanwhile is kept and calls no one.

        Args:
            ticket_id: of the ticket that it belongs to.
            account: who.
            key: the alarm's, see ``Alarm.key``.
            hours: for how long, one of ``HOURS``.
            reason: why.
            expected: the state of the ticket's shelf that was read.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or not at this place.
            InvalidError: not for so long.
            StaleVersionError: the shelf is another one by now.
            ConflictError: it is no alarm of this ticket, or on the shelf already.
        """
        if hours not in HOURS:
            raise InvalidError("shelf.wrong_time", f"expected one of {HOURS} hours, got {hours}")
        now = self._now()
        until = now + timedelta(hours=hours)
        with self._database.transaction() as transaction:
            _require(transaction, ticket_id, account)
            # Two who do it at once would have it there twice.
            take_locks(transaction, [f"shelf:{ticket_id}"])
            free, lying = _sorted(transaction, ticket_id, now)
            _check(expected, free, lying)
            alarm = next((one for one in free if one.key == key), None)
            if alarm is None:
                raise ConflictError(
                    "shelf.not_there",
                    f"expected an alarm of this ticket that is not on the shelf, got {key[:60]!r}",
                    "look at the ticket again",
                )
            quiet_id = repo.put(transaction, alarm, now, until, reason=reason, who=account.shown_name)
            place = f"{alarm.site}/{alarm.device} {alarm.category} {alarm.sensor}"
            detail = {"id": quiet_id, "place": place, "why": reason, "until": until.isoformat()}
            self._note(transaction, account, "shelved.begin", detail | {"ticket_id": str(ticket_id)})

    def take_off(
        self, ticket_id: UUID, account: Account, quiet_id: int, *, expected: IfMatch = ANY_STATE
    ) -> None:
        """Take it off now: what still goes on then calls people with its next update.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or not at this place.
            StaleVersionError: the shelf is another one by now.
            ConflictError: it is no alarm of this ticket, or off already.
        """
        now = self._now()
        with self._database.transaction() as transaction:
            _require(transaction, ticket_id, account)
            take_locks(transaction, [f"shelf:{ticket_id}"])
            free, shelved = _sorted(transaction, ticket_id, now)
            _check(expected, free, shelved)
            lies = next((one for one in shelved if one.quiet_id == quiet_id), None)
            if lies is None or not repo.take_off(transaction, quiet_id, account.shown_name, now):
                raise ConflictError("shelf.is_off", "this alarm is off the shelf already")
            detail = {"id": quiet_id, "place": f"{lies.site}/{lies.device}", "ticket_id": str(ticket_id)}
            self._note(transaction, account, "shelved.end", detail)

    def _note(
        self, transaction: Transaction, account: Account, action: str, detail: dict[str, object]
    ) -> None:
        auth_repo.add_audit(
            transaction, self._now(), account.name, action, account_id=account.account_id, detail=detail
        )

    def _now(self) -> datetime:
        return to_datetime(self._clock.now_ms())


def _sorted(transaction: Transaction, ticket_id: UUID, now: datetime) -> tuple[list[Alarm], list[Shelved]]:
    alarms = repo.alarms(transaction, ticket_id)
    shelved = repo.on_the_shelf(transaction, alarms, now)
    return [alarm for alarm in alarms if not any(one.holds(alarm) for one in shelved)], shelved


def _check(expected: IfMatch, alarms: list[Alarm], shelved: list[Shelved]) -> None:
    expected.check(etag_of(read_shelf(alarms, shelved).model_dump(mode="json")))


def _whose(transaction: Transaction, ticket_id: UUID) -> tuple[str | None, str | None]:
    places = repo.whose(transaction, ticket_id)
    if places is None:
        raise NotFoundError("ticket.unknown", f"expected the id of a ticket, got {ticket_id}")
    return places


def _require(transaction: Transaction, ticket_id: UUID, account: Account) -> None:
    places = _whose(transaction, ticket_id)
    if not may_any(account, "shelve", places):
        raise ForbiddenError(
            "ticket.forbidden",
            f"{account.name} ({account.role} of {account.unit_code}) may not shelve an alarm of {places[0] or 'nobody'}",
            "ask a dispatcher of that unit, or of one above it",
        )
