"""Writing a rota and looking for its holes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cloud.auth.domain import Account
from cloud.auth.roles import may
from cloud.calendar.domain import DISTRICT_ZONE
from cloud.db import Database, Transaction
from cloud.duty import repo
from cloud.duty.domain import Callee, Shift, Span, holes
from cloud.errors import ForbiddenError, NotFoundError
from cloud.etags import ANY_STATE, IfMatch
from common.runtime.errors import InvalidError

_TOLD = 10
_LONGEST = timedelta(days=400)


def check_rota(shifts: Sequence[Shift], since: datetime, until: datetime) -> None:
    """Whether a rota covers a time.

    Raises:
        InvalidError: it ends before it begins, a shift lies outside it, or somewhere nobody is on duty; every
            hole is told.
    """
    if not since < until <= since + _LONGEST:
        raise InvalidError(
            "duty.backwards",
            f"expected a time of up to {_LONGEST.days} days, got {_span((since, until))}",
            "since comes before until",
        )
    for shift in shifts:
        if not since <= shift.begins_at < shift.ends_at <= until:
            raise InvalidError(
                "duty.outside",
                f"expected every shift within {_span((since, until))}, got {shift.person}"
                f" {_span((shift.begins_at, shift.ends_at))}",
                "begin and end shifts within the time that the rota is for",
            )
    if found := holes(shifts, since, until):
        more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
        raise InvalidError(
            "duty.hole",
            f"expected somebody on duty at all times, found nobody {', '.join(map(_span, found[:_TOLD]))}{more}",
            "let the shift before last longer, or add one; nothing was written",
        )


def _span(span: Span) -> str:
    begins, ends = (at.astimezone(DISTRICT_ZONE) for at in span)
    return f"{begins:%Y-%m-%d %H:%M} – {ends:%Y-%m-%d %H:%M}"


def write_rota(
    database: Database,
    unit_code: str,
    since: datetime,
    until: datetime,
    rota: Sequence[Shift],
    *,
    expected: IfMatch = ANY_STATE,
) -> None:
    """Replace a unit's rota of a time; outside it nothing changes.

    Raises:
        InvalidError: the rota has a fault.
        NotFoundError: there is no such unit.
        StaleVersionError: the unit's rota is another one than what was read.
    """
    check_rota(rota, since, until)

    def work(transaction: Transaction) -> None:
        if not repo.lock_unit(transaction, unit_code):
            raise NotFoundError("duty.unknown_unit", f"expected the code of a unit, got {unit_code!r}")
        expected.check(repo.etag(transaction, unit_code))
        repo.replace(transaction, unit_code, since, until, rota)

    database.run(work)


def require_duty(account: Account, unit_code: str) -> None:
    """Whether an account may write a unit's rota.

    Raises:
        ForbiddenError: not with this role, or not there.
    """
    if not may(account, "duty", unit_code):
        raise ForbiddenError(
            "duty.forbidden",
            f"{account.name} ({account.role} of {account.unit_code}) may not write the rota of {unit_code!r}",
            "ask a dispatcher of that unit, or of one above it",
        )


def find_holes(database: Database, since: datetime, until: datetime) -> list[tuple[str, Span]]:
    """When nobody is on duty in a unit that must have somebody, or that has a rota."""
    with database.transaction() as transaction:
        units = repo.units_on_duty(transaction, since)
        rota = repo.shifts(transaction, since, until)
    return [
        (code, hole)
        for code in units
        for hole in holes([shift for shift in rota if shift.unit_code == code], since, until)
    ]


def who_is_on_duty(database: Database, unit_code: str, at: datetime) -> Callee:
    """Whom to call of a unit at an instant."""
    with database.transaction() as transaction:
        return repo.callee(transaction, unit_code, at)


def rota_of(
    database: Database, unit_code: str | None, since: datetime, until: datetime
) -> tuple[list[Shift], str | None]:
    """The shifts that touch a time, and the tag of the whole rota of the unit that is asked for."""
    with database.transaction() as transaction:
        tag = None if unit_code is None else repo.etag(transaction, unit_code)
        return repo.shifts(transaction, since, until, unit_code), tag
