"""Rules and policies over HTTP: what is in force, who would get a matter and why, and changing them."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from cloud.auth.api import CurrentAccount
from cloud.dispatch import repo as dispatch_repo
from cloud.dispatch.checking import Finding, Kind
from cloud.dispatch.domain import Matter, trace
from cloud.dispatch.service import check_rules
from cloud.district import repo
from cloud.district.rulebooks import change_policies, change_routing
from cloud.district.schemas import PolicyBook, RoutingBook
from cloud.etags import REPLACES, TAGGED, IfMatch, IfMatchHeader
from cloud.instants import Instant
from cloud.problem import responses
from cloud.services import CurrentServices, Services
from cloud.tickets.schemas import CategoryCode, Severity
from common.runtime.clock import to_datetime

rules = APIRouter(prefix="/api", tags=["rules"])
_SIGNED_IN = (HTTPStatus.UNAUTHORIZED,)
#: What reading a whole book can answer, and what replacing it can.
_READ = TAGGED | responses(*_SIGNED_IN)
_REPLACED = responses(*_SIGNED_IN, HTTPStatus.FORBIDDEN, *REPLACES)
_Longitude = Annotated[float, Query(ge=-180, le=180, allow_inf_nan=False, description="WGS-84 degrees")]
_Latitude = Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False, description="WGS-84 degrees")]


class RuleFault(BaseModel):
    """Something wrong with the rules in force."""

    kind: Kind
    message: str


class RuleFaults(BaseModel):
    """Everything wrong with them; what finds no owner waits in the centre's queue, under a clock."""

    items: tuple[RuleFault, ...]


class RuleRead(BaseModel):
    """A routing rule."""

    position: int
    category: str
    min_severity: int
    target: str
    call: tuple[str, ...]
    place: tuple[str, ...] = Field(description="only in these units; empty: everywhere")
    during: str = Field(description="only in the hours of this calendar")
    outside: str = Field(description="only outside them")


class RuleTried(BaseModel):
    """A rule that was tried."""

    rule: RuleRead
    fits: bool
    because: str


class Explained(BaseModel):
    """Who would get a matter, and how that was found."""

    at: datetime
    place: dict[str, str] = Field(description="kind of unit → code; without grid outside the district")
    tried: tuple[RuleTried, ...]
    unit_code: str | None = Field(description="null: the centre's queue")
    called: tuple[str, ...]
    because: str


class StandInRead(BaseModel):
    """Outside a unit's hours another one takes what comes."""

    unit_code: str
    hours: str
    after_hours: str


class Routing(BaseModel):
    """The rules in force. The ETag is that of the rules and stand-ins, not of what is wrong with them by now."""

    rules: tuple[RuleRead, ...]
    stand_ins: tuple[StandInRead, ...]
    problems: tuple[RuleFault, ...]


class PolicyRead(BaseModel):
    """A policy; times in seconds of its hours."""

    position: int
    name: str
    category: str
    min_severity: int
    ack_s: int
    arrive_s: int
    resolve_s: int
    hours: str = Field(description="the calendar whose time counts; empty: all time; unit: the owner's")
    storm: bool = Field(description="only in a storm, and then first")
    escalate: tuple[dict[str, Any], ...]


class Policies(BaseModel):
    """The policies in force, in their order."""

    items: tuple[PolicyRead, ...]


def _now(services: Services) -> datetime:
    return to_datetime(services.clock.now_ms())


def _problems(found: list[Finding]) -> tuple[RuleFault, ...]:
    return tuple(RuleFault(kind=one.kind, message=one.message) for one in found)


@rules.get("/routing", responses=_READ)
def show_routing(services: CurrentServices, _account: CurrentAccount, response: Response) -> Routing:
    """The routing rules in force, and what is wrong with them."""
    with services.database.transaction() as transaction:
        found = check_rules(transaction, _now(services))
        rows, stand_ins = repo.routing(transaction), repo.stand_ins(transaction)
        response.headers["ETag"] = repo.routing_etag(transaction)
    return Routing(
        rules=tuple(RuleRead.model_validate(row) for row in rows),
        stand_ins=tuple(StandInRead.model_validate(row) for row in stand_ins),
        problems=_problems(found),
    )


@rules.put("/routing", responses=_REPLACED)
def put_routing(
    book: RoutingBook,
    services: CurrentServices,
    account: CurrentAccount,
    if_match: IfMatchHeader = None,
) -> RuleFaults:
    """Put other rules into force. Loops and rules never reached are refused; what finds no owner is told.

    412 when others are in force than the ones that were read; then nothing is written.
    """
    expected = IfMatch.read(if_match)
    found = change_routing(services.database, account, book, _now(services), expected)
    return RuleFaults(items=_problems(found))


@rules.get("/routing/explain", responses=responses(*_SIGNED_IN))
def explain(
    services: CurrentServices,
    _account: CurrentAccount,
    *,
    lon: _Longitude,
    lat: _Latitude,
    category: CategoryCode,
    severity: Severity = 2,
    at: Instant | None = None,
) -> Explained:
    """Each rule that is tried for a place, a category and a time, why it fits or not, and who gets it."""
    asked = at or _now(services)
    with services.database.transaction() as transaction:
        place = dispatch_repo.place(transaction, lon, lat)
        steps, route = trace(dispatch_repo.book(transaction), Matter(category, severity, place, asked))
    return Explained(
        at=asked,
        place=place,
        tried=tuple(
            RuleTried(
                rule=RuleRead.model_validate(step.rule, from_attributes=True),
                fits=step.fits,
                because=step.because,
            )
            for step in steps
        ),
        unit_code=route.unit_code,
        called=route.called,
        because=route.because,
    )


@rules.get("/policies", responses=_READ)
def show_policies(services: CurrentServices, _account: CurrentAccount, response: Response) -> Policies:
    """The policies in force. A ticket keeps the one that it was opened under."""
    policies, response.headers["ETag"] = _policies(services)
    return policies


@rules.put("/policies", responses=_REPLACED)
def put_policies(
    book: PolicyBook,
    services: CurrentServices,
    account: CurrentAccount,
    if_match: IfMatchHeader = None,
) -> Policies:
    """Put other policies into force, for tickets opened from now on. Overlapping ones are refused.

    412 when others are in force than the ones that were read; then nothing is written.
    """
    change_policies(services.database, account, book, _now(services), IfMatch.read(if_match))
    return _policies(services)[0]


def _policies(services: Services) -> tuple[Policies, str]:
    """Those in force, and their tag."""
    with services.database.transaction() as transaction:
        rows = repo.policies(transaction)
        tag = repo.policies_etag(transaction)
    return Policies(items=tuple(PolicyRead.model_validate(row) for row in rows)), tag
