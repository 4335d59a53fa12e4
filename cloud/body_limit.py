"""No request body larger than it has any use for: it would be read into memory before anybody asks who sends it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.problem import answer

MAX_BODY_BYTES: Final = 1024 * 1024
_SENTENCE: Final = f"expected a body of at most {MAX_BODY_BYTES} bytes, got a larger one"


class BodyLimit:
    """Refuses larger bodies with 413, by what they announce and by what comes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
            refusal = answer(
                Request(scope),
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "request.too_large",
                _SENTENCE,
                headers={"Connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                # The one exception that FastAPI lets through while it reads a body.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _SENTENCE, {"Connection": "close"})
            return message

        await self._app(scope, counted, send)
