"""Storm mode over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, status

from cloud.auth.api import CurrentAccount
from cloud.problem import responses
from cloud.services import CurrentServices
from cloud.storm.domain import Storm
from cloud.storm.schemas import StormAction, StormList, StormRead, StormRequest
from cloud.storm.service import StormService

storms = APIRouter(prefix="/api/storms", tags=["storm"])
_SIGNED_IN = (HTTPStatus.UNAUTHORIZED,)
_CHANGES = (*_SIGNED_IN, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT)


def storm_service(services: CurrentServices) -> StormService:
    """The service of a request."""
    return StormService(services.database, services.clock)


Storms = Annotated[StormService, Depends(storm_service)]


@storms.get("", responses=responses(*_SIGNED_IN))
def list_storms(service: Storms, _account: CurrentAccount) -> StormList:
    """Storms that go on and the last ones, with who began and ended them and why."""
    found, events = service.list_storms()
    return StormList(
        items=tuple(
            StormRead.model_validate(
                asdict(storm) | {"events": [event for event in events if event["storm_id"] == storm.storm_id]}
            )
            for storm in found
        )
    )


@storms.post("", responses=responses(*_CHANGES), status_code=status.HTTP_201_CREATED)
def begin_storm(request: StormRequest, service: Storms, account: CurrentAccount) -> StormRead:
    """Begin storm mode in an area: tickets opened while it lasts get its policies, open ones its severity.

    409 when one goes on there.
    """
    return _read(service.begin(account, request.unit_code, request.reason, request.ends_at, request.began_at))


@storms.post("/{storm_id}/actions", responses=responses(*_CHANGES, HTTPStatus.NOT_FOUND))
def act_on_storm(storm_id: UUID, request: StormAction, service: Storms, account: CurrentAccount) -> StormRead:
    """End a storm. The tickets keep the severity that it gave them."""
    return _read(service.end(account, storm_id, request.reason))


def _read(storm: Storm) -> StormRead:
    return StormRead.model_validate(asdict(storm))
