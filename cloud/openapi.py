"""What holds for every endpoint stands in the OpenAPI document once, from the tables that enforce it."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from cloud.auth.access import ACCESS
from cloud.idempotency.middleware import HEADER, is_kept
from cloud.problem import responses

_KEY: Final = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 8, "maxLength": 200, "pattern": "^[!-~]+$", "title": HEADER},
    "description": "a new one for each thing to be done; sent again within a day, it is not done again, and the"
    " answer is the first one, with Idempotency-Replayed",
}
_CHANGING: Final = ("post", "put", "patch", "delete")


def install(app: FastAPI) -> None:
    """Complete an application's OpenAPI document; call it after every router is in."""
    build = app.openapi

    def completed() -> dict[str, Any]:
        document = build()
        for path, method, operation in operations(document):
            _complete(path, method, operation)
        return document

    app.openapi = completed  # type: ignore[method-assign] # the place FastAPI names for extending it


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation of an OpenAPI document: path, method in small letters, what is said of it."""
    for path, item in document.get("paths", {}).items():
        for method, operation in item.items():
            if method in {"get", "put", "post", "delete", "options", "head", "patch", "trace"}:
                yield path, method, operation


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    row = ACCESS.get((method.upper(), path))
    statuses: list[HTTPStatus] = []
    if row is not None and not row.is_open:
        statuses += [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN]
        operation["x-scope"] = row.scope or ""
    if method in _CHANGING:
        statuses.append(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if is_kept(method.upper(), path):
        statuses.append(HTTPStatus.CONFLICT)
        parameters = operation.setdefault("parameters", [])
        if _KEY not in parameters:
            parameters.append(_KEY)
    told: dict[str, Any] = operation.setdefault("responses", {})
    for status, response in responses(*statuses).items():
        # Where an endpoint has errors of its own form, what the framework refuses before it is a problem still.
        content = told.setdefault(str(status), {"description": response["description"]}).setdefault(
            "content", {}
        )
        for media_type, schema in response["content"].items():
            content.setdefault(media_type, schema)
