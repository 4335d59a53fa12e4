"""``Idempotency-Key``: a request that is sent twice is done once and answered twice the same.

After draft-ietf-httpapi-idempotency-key-header. The key stands in the table before the request is begun and the answer
after it is done: of two at the same time one waits for nothing and is told so (409), and a key whose process died in
between is never done again on suspicion. What was refused left nothing behind, so its key is free again. Endpoints that
keep keys together with what they write, in one transaction, do it themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.auth.api import sent_token, session_cookie
from cloud.auth.service import AuthService
from cloud.auth.tokens import TokenService
from cloud.db import Database
from cloud.errors import ConflictError
from cloud.idempotency import repo
from cloud.problem import of_the_framework, ours
from common.runtime.clock import Clock, to_datetime
from common.runtime.errors import DrumtowerError, InvalidError, TransientError
from common.runtime.log import get_logger

_log = get_logger("http")
HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
KEPT_FOR: Final = timedelta(hours=24)
#: Reports keep their keys with what they write (cloud/reports); sign-in and pages have none.
KEEP_THEIR_OWN: Final = frozenset({"/api/reports", "/api/public/reports"})
#: Whose answers hold a secret that must stand nowhere in the clear.
_SECRET: Final = frozenset({"/api/tokens"})
_KEY: Final = re.compile(r"[\x21-\x7e]{8,200}")
_BOUNDARY: Final = re.compile(rb"boundary=\"?([^\";,]+)")
_KEPT_HEADERS: Final = ("content-type", "etag", "location")


class Idempotency:
    """Stands before the endpoints of the API that create or act.

    Args:
        app: what is behind it.
        database: where keys are kept.
        clock: by which they are forgotten.
        auth: whose session a cookie is.
        tokens: whose token a header holds.
    """

    def __init__(
        self, app: ASGIApp, *, database: Database, clock: Clock, auth: AuthService, tokens: TokenService
    ) -> None:
        self._app = app
        self._database = database
        self._clock = clock
        self._auth = auth
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, answer it from memory, or refuse it."""
        request = Request(scope) if scope["type"] == "http" else None
        if request is None or not is_kept(request.method, scope["path"]) or HEADER not in request.headers:
            await self._app(scope, receive, send)
            return
        try:
            body = await _body_of(receive)
            once = await asyncio.to_thread(self._begin, request, body)
        except DrumtowerError as error:
            await (await ours(request, error))(scope, receive, send)
            return
        except HTTPException as error:
            await (await of_the_framework(request, error))(scope, receive, send)
            return
        if isinstance(once, Response):
            await once(scope, receive, send)
            return
        await self._carry_out(scope, send, body, once)

    def _begin(self, request: Request, body: bytes) -> Response | tuple[str, str]:
        """Whose key it is and which, when this is the first request with it; else what was answered then.

        Raises:
            InvalidError: no key, or one of another request.
            ConflictError: the first request with it is not answered yet.
            TransientError: the database is away.
        """
        key = request.headers[HEADER].strip().strip('"')
        if not _KEY.fullmatch(key):
            raise InvalidError(
                "request.bad_key",
                f"expected an {HEADER} of 8 to 200 visible ASCII characters, got {key[:40]!r}",
                "take a new UUID for each thing to be done, and the same one to send it again",
            )
        owner, asked = self._owner(request), _hash_of(request, body)
        now = to_datetime(self._clock.now_ms())
        with self._database.transaction() as transaction:
            if repo.begin(transaction, owner, key, asked, now):
                return owner, key
            known = repo.find(transaction, owner, key)
        if known is None or (known.status is None and known.request_hash == asked):
            raise ConflictError(
                "request.in_progress",
                "expected a key whose request is answered, this one's goes on, or its end is not known",
                "ask again in a moment; if it stays so, read what it was about and take another key",
            )
        if known.request_hash != asked:
            raise InvalidError(
                "request.key_reused",
                "expected the request that this key was first sent with, got another one",
                "take a new key for a new request",
            )
        return _replayed(known)

    def _owner(self, request: Request) -> str:
        if (token := sent_token(request)) is not None:
            caller = self._tokens.caller(token)
            return str(caller.account.account_id) if caller else ""
        cookie = session_cookie(request)
        session = self._auth.session(cookie) if cookie else None
        return str(session.account.account_id) if session else ""

    async def _carry_out(self, scope: Scope, send: Send, body: bytes, once: tuple[str, str]) -> None:
        """Let it be done, keep the answer, and only then give it."""
        answered: list[Message] = []

        async def hear(message: Message) -> None:
            answered.append(message)

        try:
            await self._app(scope, _Again(body), hear)
        finally:
            await asyncio.to_thread(self._settle, scope["path"], once, answered)
        for message in answered:
            await send(message)

    def _settle(self, path: str, once: tuple[str, str], answered: list[Message]) -> None:
        """Keep the answer of what was done, or free the key where nothing was."""
        try:
            if not answered or answered[0]["status"] >= HTTPStatus.BAD_REQUEST:
                with self._database.transaction() as transaction:
                    repo.let_go(transaction, *once)
                return
            sent = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in answered[0]["headers"]
            }
            kept = {name: sent[name] for name in _KEPT_HEADERS if name in sent}
            body = None if path in _SECRET else b"".join(message.get("body", b"") for message in answered)
            self._keep(once, answered[0]["status"], kept, body)
        except TransientError as error:
            # Whoever asked still hears the answer; the key stays in progress, so nothing is done twice.
            _log.warning("an answer is not kept", path=path, error=error.message)

    def _keep(self, once: tuple[str, str], status: int, headers: dict[str, str], body: bytes | None) -> None:
        with self._database.transaction() as transaction:
            repo.keep(transaction, *once, status=status, headers=headers, body=body)


class _Again:
    """Gives a body that was read already to whoever reads it next; then the sender is silent."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def __call__(self) -> Message:
        if self._body is None:
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def is_kept(method: str, path: str) -> bool:
    """Whether keys of requests to this address are kept here."""
    return method == "POST" and path.startswith("/api/") and path not in KEEP_THEIR_OWN


async def _body_of(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return b"".join(parts)


def _hash_of(request: Request, body: bytes) -> bytes:
    """What makes a request this one. A form's boundary is drawn anew each time and says nothing."""
    content_type = request.headers.get("content-type", "").encode("latin-1")
    if boundary := _BOUNDARY.search(content_type):
        body = body.replace(boundary[1], b"")
    parts = (
        request.method.encode(),
        request.url.path.encode(),
        request.url.query.encode(),
        request.headers.get("if-match", "").encode("latin-1"),
        request.headers.get("x-receipt-secret", "").encode("latin-1"),
        body,
    )
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def _replayed(known: repo.Known) -> Response:
    if known.body is None:
        raise ConflictError(
            "request.answered_once",
            "this was done; its answer held a secret and was given once",
            "revoke what was made and make another",
        )
    assert known.status is not None
    return Response(known.body, known.status, dict(known.headers or {}) | {REPLAYED: "true"})
