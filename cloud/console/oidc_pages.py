"""The console's way to the city's own sign-in and back, and out of both."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from cloud.auth import api as door
from cloud.auth.errors import NotSignedInError
from cloud.auth.oidc import CALLBACK, LEFT, Begun, Oidc
from cloud.console.api import PageRoute, sign_in_form
from cloud.console.pages import safe_next
from cloud.errors import NotFoundError
from common.runtime.errors import InvalidError, TransientError
from common.runtime.log import get_logger

router = APIRouter(route_class=PageRoute, include_in_schema=False)
COOKIE = "drumtower_oidc"
_PATIENCE_S = 600
_log = get_logger("sign-in")


def _provider(request: Request) -> Oidc:
    oidc: Oidc | None = request.app.state.oidc
    if oidc is None:
        raise NotFoundError("auth.no_oidc", "expected a provider in the settings, found none")
    return oidc


@router.get("/sign-in/oidc")
def go(request: Request, next: str = "/") -> Response:  # noqa: A002 - as in the address
    """Send a browser to the provider; it keeps what it has to bring back."""
    try:
        address, begun = _provider(request).begin(safe_next(next))
    except TransientError as error:
        _log.warning("the provider is away", error=error.message)
        return sign_in_form(request, next, "sign_in.provider_away", status=503)
    response = RedirectResponse(address, 303)
    # It comes back from another site, so not "strict".
    response.set_cookie(
        COOKIE,
        begun.encoded(),
        max_age=_PATIENCE_S,
        path="/sign-in/oidc",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


@router.post(door.SIGN_OUT, dependencies=[Depends(door.checked_session)])
def sign_out(request: Request) -> Response:
    """Leave; the session is over for whoever holds its token. Who came by the provider is signed out there too."""
    token = request.cookies.get(door.SESSION_COOKIE, "")
    door.auth_service(request).sign_out(token, door.client_address(request))
    address = _way_out(request)
    if address is None:
        response: Response = RedirectResponse(LEFT, 303)
    else:
        # Not a redirect: a form may lead to our own site alone, and browsers hold what answers it to that.
        response = sign_in_form(request, "/", "sign_in.signed_out")
        response.headers["Refresh"] = f"0; url={address}"
    door.end_session(response)
    return response


def _way_out(request: Request) -> str | None:
    """Where a browser is signed out at the provider; None when nobody there signed it in, or it cannot be told."""
    oidc: Oidc | None = request.app.state.oidc
    id_token = door.vouched(request)
    if oidc is None or id_token is None:
        return None
    try:
        return oidc.end(id_token)
    except (TransientError, InvalidError) as error:
        _log.warning("nobody was signed out at the provider", code=error.code, error=error.message)
        return None


@router.get(CALLBACK)
def come_back(request: Request) -> Response:
    """Let in whom the provider vouches for, when the centre knows them."""
    oidc = _provider(request)
    begun = Begun.decoded(request.cookies.get(COOKIE, ""))
    auth, address = door.auth_service(request), door.client_address(request)
    try:
        vouched = oidc.finish(begun, dict(request.query_params))
        session = auth.sign_in_vouched(oidc.settings.issuer, vouched.subject, address)
    except TransientError as error:
        _log.warning("the provider is away", error=error.message)
        return sign_in_form(request, "/", "sign_in.provider_away", status=503)
    except (NotSignedInError, InvalidError) as error:
        _log.warning("somebody was not let in", code=error.code, error=error.message)
        message = "sign_in.unknown" if error.code == "auth.unknown_identity" else "sign_in.not_vouched"
        return sign_in_form(request, begun.next if begun else "/", message, status=401)
    assert begun is not None, "finish() asks for it"
    response = RedirectResponse(safe_next(begun.next), 303)
    door.begin_session(request, response, session, vouched.id_token)
    response.delete_cookie(COOKIE, path="/sign-in/oidc")
    return response
