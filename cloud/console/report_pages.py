"""The console's form for merging a ticket into one that is suggested; works without a script."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from cloud.auth.api import CheckedSession
from cloud.console.api import PageRoute
from cloud.reports.merging import MergeService
from cloud.services import services_of
from common.runtime.errors import InvalidError

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class MergeForm(BaseModel):
    """What the form sends."""

    into: UUID
    version: Annotated[int, Field(ge=1)]
    note: Annotated[str, Field(max_length=2000)] = ""


@router.get("/tickets/{ticket_id}/merge")
def back(ticket_id: UUID) -> Response:
    """Where somebody comes back to after signing in."""
    return RedirectResponse(f"/tickets/{ticket_id}", 303)


@router.post("/tickets/{ticket_id}/merge")
def merge(
    request: Request, session: CheckedSession, ticket_id: UUID, form: Annotated[MergeForm, Form()]
) -> Response:
    """Merge a ticket, then show the one in which the work goes on."""
    services = services_of(request)
    note = form.note.replace("\0", "").strip()
    if not note:
        raise InvalidError("ticket.note_missing", "expected a note that says why, got none")
    MergeService(services.database, services.clock).merge(
        ticket_id, form.into, session.account, note, form.version
    )
    return RedirectResponse(f"/tickets/{form.into}", 303)
