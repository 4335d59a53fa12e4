"""The console's addresses.

Wiring (``cloud/app.py``): once ``app.state.services`` and ``app.state.auth`` are there, ``install(app)``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from cloud.auth import api as door
from cloud.auth.api import CheckedSession
from cloud.auth.errors import (
    ForgedRequestError,
    NotSignedInError,
    TooManyAttemptsError,
    WrongPasswordError,
)
from cloud.auth.service import Session
from cloud.console.actions import STEPS, buttons, may_merge, may_shelve, proof, storm_areas
from cloud.console.filters import STATE_CHOICES, ListFilter
from cloud.console.pages import LANGUAGE_COOKIE, STATIC, language_of, render, safe_next
from cloud.console.repo import Standing
from cloud.console.service import MARKERS, ConsoleService
from cloud.console.texts import LANGUAGES, texts
from cloud.errors import NotFoundError
from cloud.problem import status_of
from cloud.services import Services, services_of
from cloud.shelf.service import HOURS
from cloud.tickets.domain import DISTRICT_ZONE, Action
from cloud.tickets.schemas import TicketDetail
from cloud.tickets.service import TicketService
from common.runtime.clock import Clock, SystemClock
from common.runtime.errors import DrumtowerError, InvalidError, TransientError
from common.wire.categories import CATEGORIES

_YEAR_S: Final = 365 * 86_400
_PARTS: Final = ("list", "map", "detail", "status", "storm")
#: What a page says of an error, by its status; "invalid" of all others.
_WORDS: Final = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.PRECONDITION_FAILED: "stale",
    HTTPStatus.SERVICE_UNAVAILABLE: "away",
}
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route for people: errors are pages in their language, and who is not signed in is led to the door."""

    def get_route_handler(self) -> Handler:
        """Wrap the endpoint."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except NotSignedInError:
                return _to_the_door(request)
            except RequestValidationError:
                return _problem(request, InvalidError("request.invalid", ""), 400, "invalid")
            except DrumtowerError as error:
                return _problem(request, error, *_status(error))

        return handle


router = APIRouter(route_class=PageRoute, include_in_schema=False)


def install(app: FastAPI, clock: Clock | None = None) -> None:
    """Add the pages and what they load to an application that has its services."""
    services: Services = app.state.services
    app.state.console = ConsoleService(services.database, clock or SystemClock(), services.watch)
    app.include_router(router)
    app.mount("/static", _KeptStatic(directory=STATIC), name="static")


class _KeptStatic(StaticFiles):
    """Static files that browsers keep: their address changes with their content."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def _console(request: Request) -> ConsoleService:
    service: ConsoleService = request.app.state.console
    return service


def _tickets(request: Request) -> TicketService:
    return services_of(request).tickets


Console = Annotated[ConsoleService, Depends(_console)]
Tickets = Annotated[TicketService, Depends(_tickets)]


@router.get("/")
def overview(request: Request, session: CheckedSession, part: str = "") -> HTMLResponse:
    """List, map and what is going on."""
    return _page(request, session, view="list", part=part)


@router.get("/map")
def map_page(request: Request, session: CheckedSession, part: str = "") -> HTMLResponse:
    """The same with the map in front, where there is room for one thing only."""
    return _page(request, session, view="map", part=part)


@router.get("/tickets/{ticket_id}")
def ticket_page(
    request: Request, session: CheckedSession, tickets: Tickets, ticket_id: UUID, part: str = ""
) -> HTMLResponse:
    """The same with a ticket chosen."""
    ticket = tickets.get_ticket(ticket_id)
    return _page(request, session, view="ticket", part=part, ticket=ticket)


class ActionForm(BaseModel):
    """What a ticket's forms send."""

    action: Action
    version: Annotated[int, Field(ge=1)]
    note: Annotated[str, Field(max_length=2000)] = ""
    unit_code: Annotated[str, Field(max_length=48)] = ""
    review_at: Annotated[str, Field(max_length=32)] = ""


@router.post("/tickets/{ticket_id}/actions")
def act(
    request: Request,
    session: CheckedSession,
    tickets: Tickets,
    ticket_id: UUID,
    form: Annotated[ActionForm, Form()],
) -> Response:
    """Do something to a ticket, then show it; what went wrong stands above it."""
    try:
        tickets.act(
            ticket_id,
            form.action,
            session.account,
            note=form.note.replace("\0", "").strip(),
            expected_version=form.version,
            unit_code=form.unit_code or None,
            review_at=district_time(form.review_at),
        )
    except (InvalidError, TransientError) as error:
        if isinstance(error, NotFoundError):
            raise
        status, kind = _status(error)
        ticket = tickets.get_ticket(ticket_id)
        failure = (kind, error)
        return _page(
            request, session, view="ticket", ticket=ticket, failure=failure, status=status, draft=form.note
        )
    query = ListFilter.read(request.query_params).query()
    return RedirectResponse(f"/tickets/{ticket_id}{query}", 303)


@router.get("/sign-in")
def sign_in_page(request: Request, next: str = "/", out: bool = False) -> Response:  # noqa: A002 - as in the address
    """The door."""
    return sign_in_form(request, next, message="sign_in.signed_out" if out else None)


class SignInForm(BaseModel):
    """What the door asks for."""

    name: Annotated[str, Field(max_length=200)] = ""
    password: Annotated[str, Field(max_length=1000)] = ""
    csrf_token: Annotated[str, Field(max_length=200)] = ""
    next: Annotated[str, Field(max_length=2000)] = "/"


