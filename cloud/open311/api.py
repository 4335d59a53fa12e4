"""Open311 GeoReport v2 over HTTP, in JSON and XML; its errors have the specification's form, too."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Header, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from cloud.auth.endpoints import Tokens
from cloud.open311.domain import (
    MEDIA_TYPES,
    Open311Error,
    services,
    write,
    write_errors,
)
from cloud.open311.service import Open311Service
from cloud.problem import status_of
from cloud.reports.api import Reports, count_visitor
from cloud.services import CurrentServices
from common.runtime.clock import to_datetime
from common.runtime.errors import DrumtowerError, InvalidError, TransientError
from common.runtime.log import get_logger

_log = get_logger("open311")
_Form = Literal["json", "xml"]
_Field = Annotated[str, Form()]
_Filter = Annotated[str, Query(max_length=4000)]


class SpecifiedRoute(APIRoute):
    """Answers errors as the specification has them, in the form that was asked for."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, with errors in other words."""
        usual = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await usual(request)
            except DrumtowerError as error:
                return _told(request, error)
            except RequestValidationError as error:
                fault = error.errors()[0]
                return _error(request, 400, f"{fault['loc'][-1]}: {fault['msg']}")

        return handle


def _told(request: Request, error: DrumtowerError) -> Response:
    if isinstance(error, Open311Error):
        return _error(request, error.status, str(error))
    status = int(status_of(error))
    if isinstance(error, TransientError):
        _log.error("a request failed", path=request.url.path, code=error.code, error=error.message)
        return _error(request, status, "the database is away, try again")
    # A report that cannot be taken is a general error to the specification, which knows 400.
    is_fault_of_report = isinstance(error, InvalidError) and status == HTTPStatus.UNPROCESSABLE_ENTITY
    return _error(request, 400 if is_fault_of_report else status, f"{error.code}: {error}")


def _error(request: Request, status: int, description: str) -> Response:
    form = "xml" if request.url.path.endswith(".xml") else "json"
    return Response(write_errors(form, status, description), status, media_type=MEDIA_TYPES[form])


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {kind: {} for kind in MEDIA_TYPES.values()}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in (*statuses, 400, 429, 500, 503)
    }


def open311_service(services: CurrentServices, reports: Reports, tokens: Tokens) -> Open311Service:
    """The service of a request."""
    return Open311Service(services.database, reports, tokens, services.open311)


Open311 = Annotated[Open311Service, Depends(open311_service)]
open311 = APIRouter(
    prefix="/open311/v2",
    tags=["open311"],
    route_class=SpecifiedRoute,
    dependencies=[Depends(count_visitor)],
)


def _answer(form: _Form, content: Any, root: str, item: str = "", status: int = 200) -> Response:
    return Response(write(form, content, root, item), status, media_type=MEDIA_TYPES[form])


@open311.get("/discovery.{form}", responses=_documented(200))
def discovery(form: _Form, request: Request) -> Response:
    """Where this endpoint is."""
    endpoint = {
        "specification": "http://wiki.open311.org/GeoReport_v2",
        "url": str(request.base_url).rstrip("/") + "/open311/v2",
        "type": "production",
        "formats": [{"format": kind} for kind in MEDIA_TYPES.values()],
    }
    content: dict[str, Any] = {
        "contact": "the operator of this ticket centre",
        "key_service": "the operator of this ticket centre",
        "endpoints": [endpoint],
    }
    if form == "json":
        endpoint["formats"] = list(MEDIA_TYPES.values())
    return _answer(form, content, "discovery")


@open311.get("/services.{form}", responses=_documented(200, 404))
def list_services(form: _Form, service: Open311, jurisdiction_id: _Filter = "") -> Response:
    """What can be reported."""
    service.check_jurisdiction(jurisdiction_id)
    return _answer(form, services(), "services", "service")


@open311.get("/services/{service_code}.{form}", responses=_documented(200, 404))
def define_service(
    service_code: str, form: _Form, service: Open311, jurisdiction_id: _Filter = ""
) -> Response:
    """What a service asks for besides."""
    service.check_jurisdiction(jurisdiction_id)
    return _answer(form, service.definition(service_code), "service_definition")


@open311.get("/requests.{form}", responses=_documented(200, 404))
def list_requests(
    form: _Form,
    service: Open311,
    services: CurrentServices,
    *,
    jurisdiction_id: _Filter = "",
    service_request_id: _Filter = "",
    service_code: _Filter = "",
    start_date: _Filter = "",
    end_date: _Filter = "",
    status: _Filter = "",
    page: _Filter = "",
    page_size: _Filter = "",
) -> Response:
    """Requests that anybody may read, newest first; by default those of the last 90 days."""
    service.check_jurisdiction(jurisdiction_id)
    query = {
        "service_request_id": service_request_id,
        "service_code": service_code,
        "start_date": start_date,
        "end_date": end_date,
        "status": status,
        "page": page,
        "page_size": page_size,
    }
    clean = {name: text.replace("\0", "") for name, text in query.items()}
    found = service.find(clean, to_datetime(services.clock.now_ms()))
    return _answer(form, found, "service_requests", "request")


@open311.get("/requests/{service_request_id}.{form}", responses=_documented(200, 404))
def get_request(
    service_request_id: str, form: _Form, service: Open311, jurisdiction_id: _Filter = ""
) -> Response:
    """One request."""
    service.check_jurisdiction(jurisdiction_id)
    found = service.get(service_request_id.replace("\0", ""))
    return _answer(form, found, "service_requests", "request")


@open311.get("/tokens/{token}.{form}", responses=_documented(200, 404))
def get_token(token: str, form: _Form, service: Open311, jurisdiction_id: _Filter = "") -> Response:
    """The id of a request by its token. Here every request has its id at once, and the token is the same."""
    service.check_jurisdiction(jurisdiction_id)
    (found,) = service.get(token.replace("\0", ""))
    content = [{"service_request_id": found["service_request_id"], "token": token}]
    return _answer(form, content, "service_requests", "request")


@open311.post("/requests.{form}", responses=_documented(201, 403, 404, 413), status_code=201)
def file_request(
    form: _Form,
    service: Open311,
    *,
    service_code: _Field = "",
    api_key: _Field = "",
    jurisdiction_id: _Field = "",
    lat: _Field = "",
    long: _Field = "",
    coordinate_system: Annotated[str, Form(description="of lat and long, by name; WGS-84 as specified")] = "",
    address_string: _Field = "",
    description: _Field = "",
    first_name: _Field = "",
    last_name: _Field = "",
    phone: _Field = "",
    email: _Field = "",
    media_url: _Field = "",
    media: Annotated[UploadFile | None, File(description="a photo, JPEG or PNG")] = None,
    key: Annotated[str, Header(alias="Idempotency-Key", max_length=200)] = "",
) -> Response:
    """Report something. The api_key is a service token with the scope reports:write."""
    service.check_jurisdiction(jurisdiction_id)
    fields = {
        "service_code": service_code,
        "lat": lat,
        "long": long,
        "coordinate_system": coordinate_system,
        "address_string": address_string,
        "description": description,
        "first_name": first_name,
        "last_name": last_name,
        "phone": phone,
        "email": email,
        "media_url": media_url,
    }
    photos = [media.file.read()] if media is not None and media.size else []
    filed = service.file(fields, photos, api_key, key)
    return _answer(form, [filed], "service_requests", "request", status=201)
