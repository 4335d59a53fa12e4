"""The HTTP interface, described by OpenAPI at ``/api/openapi.json``; every error is a problem (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from cloud.auth.api import CurrentAccount, StillSignedIn, client_address
from cloud.etags import etag_of
from cloud.incidents.schemas import IncidentFilters, IncidentPage
from cloud.photos.showing import IN_CLEAR, find_picture
from cloud.problem import responses
from cloud.reports.texts import require_may_see
from cloud.services import CurrentServices
from cloud.summary.schemas import Summary
from cloud.summary.service import summarise
from cloud.tickets.schemas import ActionRequest, TicketDetail, TicketFilters, TicketPage
from common.runtime.errors import InvalidError

_SIGNED_IN = (HTTPStatus.UNAUTHORIZED,)
_EventId = Annotated[int, Field(ge=0, lt=2**63)]

api = APIRouter(prefix="/api")
operations = APIRouter(tags=["operations"])


class TicketQuery(TicketFilters):
    """Which tickets, and which page of them."""

    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None


class IncidentQuery(IncidentFilters):
    """Which incidents, and which page of them."""

    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None


class Health(BaseModel):
    """It works."""

    status: str = "ok"


@api.get("/tickets", tags=["tickets"], responses=responses(*_SIGNED_IN))
def list_tickets(
    query: Annotated[TicketQuery, Query()], services: CurrentServices, _account: CurrentAccount
) -> TicketPage:
    """Tickets, newest first."""
    filters = TicketFilters.model_validate(query.model_dump(exclude={"cursor"}))
    return services.tickets.list_tickets(filters, query.cursor)


@api.get(
    "/tickets/{ticket_id}",
    tags=["tickets"],
    response_model=TicketDetail,
    responses=responses(*_SIGNED_IN, HTTPStatus.NOT_FOUND)
    | {304: {"description": "it is still the version that If-None-Match names"}},
)
def get_ticket(
    ticket_id: UUID,
    services: CurrentServices,
    response: Response,
    _account: CurrentAccount,
    if_none_match: Annotated[str | None, Header(max_length=100, description="the ETag that was read")] = None,
) -> TicketDetail | Response:
    """A ticket with its history, clocks, units, incidents and pictures.

    The ETag is its version, and of a recurring place also a digest of its rates: they are measured without a new version.
    """
    ticket = services.tickets.get_ticket(ticket_id)
    etag = _etag(ticket)
    if if_none_match is not None and if_none_match.strip().removeprefix("W/") == etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return ticket


@api.post(
    "/tickets/{ticket_id}/actions",
    tags=["tickets"],
    responses=responses(
        *_SIGNED_IN,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.PRECONDITION_FAILED,
    ),
)
def act_on_ticket(
    ticket_id: UUID,
    request: ActionRequest,
    *,
    services: CurrentServices,
    account: CurrentAccount,
    response: Response,
    if_match: Annotated[str | None, Header(max_length=100, description="the ETag that was read")] = None,
) -> TicketDetail:
    """Do something to a ticket.

    409 when its state does not allow it, 412 when somebody changed it since it was read; then nothing is
    written.
    """
    ticket = services.tickets.act(
        ticket_id,
        request.action,
        account,
        note=request.note,
        expected_version=_version(if_match) or request.expected_version,
        unit_code=request.unit_code,
        review_at=request.review_at,
    )
    response.headers["ETag"] = _etag(ticket)
    return ticket


@api.get("/incidents", tags=["incidents"], responses=responses(*_SIGNED_IN))
def list_incidents(
    query: Annotated[IncidentQuery, Query()], services: CurrentServices, _account: CurrentAccount
) -> IncidentPage:
    """Incidents, the latest first."""
    filters = IncidentFilters.model_validate(query.model_dump(exclude={"cursor"}))
    return services.incidents.list_incidents(filters, query.cursor)


@api.get("/summary", tags=["operations"], responses=responses(*_SIGNED_IN))
def summary(services: CurrentServices, _account: CurrentAccount) -> Summary:
    """How the whole centre stands, and whether its promises are kept."""
    return summarise(services.database, services.rules)


@api.get(
    "/stream",
    tags=["stream"],
    response_class=StreamingResponse,
    responses=responses(*_SIGNED_IN)
    | {200: {"description": "server-sent events", "content": {"text/event-stream": {}}}},
)
async def stream(
    services: CurrentServices,
    _account: CurrentAccount,
    still_signed_in: StillSignedIn,
    last_event_id: Annotated[
        _EventId | None, Header(description="what a returning browser has seen; it gets what it missed")
    ] = None,
    after: Annotated[
        _EventId | None, Query(description="the same, for a first connection: the summary's stream_head")
    ] = None,
) -> StreamingResponse:
    """What changes, as server-sent events: ticket.opened, ticket.changed, incident.opened, .changed, .ended, .joined,
    storm.began, storm.ended.

    ``reset`` says that events were missed which are no longer kept: load anew. The stream ends soon after the
    session does.
    """
    return StreamingResponse(
        services.stream.follow(after if last_event_id is None else last_event_id, still_signed_in),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@api.get(
    "/evidence/{sha256}",
    tags=["evidence"],
    response_class=FileResponse,
    responses=responses(*_SIGNED_IN, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
    | {
        200: {"description": "the picture", "content": {kind: {} for kind in IN_CLEAR.values()}},
        304: {"description": "the browser has it already"},
    },
)
def evidence(
    sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
    request: Request,
    services: CurrentServices,
    account: CurrentAccount,
) -> Response:
    """A picture by its SHA-256. It may arrive after its ticket; who looks at it is written down.

    Photos that reporters sent are not blurred: they are for those who work on the ticket.
    """
    require_may_see(services.database, account, sha256)
    picture = find_picture(services.database, services.personal_keys, services.evidence_directory, sha256)
    services.auth.looked_at(account, sha256, client_address(request))
    # A browser keeps it but asks each time, so that every look is known; the name is a hash of the content.
    headers = {
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "ETag": f'"{sha256}"',
    }
    if sha256 in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if isinstance(picture.content, bytes):
        return Response(picture.content, media_type=picture.media_type, headers=headers)
    return FileResponse(picture.content, media_type=picture.media_type, headers=headers)


@operations.get("/healthz", responses=responses())
def health(services: CurrentServices) -> Health:
    """Whether this process works and reaches its database."""
    with services.database.transaction() as transaction:
        transaction.run("SELECT 1")
    return Health()


def _etag(ticket: TicketDetail) -> str:
    """The version, a point and a digest of the recurring place's rates where it is about one, quotes included."""
    if ticket.recurring is None:
        return f'"{ticket.version}"'
    rates = etag_of(ticket.recurring.model_dump(mode="json")).strip('"')
    return f'"{ticket.version}.{rates}"'


def _version(if_match: str | None) -> int | None:
    """The version that an If-Match names; None for none or ``*``. New rates are no reason to refuse what somebody does."""
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"').partition(".")[0]
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidError(
            "request.wrong_etag",
            f'expected If-Match to be the ETag of a ticket, such as "7", got {if_match[:40]!r}',
            "read the ticket and send its ETag",
        )
    return int(text)
