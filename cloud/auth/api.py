"""Who sends a request: sessions in a cookie, tokens in a header, and proof that a request comes from our own page.

Wiring (``cloud/app.py``): ``app.state.auth = AuthService(database, clock)``, ``app.state.tokens``. Endpoints depend
on ``CurrentAccount``, which ``cloud/auth/guard.py`` has found and let pass. A signed-in browser's requests that change something carry its session's token, as the
header ``X-CSRF-Token`` or (forms) the field ``csrf_token``; a request from another site has neither.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from cloud.auth.domain import Account, Caller
from cloud.auth.errors import ForgedRequestError, NotSignedInError
from cloud.auth.service import SESSION_LIFE, AuthService, NewSession, Session
from cloud.auth.tokens import TokenService

SESSION_COOKIE: Final = "drumtower_session"
SIGN_IN_COOKIE: Final = "drumtower_sign_in"
#: The provider's word for who signed in there; it goes back when they sign out, and to no other page.
VOUCHED_COOKIE: Final = "drumtower_vouched"
SIGN_OUT: Final = "/sign-out"
#: Browsers keep 4096 bytes of a cookie with its name. A longer word is not kept; then the provider may ask.
_LONGEST_WORD: Final = 3500
CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf_token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")

_cookie = APIKeyCookie(
    name=SESSION_COOKIE, auto_error=False, description="set by signing in on the page; ends after 12 h"
)
_bearer = HTTPBearer(
    auto_error=False, description="a service token: drumtower cloud token add, or POST /api/tokens"
)
_SCHEME: Final = "bearer"


def auth_service(request: Request) -> AuthService:
    """The door, as wired into the application."""
    service: AuthService = request.app.state.auth
    return service


def client_address(request: Request) -> str:
    """Where a request comes from; behind a proxy uvicorn's ``--forwarded-allow-ips`` decides whom to believe."""
    return request.client.host if request.client else ""


def current_session(request: Request, token: Annotated[str | None, Depends(_cookie)] = None) -> Session:
    """The session of a request, whatever its method.

    Raises:
        NotSignedInError: when there is none, or it is over.
    """
    session = auth_service(request).session(token) if token else None
    if session is None:
        raise NotSignedInError(
            "auth.not_signed_in",
            "expected a signed-in session, found none" if not token else "the session is over",
            "sign in at /sign-in",
        )
    return session


def sent_token(request: Request) -> str | None:
    """The service token that a request carries, good or not."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None


def session_cookie(request: Request) -> str:
    """The token of a browser's session, good or not; empty for none."""
    return request.cookies.get(SESSION_COOKIE, "")


def still_signed_in(request: Request) -> Callable[[], bool]:
    """Asks again, later, whether who sent this request still may; may be called from any thread."""
    token, cookie = sent_token(request), session_cookie(request)
    if token is not None:
        tokens: TokenService = request.app.state.tokens
        return lambda: tokens.caller(token) is not None
    service = auth_service(request)
    return lambda: service.session(cookie) is not None


_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
StillSignedIn = Annotated[Callable[[], bool], Depends(still_signed_in)]
CurrentSession = Annotated[Session, Depends(current_session)]


async def prove_own_page(request: Request, csrf_token: str) -> None:
    """That a request which changes something comes from our own page.

    Raises:
        ForgedRequestError: when the proof is missing or wrong.
    """
    refuse_other_sites(request)
    given = request.headers.get(CSRF_HEADER) or await _form_token(request)
    if not hmac.compare_digest(given.encode(), csrf_token.encode()):
        raise ForgedRequestError(
            "auth.forged_request",
            f"expected this session's token in the header {CSRF_HEADER} or the form field {CSRF_FIELD},"
            f" got {'another one' if given else 'none'}",
            "load the page again and repeat; it may have been open since before you signed in",
        )


async def checked_session(request: Request, session: CurrentSession) -> Session:
    """The session of a page, and for a request that changes something the proof that our own page sent it.

    Raises:
        NotSignedInError: when nobody is signed in.
        ForgedRequestError: when the proof is missing or wrong.
    """
    if request.method not in SAFE_METHODS:
        await prove_own_page(request, session.csrf_token)
    return session


CheckedSession = Annotated[Session, Depends(checked_session)]


def current_account(
    request: Request, _by_cookie: Annotated[str | None, Depends(_cookie)], _by_token: _Bearer
) -> Account:
    """Who sends a request that the guard let pass; the two schemes stand here for the OpenAPI document."""
    caller: Caller = request.state.caller
    return caller.account


CurrentAccount = Annotated[Account, Depends(current_account)]


def refuse_other_sites(request: Request) -> None:
    """Refuse what a browser says comes from another site.

    Raises:
        ForgedRequestError: by ``Sec-Fetch-Site`` or ``Origin``.
    """
    origin = request.headers.get("origin")
    fetched_from = request.headers.get("sec-fetch-site", "same-origin")
    other = origin is not None and urlsplit(origin).netloc != request.headers.get("host", "")
    if other or fetched_from not in {"same-origin", "none"}:
        raise ForgedRequestError(
            "auth.other_site",
            f"expected a request of this site's own pages, got one from {origin or fetched_from}",
            "behind a proxy, pass the Host header on",
        )


async def _form_token(request: Request) -> str:
    if not request.headers.get("content-type", "").startswith(_FORMS):
        return ""
    field = (await request.form()).get(CSRF_FIELD)
    return field if isinstance(field, str) else ""


def begin_session(
    request: Request, response: Response, begun: NewSession, id_token: str | None = None
) -> None:
    """Give the browser its session; ``id_token`` is a provider's, where one vouched."""
    response.set_cookie(
        SESSION_COOKIE,
        begun.token,
        max_age=int(SESSION_LIFE.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    response.delete_cookie(SIGN_IN_COOKIE)
    if id_token is None:
        response.delete_cookie(VOUCHED_COOKIE, path=SIGN_OUT)
        return
    response.set_cookie(
        VOUCHED_COOKIE,
        id_token if len(id_token) <= _LONGEST_WORD else "-",
        max_age=int(SESSION_LIFE.total_seconds()),
        path=SIGN_OUT,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def vouched(request: Request) -> str | None:
    """The provider's word for who signed in there, empty where it was too long to keep; None of all others."""
    kept = request.cookies.get(VOUCHED_COOKIE)
    return None if kept is None else kept.removeprefix("-")


def end_session(response: Response) -> None:
    """Take the browser's session away."""
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
    response.delete_cookie(VOUCHED_COOKIE, path=SIGN_OUT)


def offer_sign_in(request: Request, response: Response, token: str) -> None:
    """Remember what the sign-in form was given: nobody has a session yet that could hold its token."""
    response.set_cookie(
        SIGN_IN_COOKIE,
        token,
        max_age=3600,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def sign_in_token(request: Request) -> str:
    """The token for a sign-in form: the one this browser has, or a new one."""
    return request.cookies.get(SIGN_IN_COOKIE) or secrets.token_urlsafe(24)


def check_sign_in(request: Request, given: str) -> None:
    """Whether a sign-in form is one that we gave to this browser.

    Raises:
        ForgedRequestError: when it is not.
    """
    refuse_other_sites(request)
    expected = request.cookies.get(SIGN_IN_COOKIE, "")
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        raise ForgedRequestError(
            "auth.forged_request",
            "expected this browser's own sign-in form",
            "load the page again and repeat",
        )
