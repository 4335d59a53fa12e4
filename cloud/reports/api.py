"""Reports over HTTP: for those who take them down, and open to everybody who has something to report."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, File, Form, Header, Path, Query, Request, UploadFile, status

from cloud.auth.api import CurrentAccount, client_address
from cloud.auth.domain import Account
from cloud.instants import Instant
from cloud.paging import decode_cursor, encode_cursor
from cloud.problem import responses
from cloud.reports import repo
from cloud.reports.following import FollowService, report_row
from cloud.reports.merging import MergeService
from cloud.reports.personal import show_person
from cloud.reports.schemas import (
    Answer,
    Email,
    Filed,
    Latitude,
    Longitude,
    MergeRequest,
    PersonName,
    Phone,
    Progress,
    Rating,
    Receipt,
    ReportBody,
    ReportDetail,
    Reporter,
    ReportPage,
    ReportQuery,
    ReportRequest,
    ReportSummary,
    Short,
    SplitRequest,
    Suggested,
    SuggestionList,
    System,
)
from cloud.reports.service import Envelope, ReportService
from cloud.reports.texts import may_read, written
from cloud.services import CurrentServices, Services, services_of
from cloud.tickets.schemas import CategoryCode, TicketDetail
from common.runtime.errors import InvalidError

reports = APIRouter(prefix="/api", tags=["reports"])
public = APIRouter(prefix="/api/public", tags=["public"])
_SIGNED_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_PUBLIC = (HTTPStatus.TOO_MANY_REQUESTS,)
_CHANGES = (*_SIGNED_IN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
_KEY = r"^[\x21-\x7e]{8,200}$"
_KEY_TEXT = (
    "of the sender's choice, unique for each report, best a UUID; the same request again gets the same answer"
)
IdempotencyKey = Annotated[str, Header(alias="Idempotency-Key", pattern=_KEY, description=_KEY_TEXT)]
ReceiptNumber = Annotated[str, Path(pattern=r"^R-[0-9]{8}-[A-Z2-7]{8}$")]
Secret = Annotated[
    str, Header(alias="X-Receipt-Secret", max_length=100, description="what was told with the receipt")
]


def report_service(services: CurrentServices) -> ReportService:
    """The service of a request."""
    return ReportService(
        services.database,
        services.clock,
        services.rules,
        services.reports,
        keys=services.personal_keys,
        evidence_directory=services.evidence_directory,
        known=services.known_places,
    )


def follow_service(services: CurrentServices) -> FollowService:
    """What answers reporters, of a request."""
    return FollowService(
        services.database, services.clock, keys=services.personal_keys, verify=services.verify
    )


def count_visitor(request: Request) -> None:
    """Count a request of somebody whom nobody asked who they are.

    Raises:
        TooManyRequestsError: too many from this address.
    """
    services_of(request).visitors.count(client_address(request))


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A report's row with the addresses of its photos."""
    return {
        **row,
        "photos": [{**photo, "url": f"/api/evidence/{photo['sha256']}"} for photo in row["photos"]],
    }


Reports = Annotated[ReportService, Depends(report_service)]
Follows = Annotated[FollowService, Depends(follow_service)]
visitor = Depends(count_visitor)


@reports.post("/reports", responses=responses(*_SIGNED_IN), status_code=status.HTTP_201_CREATED)
def file_report(
    request: ReportRequest, *, service: Reports, account: CurrentAccount, key: IdempotencyKey
) -> Filed:
    """Take down what was told to the hotline, a grid worker or a leader, or comes from another system.

    It joins the open ticket of its category at its place, or opens one and says which others it may be about.
    """
    body = ReportBody.model_validate(request.model_dump(include=set(ReportBody.model_fields)))
    envelope = Envelope(
        request.channel, account, key, external_id=request.external_id, severity=request.severity
    )
    return service.file(body, envelope)


@reports.get("/reports", responses=responses(*_SIGNED_IN))
def list_reports(
    query: Annotated[ReportQuery, Query()], services: CurrentServices, _account: CurrentAccount
) -> ReportPage:
    """Reports, newest first; who reported is asked for one by one."""
    with services.database.transaction() as transaction:
        rows = repo.reports(
            transaction,
            ticket_id=query.ticket_id,
            channel=query.channel,
            before=None if query.cursor is None else decode_cursor(query.cursor),
            limit=query.limit + 1,
        )
    items = tuple(ReportSummary.model_validate(shown(row)) for row in rows[: query.limit])
    last = items[-1] if len(rows) > query.limit else None
    return ReportPage(
        items=items, next_cursor=encode_cursor(last.received_at, last.report_id) if last else None
    )


@reports.get("/reports/{report_id}", responses=responses(*_SIGNED_IN, HTTPStatus.NOT_FOUND))
def get_report(report_id: UUID, services: CurrentServices, account: CurrentAccount) -> ReportDetail:
    """A report, the tickets it stood in, what the reporter answered; and their words for who works on it."""
    return _detail(services, report_id, reader=account)


def _detail(services: Services, report_id: UUID, reader: Account | None = None) -> ReportDetail:
    with services.database.transaction() as transaction:
        row = report_row(transaction, report_id)
        links, answers = repo.links(transaction, report_id), repo.answers(transaction, report_id)
        words = None
        if reader is not None and may_read(transaction, reader, row["ticket_id"]):
            words = written(transaction, services.personal_keys, [report_id])[report_id]
    return ReportDetail.model_validate(
        shown(row)
        | {
            "links": links,
            "answers": [one | {"note": words.answers.get(one["n"], "") if words else ""} for one in answers],
            "text": None
            if words is None
            else {"description": words.description, "address": words.address, "rating": words.rating},
        }
    )


