"""Severity over HTTP: the rules in force, and what they would make of a matter."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from cloud.auth.api import CurrentAccount
from cloud.problem import responses
from cloud.services import CurrentServices
from cloud.severity import repo
from cloud.severity.domain import Facts, Seen, decide, places_near, trace
from cloud.severity.schemas import (
    RuleTried,
    SeverityBook,
    SeverityExplained,
    SeverityRuleRead,
    VulnerablePlaceRead,
)
from cloud.tickets.schemas import CategoryCode, NearPlace, Severity

severity = APIRouter(prefix="/api", tags=["rules"])
_Count = Annotated[int, Field(ge=0, le=1_000_000)]


class MatterQuery(BaseModel):
    """A matter that might be."""

    model_config = ConfigDict(extra="forbid")

    category: CategoryCode
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False, description="WGS-84 degrees")]
    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False, description="WGS-84 degrees")]
    severity: Severity = 2
    lasts_s: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 0.0
    observations: _Count = 1
    devices: Annotated[int, Field(ge=0, le=1000)] = 1
    reports: _Count = 0
    level: Annotated[float | None, Field(allow_inf_nan=False, description="the highest value measured")] = (
        None
    )


@severity.get("/severity", responses=responses(HTTPStatus.UNAUTHORIZED))
def show_severity(services: CurrentServices, _account: CurrentAccount) -> SeverityBook:
    """The rules by which a severity rises, and the vulnerable places."""
    with services.database.transaction() as transaction:
        rules, places = repo.rules(transaction), repo.places(transaction)
    return SeverityBook(
        rules=tuple(SeverityRuleRead.model_validate(rule) for rule in rules),
        places=tuple(VulnerablePlaceRead.model_validate(place) for place in places),
    )


@severity.get("/severity/explain", responses=responses(HTTPStatus.UNAUTHORIZED))
def explain_severity(
    query: Annotated[MatterQuery, Query()], services: CurrentServices, _account: CurrentAccount
) -> SeverityExplained:
    """Each rule that is tried for a matter, why it fits or not, and the severity that comes of it."""
    with services.database.transaction() as transaction:
        rules, places = repo.rules(transaction), repo.places(transaction)
    facts = facts_of(query)
    near = places_near(places, [query.category], query.lon, query.lat)
    facts = Facts(facts.category, facts.seen, facts.reports, near)
    raised = decide(rules, facts, query.severity)
    return SeverityExplained(
        severity=raised.rule.raise_to if raised else query.severity,
        rule=raised.rule.name if raised else "",
        near=tuple(
            NearPlace(kind=place.kind, name_zh=place.name_zh, name_en=place.name_en, metres=round(away))
            for place, away in near
        ),
        tried=tuple(
            RuleTried(
                rule=SeverityRuleRead.model_validate(step.rule), fits=not step.wrong, because=step.wrong
            )
            for step in trace(rules, facts)
        ),
    )


def facts_of(query: MatterQuery) -> Facts:
    """A matter that might be, as the rules take it, without the places near it."""
    seen = Seen(
        query.category,
        query.lasts_s,
        query.observations,
        frozenset(range(query.devices)),
        query.level,
    )
    return Facts(query.category, (seen,), query.reports)
