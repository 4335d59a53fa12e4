"""The console's page of the assessment: figures, the league, places that stand out, what stays unsolved."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from cloud.assessment.domain import Figures, Hotspot, Placed
from cloud.assessment.service import Among, AssessmentService, Chosen
from cloud.auth.api import CheckedSession
from cloud.console.api import Console, PageRoute
from cloud.console.pages import render
from cloud.services import services_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
#: Periods to choose from, in days.
PERIODS: Final = (7, 30, 90, 365)
AMONG: Final[tuple[Among, ...]] = get_args(Among)
#: The share of matters that are to be solved where they arise.
LOWEST_TARGET: Final = 0.9
_SHOWN: Final = 15
_LEAGUE_SHOWN: Final = 100


@router.get("/assessment")
def assessment_page(
    request: Request,
    session: CheckedSession,
    console: Console,
    days: Annotated[int, Query(ge=1, le=1000)] = 30,
    among: Among = "street",
) -> HTMLResponse:
    """The assessment of the days up to now."""
    services = services_of(request)
    service = AssessmentService(services.database, services.clock)
    now = service.now()
    chosen = Chosen(now - timedelta(days=days), now)
    _, table = service.league(chosen, among)
    _, by_level = service.figures(chosen, "level")
    _, spots = service.hotspots(chosen, "grid", "elsewhere")
    unsolved, more = service.unsolved(7, None, None, _SHOWN)
    busy = [one for one in table if one.figures.tickets or one.figures.cases]
    total = sum(by_level.values(), Figures())
    return render(
        request,
        "assessment.html",
        session=session,
        district=console.district(),
        now=now,
        days=days,
        among=among,
        periods=PERIODS,
        kinds=AMONG,
        total=total,
        mean_close_s=total.close_s / total.closed if total.closed else None,
        target=LOWEST_TARGET,
        league=[_row(one) for one in busy[:_LEAGUE_SHOWN]],
        idle=len(table) - len(busy),
        spots=[_spot(one) for one in spots[:_SHOWN]],
        unsolved=unsolved,
        more_unsolved=more is not None,
        names=service.names(),
    )


def _row(placed: Placed) -> dict[str, Any]:
    figures = placed.figures
    return {
        "rank": placed.rank,
        "unit_code": placed.unit_code,
        "score": placed.score,
        "tickets": figures.tickets,
        "shares": figures.shares,
        "stars": figures.stars / figures.ratings if figures.ratings else None,
    }


def _spot(hotspot: Hotspot) -> dict[str, Any]:
    cell = hotspot.cell
    return {
        "place": cell.place,
        "category": cell.category,
        "count": cell.count,
        "expected": hotspot.expected,
        "q": hotspot.q,
    }
