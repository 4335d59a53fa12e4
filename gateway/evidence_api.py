"""The evidence door's HTTP: who may send what, and how far it came. Errors are problem+json with a ``code``."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import Counter
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from common.runtime.clock import Clock
from common.runtime.errors import InvalidError, TransientError
from common.runtime.log import get_logger
from common.wire.topics import Address
from gateway.config import EvidenceSettings
from gateway.evidence import BusyError, DiskFullError, EvidenceFiles, Part, is_media_type, is_sha256
from gateway.fleet import repo
from gateway.fleet.attempts import Attempts
from gateway.fleet.credentials import CredentialChecker

_RANGE: Final = re.compile(r"bytes (\d{1,12})-(\d{1,12})/(\d{1,12})")
_MEBIBYTE: Final = 2**20
_log = get_logger("door")
_T = TypeVar("_T")


class Problem(Exception):  # noqa: N818 - named as in RFC 9457
    """An answer that is not a success."""

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}

    def response(self) -> JSONResponse:
        """As RFC 9457 has it."""
        content = {"type": "about:blank", "status": self.status, "code": self.code, "detail": self.detail}
        return JSONResponse(content, self.status, self.headers, media_type="application/problem+json")


class Ledger:
    """The door's own connection to the database, one question at a time, opened again when it breaks."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._lock = threading.Lock()
        self._connection: repo.Connection | None = None

    def ask(self, question: Callable[[repo.Connection], _T]) -> _T:
        """Run statements in a transaction.

        Raises:
            TransientError: when the database is away.
        """
        with self._lock:
            try:
                self._connection = self._connection or repo.connect(self._url, "evidence")
                with repo.transaction(self._connection) as connection:
                    return question(connection)
            except TransientError:
                self.close()
                raise

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


@dataclass(frozen=True, slots=True)
class _Upload:
    device_id: int
    sha256: str
    media_type: str
    offset: int
    end: int
    total: int


