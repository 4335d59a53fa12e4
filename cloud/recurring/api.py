"""Recurring places over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from cloud.auth.api import CurrentAccount
from cloud.problem import responses
from cloud.recurring.reading import recurring_page
from cloud.recurring.schemas import RecurringFilters, RecurringPage
from cloud.services import CurrentServices

recurring = APIRouter(prefix="/api", tags=["incidents"])


@recurring.get("/recurring", responses=responses(HTTPStatus.UNAUTHORIZED))
def list_recurring(
    query: Annotated[RecurringFilters, Query()], services: CurrentServices, _account: CurrentAccount
) -> RecurringPage:
    """Stretches of road where passing acts keep happening, with the rate before and after action was taken."""
    with services.database.transaction() as transaction:
        return recurring_page(transaction, query)