@router.post("/sign-in")
def sign_in(request: Request, form: Annotated[SignInForm, Form()]) -> Response:
    """Come in."""
    try:
        door.check_sign_in(request, form.csrf_token)
        begun = door.auth_service(request).sign_in(form.name, form.password, door.client_address(request))
    except ForgedRequestError:
        return sign_in_form(request, form.next, "sign_in.forged", status=403, name=form.name)
    except WrongPasswordError:
        return sign_in_form(request, form.next, "sign_in.wrong", status=401, name=form.name)
    except TooManyAttemptsError as error:
        refused = sign_in_form(
            request, form.next, "sign_in.wait", status=429, name=form.name, wait_s=error.wait_s
        )
        refused.headers["Retry-After"] = str(error.wait_s)
        return refused
    except TransientError:
        return sign_in_form(request, form.next, "sign_in.away", status=503, name=form.name)
    response = RedirectResponse(safe_next(form.next), 303)
    door.begin_session(request, response, begun)
    return response


@router.get("/language/{language}")
def choose_language(language: str, next: str = "/") -> Response:  # noqa: A002 - as in the address
    """Remember a language and go back."""
    response = RedirectResponse(safe_next(next), 303)
    if language in LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR_S, samesite="lax", httponly=True)
    return response


def _page(
    request: Request,
    session: Session,
    *,
    view: str,
    part: str = "",
    ticket: TicketDetail | None = None,
    failure: tuple[str, DrumtowerError] | None = None,
    status: int = 200,
    draft: str = "",
) -> HTMLResponse:
    """The console, or one part of it for a page that is open already."""
    console = _console(request)
    chosen = ListFilter.read(request.query_params)
    values: dict[str, Any] = {
        "view": view,
        "now": console.now(),
        "filter": chosen,
        "ticket": ticket,
        "district": console.district(),
    }
    wanted = {part} if part in _PARTS else set(_PARTS)
    standing = cache(console.standing)  # counted once for a page, and not at all for some of its parts
    if "list" in wanted:
        values["page"] = _tickets(request).list_tickets(chosen.tickets(), chosen.cursor or None)
        values["queue"] = standing().queue
        values |= {"categories": CATEGORIES, "states": STATE_CHOICES}
    if "map" in wanted:
        values |= {"live": console.live_map(standing()), "markers": MARKERS}
    if "storm" in wanted:
        values |= {
            "storms": console.storms(),
            "storm_areas": storm_areas(console.district(), session.account),
        }
    if "status" in wanted:
        values["fleet"] = console.fleet()
    if "detail" in wanted:
        values |= _detail(console, session, ticket) if ticket else _overview(console, standing())
        if ticket is not None:
            values["words"] = console.words(ticket, session.account, services_of(request).personal_keys)
        values |= {"failure": failure, "draft": draft}
    template = f"parts/{part}.html" if part in _PARTS else "overview.html"
    return render(request, template, session=session, status=status, **values)


def _overview(console: ConsoleService, standing: Standing) -> dict[str, Any]:
    return {"counts": standing.communities, "incidents": console.recent_incidents()}


def _detail(console: ConsoleService, session: Session, ticket: TicketDetail) -> dict[str, Any]:
    allowed = buttons(ticket, session.account)
    photos, whistle = console.proof(ticket.ticket_id)
    tasks = [task for one in whistle["conferences"] for task in one["tasks"]]
    alarms, shelved = console.shelf(ticket.ticket_id)
    return {
        "photos": photos,
        "whistle": whistle,
        **asdict(proof(ticket, session.account, tasks)),
        "step": next((one for step in STEPS for one in allowed if one.action is step), None),
        "buttons": allowed,
        "suggested": console.suggested(ticket.ticket_id),
        "may_merge": may_merge(ticket, session.account),
        "alarms": alarms,
        "shelved": shelved,
        "may_shelve": may_shelve(ticket, session.account),
        "shelf_hours": HOURS,
        "observations": console.observations(ticket.ticket_id),
    }


def sign_in_form(
    request: Request,
    target: str,
    message: str | None,
    *,
    status: int = 200,
    name: str = "",
    wait_s: int = 0,
) -> HTMLResponse:
    """The door, with what it has to say."""
    token = door.sign_in_token(request)
    t = texts(language_of(request))
    shown = None if message is None else t(message, **({"wait": t.left(wait_s)} if wait_s else {}))
    response = render(
        request,
        "sign_in.html",
        status=status,
        message=shown,
        failed=status != 200,
        name=name,
        sign_in_token=token,
        next=safe_next(target),
        provider=request.app.state.oidc,
    )
    door.offer_sign_in(request, response, token)
    return response


def _to_the_door(request: Request) -> Response:
    if request.query_params.get("part"):
        return Response(
            status_code=401
        )  # an open page asks for a part of itself; its script goes to the door
    target = str(request.url.path) + (f"?{request.url.query}" if request.url.query else "")
    if request.method != "GET":
        target = target.removesuffix("/actions")
    return RedirectResponse("/sign-in" + (f"?next={quote(target)}" if target != "/" else ""), 303)


def _problem(request: Request, error: DrumtowerError, status: int, kind: str) -> Response:
    return render(request, "problem.html", status=status, kind=kind, error=error)


def _status(error: DrumtowerError) -> tuple[int, str]:
    """The HTTP status of an error and the word for it in the catalogue."""
    status = status_of(error)
    return status.value, _WORDS.get(status, "invalid")


def district_time(text: str) -> datetime | None:
    """What a date-and-time field holds, in the district's time; None when it holds none."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        return None
    return given if given.tzinfo else given.replace(tzinfo=DISTRICT_ZONE)
