"""The console's forms for putting an alarm of a ticket on the shelf and taking it off; they work without a script."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from cloud.auth.api import CheckedSession
from cloud.console.api import PageRoute
from cloud.services import services_of
from cloud.shelf.service import ShelfService
from common.runtime.errors import InvalidError

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class ShelfForm(BaseModel):
    """What the form sends that puts an alarm there."""

    alarm: Annotated[str, Field(max_length=200)]
    hours: int
    reason: Annotated[str, Field(max_length=500)] = ""


class OffForm(BaseModel):
    """What the form sends that takes one off."""

    quiet_id: Annotated[int, Field(ge=1)]


@router.get("/tickets/{ticket_id}/shelf")
@router.get("/tickets/{ticket_id}/shelf/off")
def back(ticket_id: UUID) -> Response:
    """Where somebody comes back to after signing in."""
    return _shown(ticket_id)


@router.post("/tickets/{ticket_id}/shelf")
def put(
    request: Request, session: CheckedSession, ticket_id: UUID, form: Annotated[ShelfForm, Form()]
) -> Response:
    """Put an alarm on the shelf."""
    reason = form.reason.replace("\0", "").strip()
    if not reason:
        raise InvalidError("shelf.no_reason", "expected a reason, got none", "say why in a few words")
    _service(request).put(ticket_id, session.account, form.alarm, form.hours, reason)
    return _shown(ticket_id)


@router.post("/tickets/{ticket_id}/shelf/off")
def take_off(
    request: Request, session: CheckedSession, ticket_id: UUID, form: Annotated[OffForm, Form()]
) -> Response:
    """Take an alarm off the shelf."""
    _service(request).take_off(ticket_id, session.account, form.quiet_id)
    return _shown(ticket_id)


def _service(request: Request) -> ShelfService:
    services = services_of(request)
    return ShelfService(services.database, services.clock)


def _shown(ticket_id: UUID) -> Response:
    return RedirectResponse(f"/tickets/{ticket_id}", 303)
