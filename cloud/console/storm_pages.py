"""The console's storm forms: begin and end, with a reason; works without a script."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from cloud.auth.api import CheckedSession
from cloud.console.api import PageRoute, district_time
from cloud.services import services_of
from cloud.storm.service import StormService
from common.runtime.errors import InvalidError

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class StormForm(BaseModel):
    """What the forms send."""

    step: Literal["begin", "end"]
    reason: Annotated[str, Field(max_length=500)] = ""
    unit_code: Annotated[str, Field(max_length=48)] = ""
    ends_at: Annotated[str, Field(max_length=32)] = ""
    storm_id: UUID | None = None


@router.get("/storms")
def storms() -> Response:
    """Where somebody comes back to after signing in: the page shows them."""
    return RedirectResponse("/", 303)


@router.post("/storms/actions")
def act(request: Request, session: CheckedSession, form: Annotated[StormForm, Form()]) -> Response:
    """Begin or end storm mode, then show the page."""
    services = services_of(request)
    service = StormService(services.database, services.clock)
    reason = form.reason.replace("\0", "").strip()
    if not reason:
        raise InvalidError("storm.no_reason", "expected a reason, got none", "say why in a few words")
    if form.step == "begin":
        service.begin(session.account, form.unit_code, reason, district_time(form.ends_at), None)
    elif form.storm_id is not None:
        service.end(session.account, form.storm_id, reason)
    return RedirectResponse("/", 303)
