"""The console's forms for photos of what was done, conferences and what was promised there; they work without a script."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from cloud.auth.api import CheckedSession
from cloud.console.api import PageRoute, district_time
from cloud.services import services_of
from cloud.verify.api import photo_service
from cloud.verify.photos import Upload
from cloud.whistle.api import whistle_service
from cloud.whistle.domain import Promise
from cloud.whistle.service import Conference
from common.runtime.clock import to_datetime
from common.runtime.errors import InvalidError

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_Text = Annotated[str, Field(max_length=2000)]


class PhotoForm(BaseModel):
    """What the form sends."""

    photo: Annotated[UploadFile, File()]
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    taken_at: Annotated[str, Field(max_length=32)]
    coordinate_system: Annotated[str, Field(max_length=60)] = "WGS-84"


class ConferenceForm(BaseModel):
    """What the form sends; one promise at most, the interface takes more."""

    decision: Annotated[str, Field(min_length=1, max_length=2000)]
    findings: _Text = ""
    present: Annotated[list[str], Field(min_length=1, max_length=100)]
    what: Annotated[str, Field(max_length=500)] = ""
    unit_code: Annotated[str, Field(max_length=48)] = ""
    due_at: Annotated[str, Field(max_length=32)] = ""


class TaskForm(BaseModel):
    """What the form sends."""

    task_id: UUID


@router.get("/tickets/{ticket_id}/photos")
@router.get("/tickets/{ticket_id}/conferences")
@router.get("/tickets/{ticket_id}/tasks")
def back(ticket_id: UUID) -> Response:
    """Where somebody comes back to after signing in."""
    return _shown(ticket_id)


@router.post("/tickets/{ticket_id}/photos")
def add_photo(
    request: Request,
    session: CheckedSession,
    ticket_id: UUID,
    form: Annotated[PhotoForm, Form(media_type="multipart/form-data")],
) -> Response:
    """Add a photo of what was done."""
    taken_at = district_time(form.taken_at)
    if taken_at is None:
        raise InvalidError("photo.no_time", "expected when the photo was taken, got none")
    content = form.photo.file.read()
    upload = Upload(content, form.lon, form.lat, form.coordinate_system, taken_at)
    photo_service(services_of(request)).add(ticket_id, session.account, upload)
    return _shown(ticket_id)


@router.post("/tickets/{ticket_id}/conferences")
def record_conference(
    request: Request, session: CheckedSession, ticket_id: UUID, form: Annotated[ConferenceForm, Form()]
) -> Response:
    """Write down a conference that was held just now."""
    services = services_of(request)
    due_at = district_time(form.due_at)
    promises = []
    if form.what.strip():
        if due_at is None or not form.unit_code:
            raise InvalidError(
                "whistle.half_a_promise", "expected who owes it and by when, got one of them or neither"
            )
        promises = [Promise(form.unit_code, _plain(form.what), due_at)]
    told = Conference(
        to_datetime(services.clock.now_ms()),
        form.present,
        _plain(form.findings),
        _plain(form.decision),
        promises,
    )
    whistle_service(services).confer(ticket_id, session.account, told)
    return _shown(ticket_id)


@router.post("/tickets/{ticket_id}/tasks")
def finish_task(
    request: Request, session: CheckedSession, ticket_id: UUID, form: Annotated[TaskForm, Form()]
) -> Response:
    """Say that something promised is done."""
    whistle_service(services_of(request)).finish(ticket_id, form.task_id, session.account, "")
    return _shown(ticket_id)


def _shown(ticket_id: UUID) -> Response:
    return RedirectResponse(f"/tickets/{ticket_id}", 303)


def _plain(text: str) -> str:
    return text.replace("\0", "").strip()
