"""Photos of what was done, over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, File, Form, UploadFile, status
from pydantic import BaseModel, ConfigDict, Field

from cloud.auth.api import CurrentAccount
from cloud.instants import Instant
from cloud.problem import responses
from cloud.services import CurrentServices, Services
from cloud.verify.photos import PhotoService, Upload
from cloud.verify.schemas import TicketPhoto, TicketPhotos

verification = APIRouter(prefix="/api/tickets/{ticket_id}/photos", tags=["verification"])


class PhotoForm(BaseModel):
    """A photo, where and when it was taken."""

    model_config = ConfigDict(extra="forbid")

    photo: Annotated[UploadFile, File(description="JPEG or PNG; what else is in it is thrown away")]
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    taken_at: Annotated[Instant, Field(description="with its zone")]
    coordinate_system: Annotated[
        str,
        Field(
            max_length=60, description="WGS-84, GCJ-02 or CGCS2000, as the telephone gives it; never guessed"
        ),
    ] = "WGS-84"
    note: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")] = ""


def photo_service(services: Services) -> PhotoService:
    """What takes photos in, from a process's parts."""
    return PhotoService(
        services.database,
        services.clock,
        services.rules,
        services.evidence_directory,
        services.verify,
        keys=services.personal_keys,
    )


@verification.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=responses(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
def add_photo(
    ticket_id: UUID,
    form: Annotated[PhotoForm, Form(media_type="multipart/form-data")],
    services: CurrentServices,
    account: CurrentAccount,
) -> TicketPhoto:
    """A photo of what was done: taken at the ticket's place, after the claim.

    Where no device can look, another person accepts it (action ``accept``), and the ticket closes.
    """
    content = form.photo.file.read()
    upload = Upload(content, form.lon, form.lat, form.coordinate_system, form.taken_at, form.note)
    return TicketPhoto.model_validate(photo_service(services).add(ticket_id, account, upload))


@verification.get("", responses=responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND))
def list_photos(ticket_id: UUID, services: CurrentServices, _account: CurrentAccount) -> TicketPhotos:
    """A ticket's photos, the oldest first."""
    found = photo_service(services).photos(ticket_id)
    return TicketPhotos(items=tuple(TicketPhoto.model_validate(row) for row in found))
