"""Every error over HTTP as a problem: one form, one media type, a code that the documentation lists.

Source: RFC 9457, problem details for HTTP APIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cloud.auth.errors import NotSignedInError, TooManyAttemptsError, WrongPasswordError
from cloud.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PreconditionRequiredError,
    StaleVersionError,
    TooLargeError,
    TooManyRequestsError,
)
from common.runtime.errors import DrumtowerError, InvalidError, TransientError
from common.runtime.log import get_logger

MEDIA_TYPE: Final = "application/problem+json"
_log = get_logger("http")

# The first class that fits decides, so the narrower ones stand first.
_STATUSES: Final[Mapping[type[DrumtowerError], HTTPStatus]] = {
    NotSignedInError: HTTPStatus.UNAUTHORIZED,
    WrongPasswordError: HTTPStatus.UNAUTHORIZED,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    StaleVersionError: HTTPStatus.PRECONDITION_FAILED,
    PreconditionRequiredError: HTTPStatus.PRECONDITION_REQUIRED,
    TooManyAttemptsError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyRequestsError: HTTPStatus.TOO_MANY_REQUESTS,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    InvalidError: HTTPStatus.UNPROCESSABLE_ENTITY,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}


class FieldFault(BaseModel):
    """One thing wrong in one place of a request."""

    at: str = Field(description="where: body.action, query.limit …")
    message: str


class Problem(BaseModel):
    """What went wrong, for people and programs."""

    type: str = Field(description="urn:drumtower:problem: and the code")
    title: str
    status: int
    detail: str = Field(description="what was expected and what was found")
    code: str
    hint: str = Field(default="", description="what to do about it")
    instance: str = Field(description="the path that was asked for")
    errors: list[FieldFault] = Field(default=[], description="of an invalid request, every fault")


def responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The documentation of an endpoint's errors; every endpoint can be given bad input or meet a lost database."""
    always = (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    return {
        status.value: {
            "description": status.phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in (*statuses, *always)
    }


def status_of(error: DrumtowerError) -> HTTPStatus:
    """The HTTP status of one of our errors; what is in no list is our fault."""
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def install(app: FastAPI) -> None:
    """Make an application answer every error with a problem, and its OpenAPI document say so."""
    app.add_exception_handler(DrumtowerError, ours)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, of_the_framework)
    app.add_exception_handler(Exception, _bug)
    build = app.openapi

    def with_problem() -> dict[str, Any]:
        document = build()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
        return document

    app.openapi = with_problem  # type: ignore[method-assign] # the place FastAPI names for extending it


def answer(
    request: Request,
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
    errors: list[FieldFault] | None = None,
) -> JSONResponse:
    """An error's response."""
    problem = Problem(
        type=f"urn:drumtower:problem:{code}",
        title=status.phrase,
        status=status.value,
        detail=detail,
        code=code,
        hint=hint,
        instance=request.url.path,
        errors=errors or [],
    )
    return JSONResponse(
        problem.model_dump(), status_code=status.value, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


async def ours(request: Request, error: Exception) -> JSONResponse:
    """The response to one of our errors."""
    assert isinstance(error, DrumtowerError)
    status = status_of(error)
    headers = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="drumtower", Cookie realm="drumtower"'
    elif isinstance(error, TooManyAttemptsError | TooManyRequestsError):
        headers["Retry-After"] = str(error.wait_s)
    elif status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("a request failed", path=request.url.path, code=error.code, error=error.message)
    # What a lost database says of itself names hosts and users; those who ask over HTTP need not know.
    detail = "the database is away" if isinstance(error, TransientError) else error.message
    return answer(request, status, error.code, detail, hint=error.hint, headers=headers)


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [
        FieldFault(at=".".join(map(str, fault["loc"])), message=str(fault["msg"])[:300])
        for fault in error.errors()[:50]
    ]
    count = len(error.errors())
    return answer(
        request,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "request.invalid",
        f"{count} fault{'s' if count != 1 else ''} in the request: {faults[0].at}: {faults[0].message}",
        hint="/api/openapi.json says what is expected",
        errors=faults,
    )


async def of_the_framework(request: Request, error: Exception) -> JSONResponse:
    """The response to an error of the framework."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.BAD_REQUEST:  # a body so wrong that the framework's parser gave up on it
        return answer(
            request,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "request.invalid",
            f"the body cannot be read: {error.detail}",
            hint="/api/openapi.json says what is expected",
        )
    code = {404: "request.unknown_path", 405: "request.wrong_method", 413: "request.too_large"}.get(
        status, "request.refused"
    )
    detail = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.method} is not possible here",
    }.get(status, str(error.detail))
    return answer(
        request, status, code, detail, hint="/api/openapi.json lists what there is", headers=error.headers
    )


async def _bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("a request met a bug", path=request.url.path, method=request.method, exc_info=error)
    return answer(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "request.bug",
        "this request met a fault of ours; it is in the log",
        hint="try again later, and tell the operator",
    )