class Door:
    """What the door does, apart from HTTP's plumbing. All of it may block: it runs on worker threads."""

    def __init__(
        self, settings: EvidenceSettings, files: EvidenceFiles, ledger: Ledger, clock: Clock
    ) -> None:
        self.files = files
        self.chunk_s = settings.chunk_s
        self._settings = settings
        self._ledger = ledger
        self._checker = CredentialChecker(clock=clock)
        self._attempts = Attempts(settings.failures_per_minute, clock)

    def admit(self, peer: str, authorization: str | None) -> repo.Holder:
        """The device whose credential this is; ``peer`` is the address it comes from."""
        address, credential = _basic(authorization)
        claim = f"{address}:{credential}"
        if wait_s := self._attempts.begin(peer, claim):
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise Problem(429, "evidence.too_many_attempts", f"too many attempts from {peer}", headers)
        found = self._ledger.ask(lambda connection: repo.holder(connection, address))
        if found is None or found.quarantined:
            self._attempts.failed(peer, claim)
            code = "evidence.unknown_device" if found is None else "evidence.quarantined"
            raise Problem(403, code, f"{address} may not store evidence: {code.partition('.')[2]}")
        if found.credential_hash is None or not self._checker.check(found.credential_hash, credential):
            self._attempts.failed(peer, claim)
            raise _unauthorised(f"the credential of {address} is wrong")
        self._attempts.succeeded(peer, claim)
        return found

    def is_stored(self, sha256: str) -> int | None:
        """The size of a stored file; None when it is not, or is not there any more."""
        if not is_sha256(sha256):
            raise Problem(422, "evidence.bad_name", "expected 64 characters 0–9 and a–f as the name")
        found = self._ledger.ask(lambda connection: repo.evidence(connection, sha256))
        if found is None:
            return None
        size, media_type = found
        # The row may be all that a backup brought back: whoever still has the file is to send it again.
        is_gone = is_media_type(media_type) and not self.files.path(sha256, media_type).is_file()
        return None if is_gone else size

    def plan(self, file: tuple[int, str, str], length: str | None, content_range: str | None) -> _Upload:
        """What a PUT of a ``file`` (device, SHA-256, media type) means to send, if it may."""
        device_id, sha256, content_type = file
        if not is_media_type(content_type):
            raise Problem(
                422, "evidence.media_type", f"expected image/jpeg or video/mp4, got {content_type!r}"
            )
        offset, end, total = _extent(length, content_range)
        limit = self._settings.max_file_mb * _MEBIBYTE
        if total > limit:
            raise Problem(413, "evidence.too_large", f"expected at most {limit} bytes a file, got {total}")
        kept = self.files.kept(device_id, sha256)
        self._check_day(device_id, total - kept)
        if not self.files.has_room(total - offset):
            raise Problem(
                507, "evidence.disk_full", "the disk for evidence is nearly full", {"Retry-After": "300"}
            )
        if offset and offset != kept:
            raise _wrong_offset(kept)
        return _Upload(device_id, sha256, content_type, offset, end, total)

    def open_part(self, upload: _Upload) -> Part:
        """Where to write what comes."""
        try:
            return self.files.open_part(upload.device_id, upload.sha256, upload.offset)
        except BusyError as error:
            raise _wrong_offset(self.files.kept(upload.device_id, upload.sha256)) from error

    def finish(self, upload: _Upload, part: Part) -> int:
        """Verify, put in place, write the row; the size."""
        size = self.files.finish(part, upload.media_type)
        self._ledger.ask(
            lambda connection: repo.add_evidence(
                connection, upload.sha256, upload.media_type, size, upload.device_id
            )
        )
        return size

    def adopt(self, device_id: int, sha256: str, content_type: str) -> int | None:
        """Write the row of a file that is whole on disk without one (the database was away); its size."""
        if not is_media_type(content_type):
            return None
        path = self.files.path(sha256, content_type)
        if not path.is_file():
            return None
        size = path.stat().st_size
        self._ledger.ask(
            lambda connection: repo.add_evidence(connection, sha256, content_type, size, device_id)
        )
        return size

    def _check_day(self, device_id: int, more: int) -> None:
        """Whether so much more is within the day's quota, in which parts count with what came of them."""
        used = self._ledger.ask(
            lambda connection: repo.evidence_bytes_today(connection, device_id)
        ) + self.files.partial_bytes(device_id)
        limit = self._settings.per_device_day_mb * _MEBIBYTE
        if used + more > limit:
            raise Problem(413, "evidence.day_full", f"expected at most {limit} bytes a day, {used} are used")


