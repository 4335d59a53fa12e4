"""Whistle over HTTP: arrivals, conferences, promises, advice. Units are called by the action ``call`` of a ticket."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, status

from cloud.auth.api import CurrentAccount
from cloud.problem import responses
from cloud.reports.coordinates import system_named, to_wgs84
from cloud.services import CurrentServices
from cloud.tickets.schemas import UnitCode
from cloud.whistle.domain import Promise
from cloud.whistle.schemas import (
    AdviceAnswer,
    AdviceRequest,
    ArrivalRequest,
    ConferenceRequest,
    DoneRequest,
    Whistle,
)
from cloud.whistle.service import Conference, WhistleService

whistle = APIRouter(prefix="/api/tickets/{ticket_id}", tags=["whistle"])
_READS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND)
_CHANGES = (*_READS, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT)


def whistle_service(services: CurrentServices) -> WhistleService:
    """The service of a request."""
    return WhistleService(services.database, services.clock, services.whistle)


Service = Annotated[WhistleService, Depends(whistle_service)]


@whistle.get("/whistle", responses=responses(*_READS))
def read_whistle(ticket_id: UUID, service: Service, _account: CurrentAccount) -> Whistle:
    """Who was called onto a ticket and came, what they agreed, and who was asked."""
    return Whistle.model_validate(service.read(ticket_id))


@whistle.post("/calls/{unit_code}/arrival", responses=responses(*_CHANGES))
def report_arrival(
    ticket_id: UUID,
    unit_code: Annotated[UnitCode, Path()],
    request: ArrivalRequest,
    service: Service,
    account: CurrentAccount,
) -> Whistle:
    """A called unit reports that it is there. Place and time are checked; a second report changes nothing."""
    lon, lat = to_wgs84(request.lon, request.lat, system_named(request.coordinate_system))
    return Whistle.model_validate(service.arrive(ticket_id, unit_code, account, (lon, lat, request.at)))


@whistle.post("/conferences", responses=responses(*_CHANGES), status_code=status.HTTP_201_CREATED)
def record_conference(
    ticket_id: UUID, request: ConferenceRequest, service: Service, account: CurrentAccount
) -> Whistle:
    """Write down a conference: who was there, what was found and decided, and who owes what by when.

    It is not changed any more. What is overdue is told to the unit's lead, and the ticket goes up the ladder.
    """
    told = Conference(
        request.held_at,
        request.present,
        request.findings,
        request.decision,
        [Promise(one.unit_code, one.what, one.due_at) for one in request.tasks],
    )
    return Whistle.model_validate(service.confer(ticket_id, account, told))


@whistle.post("/tasks/{task_id}/done", responses=responses(*_CHANGES))
def finish_task(
    ticket_id: UUID, task_id: UUID, request: DoneRequest, service: Service, account: CurrentAccount
) -> Whistle:
    """Say that something promised at a conference is done; who owes it says so, or the owner or the place's own."""
    return Whistle.model_validate(service.finish(ticket_id, task_id, account, request.note))


@whistle.post("/advice", responses=responses(*_CHANGES), status_code=status.HTTP_201_CREATED)
def ask_adviser(
    ticket_id: UUID, request: AdviceRequest, service: Service, account: CurrentAccount
) -> Whistle:
    """Ask an adviser."""
    asked = service.ask(ticket_id, account, request.adviser, request.unit_code, request.question)
    return Whistle.model_validate(asked)


@whistle.post("/advice/{advice_id}/answer", responses=responses(*_CHANGES))
def answer_for_adviser(
    ticket_id: UUID, advice_id: UUID, request: AdviceAnswer, service: Service, account: CurrentAccount
) -> Whistle:
    """Write down what an adviser says."""
    return Whistle.model_validate(service.answer(ticket_id, advice_id, account, request.answer))
