"""A ticket's alarms and the shelf, over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Response

from cloud.auth.api import CurrentAccount
from cloud.etags import ANY_STATE, TAGGED, IfMatch, etag_of
from cloud.problem import responses
from cloud.services import CurrentServices
from cloud.shelf.schemas import Shelf, ShelfRequest, read_shelf
from cloud.shelf.service import ShelfService

shelf = APIRouter(prefix="/api/tickets/{ticket_id}/shelf", tags=["tickets"])
_SIGNED_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND)
_CHANGES = (*_SIGNED_IN, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)
_IfRead = Annotated[
    str | None,
    Header(
        alias="If-Match", max_length=1000, description="the ETag that was read; without it any state will do"
    ),
]


def shelf_service(services: CurrentServices) -> ShelfService:
    """The service of a request."""
    return ShelfService(services.database, services.clock)


Shelves = Annotated[ShelfService, Depends(shelf_service)]


@shelf.get("", responses=TAGGED | responses(*_SIGNED_IN))
def show_shelf(ticket_id: UUID, service: Shelves, _account: CurrentAccount, response: Response) -> Shelf:
    """What was seen of a ticket, alarm by alarm, and which of them call no one for a while."""
    return _told(service, ticket_id, response)


@shelf.post("", responses=TAGGED | responses(*_CHANGES))
def put_on_the_shelf(
    ticket_id: UUID,
    request: ShelfRequest,
    *,
    service: Shelves,
    account: CurrentAccount,
    response: Response,
    if_match: _IfRead = None,
) -> Shelf:
    """Put an alarm that is known and troubles people without need on the shelf: it is seen and kept, and calls no one.

    412 when the shelf is another one than what was read, 409 when the alarm lies there already.
    """
    reason = request.reason.strip()
    service.put(ticket_id, account, request.alarm, request.hours, reason, expected=_expected(if_match))
    return _told(service, ticket_id, response)


@shelf.post("/{shelved_id}/off", responses=TAGGED | responses(*_CHANGES))
def take_off_the_shelf(
    ticket_id: UUID,
    shelved_id: Annotated[int, Path(ge=1, lt=2**63)],
    *,
    service: Shelves,
    account: CurrentAccount,
    response: Response,
    if_match: _IfRead = None,
) -> Shelf:
    """Take an alarm off before its time: what still goes on calls people with its next update."""
    service.take_off(ticket_id, account, shelved_id, expected=_expected(if_match))
    return _told(service, ticket_id, response)


def _expected(if_match: str | None) -> IfMatch:
    return ANY_STATE if if_match is None else IfMatch.read(if_match)


def _told(service: ShelfService, ticket_id: UUID, response: Response) -> Shelf:
    found = read_shelf(*service.shelf_of(ticket_id))
    response.headers["ETag"] = etag_of(found.model_dump(mode="json"))
    return found
