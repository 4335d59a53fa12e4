"""The guard before every endpoint of the API: who sends this, and does the table of access let them?

Wiring (``cloud/app.py``): ``FastAPI(dependencies=[Depends(guard)])``, so that no endpoint can be without it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from cloud.auth.access import access_of, check_access
from cloud.auth.api import SAFE_METHODS, auth_service, prove_own_page, sent_token, session_cookie
from cloud.auth.domain import Caller
from cloud.auth.errors import NotSignedInError
from cloud.auth.tokens import TokenService


def caller_of(request: Request) -> Caller | None:
    """Who sends a request to the API, or None; the pages ask for themselves.

    Raises:
        NotSignedInError: a token was sent, and it is none that is good.
    """
    if not _is_endpoint(request):
        return None
    caller = None
    if (token := sent_token(request)) is not None:
        tokens: TokenService = request.app.state.tokens
        caller = tokens.caller(token)
        if caller is None:
            raise NotSignedInError(
                "auth.bad_token",
                "expected a service token that is good, got one that is unknown, revoked or over",
                "an administrator can make another: drumtower cloud token add",
            )
    elif (cookie := session_cookie(request)) and (session := auth_service(request).session(cookie)):
        caller = Caller(session.account, session.csrf_token)
    request.state.caller = caller
    return caller


async def guard(request: Request, caller: Annotated[Caller | None, Depends(caller_of)]) -> None:
    """Let a request pass, or refuse it before anything was read or done.

    Raises:
        NotSignedInError: it needs somebody, and nobody is there.
        ForgedRequestError: another site may have sent it.
        ForbiddenError: its token or its role may not.
    """
    if not _is_endpoint(request):
        return
    row = access_of(request.method, request.scope["route"].path)
    if row.is_open:
        return
    if caller is None:
        raise NotSignedInError(
            "auth.not_signed_in",
            "expected a signed-in session or a service token, found neither, or one that is over",
            "sign in at /sign-in, or send Authorization: Bearer and a token",
        )
    if caller.scopes is None and request.method not in SAFE_METHODS:
        await prove_own_page(request, caller.csrf_token)
    check_access(row, caller)


def _is_endpoint(request: Request) -> bool:
    """Whether a route belongs to the described API, and not to the pages."""
    route: Any = request.scope.get("route")
    return bool(getattr(route, "include_in_schema", False))
