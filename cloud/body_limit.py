"""No request body larger than it has any use for: it would be read into memory before anybody asks who sends it."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.problem import answer

MAX_BODY_BYTES: Final = 1024 * 1024
#: Who sends photos hears why they are refused only when somebody listened to the end; not to any end, though.
_HEAR_OUT: Final = 4


class BodyLimit:
    """Refuses larger bodies with 413, by what they announce and by what comes.

    Args:
        app: what is behind it.
        larger: where a path begins so (``*`` is anything), its own limit in bytes: photos come there.
    """

    def __init__(self, app: ASGIApp, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._larger = dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own = next(
            (most for start, most in self._larger.items() if fnmatchcase(scope["path"], f"{start}*")), None
        )
        most = own or MAX_BODY_BYTES
        sentence = f"expected a body of at most {most} bytes, got a larger one"
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > most:
            if own is not None:
                await _hear_out(receive, most * _HEAR_OUT)
            refusal = answer(
                Request(scope),
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "request.too_large",
                sentence,
                headers={"Connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                # The one exception that FastAPI lets through while it reads a body.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence, {"Connection": "close"})
            return message

        await self._app(scope, counted, send)


async def _hear_out(receive: Receive, most: int) -> None:
    """Read a body and keep nothing of it; a sender that goes on for too long is cut off."""
    heard = 0
    while heard <= most:
        message = await receive()
        heard += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
