"""The duty rota over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from cloud.auth.api import CurrentAccount
from cloud.duty import service
from cloud.duty.schemas import AHEAD, Hole, Holes, OnDuty, Rota, RotaRequest, ShiftRead
from cloud.etags import REPLACES, TAGGED, IfMatch, IfMatchHeader
from cloud.instants import Instant
from cloud.problem import responses
from cloud.services import CurrentServices, Services
from cloud.tickets.schemas import UnitCode
from common.runtime.clock import to_datetime

duty = APIRouter(prefix="/api/duty", tags=["duty"])
_SIGNED_IN = (HTTPStatus.UNAUTHORIZED,)
_Days = Annotated[int, Query(ge=1, le=90, description="how far to look ahead")]


def _now(services: Services) -> datetime:
    return to_datetime(services.clock.now_ms())


@duty.get("", responses=TAGGED | responses(*_SIGNED_IN))
def list_shifts(
    services: CurrentServices,
    _account: CurrentAccount,
    response: Response,
    *,
    unit_code: UnitCode | None = None,
    since: Instant | None = None,
    days: _Days = AHEAD.days,
) -> Rota:
    """The rota, of one unit or of all; by default of the next fortnight.

    The ETag is that of one unit's rota altogether, whatever the time that is asked for; of all units there is none.
    """
    begins = since or _now(services)
    found, tag = service.rota_of(services.database, unit_code, begins, begins + timedelta(days=days))
    if tag is not None:
        response.headers["ETag"] = tag
    return Rota(items=tuple(ShiftRead.model_validate(asdict(shift)) for shift in found))


@duty.put("", responses=responses(*_SIGNED_IN, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, *REPLACES))
def write_rota(
    request: RotaRequest,
    services: CurrentServices,
    account: CurrentAccount,
    if_match: IfMatchHeader = None,
) -> Rota:
    """Replace a unit's rota of a time. One with a hole is refused, and nothing is written.

    412 when the unit's rota is another one than what was read.
    """
    service.require_duty(account, request.unit_code)
    unit, since, until = request.unit_code, request.since, request.until
    expected = IfMatch.read(if_match)
    service.write_rota(services.database, unit, since, until, request.rota(), expected=expected)
    found, _ = service.rota_of(services.database, unit, since, until)
    return Rota(items=tuple(ShiftRead.model_validate(asdict(shift)) for shift in found))


@duty.get("/on", responses=responses(*_SIGNED_IN))
def who_is_on_duty(
    services: CurrentServices, _account: CurrentAccount, unit_code: UnitCode, at: Instant | None = None
) -> OnDuty:
    """Whom to call of a unit, now or at another time."""
    asked = at or _now(services)
    found = service.who_is_on_duty(services.database, unit_code, asked)
    return OnDuty.model_validate(
        {
            "unit_code": found.unit_code,
            "at": asked,
            "person": found.person,
            "phone": found.phone,
            "found_by": found.how,
        }
    )


@duty.get("/holes", responses=responses(*_SIGNED_IN))
def list_holes(services: CurrentServices, _account: CurrentAccount, days: _Days = AHEAD.days) -> Holes:
    """When nobody will be on duty, in units that must have somebody or that have a rota."""
    now = _now(services)
    found = service.find_holes(services.database, now, now + timedelta(days=days))
    return Holes(items=tuple(Hole(unit_code=code, begins_at=b, ends_at=e) for code, (b, e) in found))