@reports.get("/reports/{report_id}/person", responses=responses(*_SIGNED_IN, HTTPStatus.NOT_FOUND))
def get_person(
    report_id: UUID, request: Request, services: CurrentServices, account: CurrentAccount
) -> Reporter:
    """Who reported. That you looked is written down."""
    return show_person(
        services.database,
        services.clock,
        services.personal_keys,
        report_id,
        account,
        address=client_address(request),
    )


@reports.post("/reports/{report_id}/answer", responses=responses(*_CHANGES))
def answer_for_reporter(
    report_id: UUID, answer: Answer, services: CurrentServices, service: Follows, account: CurrentAccount
) -> ReportDetail:
    """Write down what a reporter said who was called back: is it really done? A no reopens the ticket."""
    service.answer_for(report_id, account, done=answer.done, note=answer.note)
    # Without the words: answers to changes are kept for who sends them again.
    return _detail(services, report_id)


@reports.get("/tickets/{ticket_id}/suggestions", responses=responses(*_SIGNED_IN))
def suggestions(ticket_id: UUID, services: CurrentServices, _account: CurrentAccount) -> SuggestionList:
    """Open tickets that may be about the same matter, the likeliest first; a person merges them or not."""
    with services.database.transaction() as transaction:
        rows = repo.suggestions(transaction, ticket_id)
    return SuggestionList(items=tuple(Suggested.model_validate(row) for row in rows))


@reports.post("/tickets/{ticket_id}/merge", responses=responses(*_CHANGES, HTTPStatus.PRECONDITION_FAILED))
def merge(
    ticket_id: UUID, request: MergeRequest, services: CurrentServices, account: CurrentAccount
) -> TicketDetail:
    """Let a ticket rest in another one. The answer is that other one, with everything of both."""
    service = MergeService(services.database, services.clock)
    service.merge(ticket_id, request.into, account, request.note, request.expected_version)
    return services.tickets.get_ticket(request.into)


@reports.post("/tickets/{ticket_id}/split", responses=responses(*_CHANGES))
def split(
    ticket_id: UUID, request: SplitRequest, services: CurrentServices, account: CurrentAccount
) -> TicketDetail:
    """Undo a merge, or give reports that are about something else a ticket of their own; the answer is that one."""
    service = MergeService(services.database, services.clock)
    if (request.ticket_id is None) == (not request.report_ids):
        raise InvalidError(
            "ticket.split_what",
            "expected either ticket_id, a merged ticket, or report_ids",
            "name one of the two",
        )
    if request.ticket_id is not None:
        service.split(ticket_id, request.ticket_id, account, request.note)
        return services.tickets.get_ticket(request.ticket_id)
    return services.tickets.get_ticket(
        service.split_reports(ticket_id, request.report_ids, account, request.note)
    )


@public.post(
    "/reports",
    dependencies=[visitor],
    responses=responses(*_PUBLIC, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    status_code=status.HTTP_201_CREATED,
)
def report_publicly(
    service: Reports,
    *,
    category: Annotated[CategoryCode, Form()],
    description: Annotated[str, Form(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")],
    lon: Annotated[Longitude, Form()],
    lat: Annotated[Latitude, Form()],
    coordinate_system: Annotated[System, Form()] = "WGS-84",
    address: Annotated[Short, Form()] = "",
    occurred_at: Annotated[Instant | None, Form()] = None,
    name: Annotated[PersonName, Form()] = "",
    phone: Annotated[Phone, Form()] = "",
    email: Annotated[Email, Form()] = "",
    photos: Annotated[
        list[UploadFile] | None, File(description="JPEG or PNG; what else is in them is thrown away")
    ] = None,
    key: Annotated[str, Header(alias="Idempotency-Key", pattern=rf"{_KEY}|^$", description=_KEY_TEXT)] = "",
) -> Receipt:
    """A citizen's report, with photos. Keep the receipt and its secret: they show what becomes of it."""
    body = ReportBody(
        category=category,
        description=description,
        lon=lon,
        lat=lat,
        coordinate_system=coordinate_system,
        address=address,
        occurred_at=occurred_at,
        reporter=Reporter(name=name, phone=phone, email=email),
    )
    sent = [photo.file.read() for photo in photos or []]
    filed = service.file(body, Envelope("citizen", key=key, photos=sent))
    return Receipt(receipt=filed.receipt, secret=filed.secret, received_at=filed.received_at)


@public.get("/reports/{receipt}", dependencies=[visitor], responses=responses(*_PUBLIC, HTTPStatus.NOT_FOUND))
def progress(receipt: ReceiptNumber, secret: Secret, service: Follows) -> Progress:
    """What became of a report."""
    return service.progress(receipt, secret)


@public.post(
    "/reports/{receipt}/answer",
    dependencies=[visitor],
    responses=responses(*_PUBLIC, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def answer(receipt: ReceiptNumber, secret: Secret, request: Answer, service: Follows) -> Progress:
    """Is it really done? A no reopens the ticket."""
    return service.answer(receipt, secret, done=request.done, note=request.note)


@public.post(
    "/reports/{receipt}/rating",
    dependencies=[visitor],
    responses=responses(*_PUBLIC, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def rate(receipt: ReceiptNumber, secret: Secret, request: Rating, service: Follows) -> Progress:
    """How it was done, once, after the closing."""
    return service.rate(receipt, secret, request.stars, request.note)
