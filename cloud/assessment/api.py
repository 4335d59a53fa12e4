"""The assessment over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, status

from cloud.assessment.schemas import (
    Assessment,
    FiguresQuery,
    Group,
    HotspotQuery,
    Hotspots,
    League,
    LeagueQuery,
    PeriodQuery,
    RatingRead,
    RatingRequest,
    Unsolved,
    UnsolvedPage,
    UnsolvedQuery,
    read_figures,
    read_hotspot,
    read_placed,
)
from cloud.assessment.service import AssessmentService, Chosen, Rating
from cloud.auth.api import CurrentAccount
from cloud.problem import responses
from cloud.services import CurrentServices

assessment = APIRouter(prefix="/api", tags=["assessment"])
_READS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND)


def assessment_service(services: CurrentServices) -> AssessmentService:
    """The service of a request."""
    return AssessmentService(services.database, services.clock)


Service = Annotated[AssessmentService, Depends(assessment_service)]


@assessment.get("/assessment", responses=responses(*_READS))
def figures(
    query: Annotated[FiguresQuery, Query()], service: Service, _account: CurrentAccount
) -> Assessment:
    """What was done in time, at the lowest level, kept and rated, of tickets opened in a period."""
    period, found = service.figures(_chosen(query), query.by)
    items = tuple(Group(key=key, figures=read_figures(one)) for key, one in sorted(found.items()))
    return Assessment(since=period.since, until=period.until, by=query.by, items=items)


@assessment.get("/assessment/league", responses=responses(*_READS))
def league(query: Annotated[LeagueQuery, Query()], service: Service, _account: CurrentAccount) -> League:
    """Units of a kind, the best first. Few cases weigh less than many: each share counts by its lower end."""
    period, table = service.league(_chosen(query), query.among)
    return League(since=period.since, until=period.until, items=tuple(read_placed(one) for one in table))


@assessment.get("/assessment/hotspots", responses=responses(*_READS))
def hotspots(query: Annotated[HotspotQuery, Query()], service: Service, _account: CurrentAccount) -> Hotspots:
    """Where significantly more of a category happens than elsewhere or than before; no raw counts."""
    period, found = service.hotspots(_chosen(query), query.among, query.against)
    return Hotspots(since=period.since, until=period.until, items=tuple(read_hotspot(one) for one in found))


@assessment.get("/assessment/unsolved", responses=responses(HTTPStatus.UNAUTHORIZED))
def unsolved(
    query: Annotated[UnsolvedQuery, Query()], service: Service, _account: CurrentAccount
) -> UnsolvedPage:
    """What has stood open the longest."""
    rows, cursor = service.unsolved(query.days, query.unit_code, query.cursor, query.limit)
    return UnsolvedPage(items=tuple(Unsolved.model_validate(row) for row in rows), next_cursor=cursor)


@assessment.post(
    "/tickets/{ticket_id}/ratings",
    status_code=status.HTTP_201_CREATED,
    responses=responses(
        HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
    ),
)
def rate(ticket_id: UUID, request: RatingRequest, service: Service, account: CurrentAccount) -> RatingRead:
    """The street rates a unit's work on a ticket that lies in it, once."""
    rating = Rating(request.unit_code, request.stars, request.note)
    at = service.rate(ticket_id, account, rating)
    return RatingRead.model_validate(request.model_dump() | {"ticket_id": ticket_id, "at": at})


def _chosen(query: PeriodQuery) -> Chosen:
    return Chosen(query.since, query.until, query.category, query.unit_code)