def make_app(door: Door, answers: Counter) -> FastAPI:
    """The application: ``HEAD`` and ``PUT /v1/evidence/{sha256}``."""
    app = FastAPI(title="Drumtower evidence door", docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(Problem)
    async def problem(_request: Request, error: Problem) -> Response:
        if error.status >= 500:
            _log.error(error.code, message=error.detail)
        answers.labels(error.code).inc()
        return error.response()

    @app.exception_handler(InvalidError)
    async def invalid(_request: Request, error: InvalidError) -> Response:
        answers.labels(error.code).inc()
        return Problem(422, error.code, error.message).response()

    @app.exception_handler(TransientError)
    async def transient(_request: Request, error: TransientError) -> Response:
        answers.labels(error.code).inc()
        return Problem(503, error.code, error.message, {"Retry-After": "5"}).response()

    @app.exception_handler(DiskFullError)
    async def full(_request: Request, error: DiskFullError) -> Response:
        _log.error(error.code, message=error.message, hint=error.hint)
        answers.labels(error.code).inc()
        return Problem(507, error.code, error.message, {"Retry-After": "300"}).response()

    @app.exception_handler(RequestValidationError)
    async def unreadable(_request: Request, error: RequestValidationError) -> Response:
        return Problem(422, "evidence.bad_request", str(error.errors()[:1])).response()

    @app.exception_handler(HTTPException)
    async def not_here(_request: Request, error: HTTPException) -> Response:
        return Problem(error.status_code, "evidence.not_here", str(error.detail)).response()

    @app.head("/v1/evidence/{sha256}")
    def ask(request: Request, sha256: str) -> Response:
        holder = door.admit(_peer(request), request.headers.get("authorization"))
        if door.is_stored(sha256) is not None:
            return Response(status_code=200)
        return Response(
            status_code=404, headers={"Upload-Offset": str(door.files.kept(holder.device_id, sha256))}
        )

    @app.put("/v1/evidence/{sha256}")
    async def put(request: Request, sha256: str) -> Response:
        headers = request.headers
        content_type = headers.get("content-type", "")
        holder = await run_in_threadpool(door.admit, _peer(request), headers.get("authorization"))
        size = await run_in_threadpool(door.is_stored, sha256)
        if size is None:
            size = await run_in_threadpool(door.adopt, holder.device_id, sha256, content_type)
        if size is not None:
            return JSONResponse({"sha256": sha256, "size": size}, 200)
        upload = await run_in_threadpool(
            door.plan,
            (holder.device_id, sha256, content_type),
            headers.get("content-length"),
            headers.get("content-range"),
        )
        part = await run_in_threadpool(door.open_part, upload)
        try:
            if await _receive(request, part, upload, door.chunk_s):
                size = await run_in_threadpool(door.finish, upload, part)
        finally:
            await run_in_threadpool(part.close)
        if size is None:
            kept = await run_in_threadpool(door.files.kept, holder.device_id, sha256)
            return Response(status_code=202, headers={"Upload-Offset": str(kept)})
        answers.labels("stored").inc()
        return JSONResponse({"sha256": sha256, "size": size}, 201)

    return app


async def _receive(request: Request, part: Part, upload: _Upload, chunk_s: float) -> bool:
    """Write what comes; whether the file is complete now."""
    at = upload.offset
    chunks = aiter(request.stream())
    try:
        while True:
            async with asyncio.timeout(chunk_s):
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            at += len(chunk)
            if at > upload.end:
                raise Problem(422, "evidence.wrong_size", f"expected {upload.end} bytes, got more")
            await run_in_threadpool(part.write, chunk)
    except ClientDisconnect:
        return False  # what came is kept; the box asks with HEAD how far
    except TimeoutError as error:
        detail = f"expected more within {chunk_s:g} s; what came is kept"
        raise Problem(408, "evidence.too_slow", detail, {"Connection": "close"}) from error
    if at != upload.end:
        raise Problem(422, "evidence.wrong_size", f"expected {upload.end} bytes, got {at}")
    return at == upload.total


def _peer(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _basic(authorization: str | None) -> tuple[Address, str]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        raise _unauthorised("expected HTTP Basic with site/device and its credential")
    try:
        username, colon, credential = base64.b64decode(encoded, validate=True).decode().partition(":")
        if not colon:
            raise _unauthorised("expected site/device:credential")
        return Address.parse(username), credential
    except (binascii.Error, ValueError) as error:
        raise _unauthorised("expected site/device:credential in base64") from error


def _extent(length: str | None, content_range: str | None) -> tuple[int, int, int]:
    """Offset, end and total of what a PUT sends."""
    if length is None or not length.isdecimal() or not int(length):
        raise Problem(422, "evidence.no_length", "expected Content-Length with at least one byte")
    size = int(length)
    if content_range is None:
        return 0, size, size
    match = _RANGE.fullmatch(content_range)
    if match is None:
        raise Problem(422, "evidence.bad_range", f"expected 'bytes a-b/total', got {content_range[:60]!r}")
    first, last, total = map(int, match.groups())
    if last - first + 1 != size or last >= total:
        raise Problem(
            422, "evidence.bad_range", f"expected a range of {size} bytes, got {content_range[:60]!r}"
        )
    return first, last + 1, total


def _unauthorised(detail: str) -> Problem:
    return Problem(401, "evidence.unauthorised", detail, {"WWW-Authenticate": 'Basic realm="drumtower"'})


def _wrong_offset(kept: int) -> Problem:
    return Problem(409, "evidence.wrong_offset", f"{kept} bytes are kept", {"Upload-Offset": str(kept)})
