"""Evidence on its way to the district: resumable HTTPS PUT, after every alarm, never for ever.

A file that the door cannot take for itself alone stays, is tried again by itself and keeps nobody: ``edge/upload_order.py``.

The protocol is the evidence door's: HEAD tells how many bytes are kept, PUT with ``Content-Range``
(RFC 9110 section 14.4) goes on from there, 201 or 200 is the receipt.
"""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import httpx
import msgspec

from common.runtime.clock import Clock, SystemClock
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from edge.config import EvidenceDoor
from edge.database import DiskFullError
from edge.evidence import EvidenceStore, StoredEvidence
from edge.settings import UploadSettings
from edge.upload_order import UploadOrder

_REFUSED: Final = {
    401: "the district does not know this credential: check DRUMTOWER_CREDENTIAL_FILE",
    403: "the district does not take evidence of this device: enrol it, or lift its quarantine",
    413: "the district takes smaller files only: lower the camera's evidence.most_bytes",
    422: "what arrived does not have the announced hash or size: the file may be damaged on the box's disk",
}
_OF_THE_DEVICE: Final = {401, 403}
_FOR_TODAY: Final = {"evidence.day_full"}
_WRONG_HASH: Final = "evidence.wrong_hash"
#: Digits of the largest offset that is believed.
_DIGITS: Final = 12
_IDLE_S: Final = 1.0
_TRIM_EVERY: Final = 300
_log = get_logger("upload")


class _Problem(msgspec.Struct):
    """What of RFC 9457 matters here."""

    code: str = ""


class UploadError(TransientError):
    """The evidence door cannot be used now: try again later."""


class Uploader:
    """Sends what the store holds, one file at a time.

    Args:
        store: what waits.
        door: where to send it and as whom; patience begins when none of its addresses can be reached.
        settings: size of parts and patience.
        hold: whether something more urgent waits; asked before every request.
        clock: time.
    """

    def __init__(
        self,
        store: EvidenceStore,
        door: EvidenceDoor,
        settings: UploadSettings,
        hold: Callable[[], bool],
        clock: Clock | None = None,
    ) -> None:
        self.uploaded = 0
        self._clock = clock or SystemClock()
        self._order = UploadOrder(settings.retry_s, settings.longest_retry_s)
        self._store = store
        self._settings = settings
        self._hold = hold
        self._awake = threading.Event()
        self._doors = deque(_client(door, url, settings) for url in door.urls)

    def wake(self) -> None:
        """Say that a file was queued; may be called from any thread."""
        self._awake.set()

    def run(self, stop: Stop) -> None:
        """Send until stopped."""
        turns = 0
        while not stop.is_set():
            turns += 1
            waiting: StoredEvidence | None = None
            try:
                if turns % _TRIM_EVERY == 1:
                    self._store.trim()
                    self._order.forget_but(self._store.unsent())
                waiting = self._next()
                if waiting is None or self._hold():
                    self._awake.wait(_IDLE_S)
                    self._awake.clear()
                    continue
                pause = self._try(waiting)
            except DiskFullError as error:
                # What the district took and a full disk could not note is asked about, or sent, once more.
                pause = self._not_now("" if waiting is None else waiting.sha256, error)
            stop.wait(pause)
        for client in self._doors:
            client.close()

    def _next(self) -> StoredEvidence | None:
        """What to send now: after a failure first what was not tried yet, which tells whether the door is at fault."""
        tried = self._order.tried()
        untried = self._store.next(but=tried) if tried else None
        return untried or self._store.next(but=self._order.resting(self._clock.monotonic()))

    def _try(self, file: StoredEvidence) -> float:
        """Send one file, and note a try that failed; seconds to leave the door alone.

        Raises:
            DiskFullError: what became of it could not be written down.
        """
        try:
            return self._send(file)
        except UploadError as error:
            self._store.attempted(file.sha256)
            return self._not_now(file.sha256, error)

    def _not_now(self, name: str, error: TransientError) -> float:
        """It waits, and others go before it; seconds to leave the door alone."""
        now = self._clock.monotonic()
        pause = self._order.failed(name, now)
        alone = self._order.is_alone(name)
        _log.warning(
            error.code,
            message=error.message,
            hint=f"others pass, so it is this one: {error.hint}" if alone else error.hint,
            retry_in_s=round(self._order.rests_s(name, now), 1),
        )
        return pause

    def _send(self, file: StoredEvidence) -> float:
        """Bring one file over or park it; seconds to wait before the next.

        Raises:
            UploadError: not now.
        """
        try:
            content = file.path.read_bytes()
        except OSError as error:
            self._store.park(file.sha256, f"unreadable: {error.strerror}")
            self._order.put_by(file.sha256)
            _log.error(
                "upload.unreadable", file=str(file.path), message=str(error), hint="look at the box's disk"
            )
            return 0.0
        offset = self._offset(file) if file.attempts else 0
        resumed = bool(offset)
        # Twice the parts: the district may send us back to where it really is.
        for _ in range(2 * (len(content) // (self._settings.part_kb * 1024) + 2)):
            if offset is None:
                self._store.receipted(file.sha256)
                self._order.taken(file.sha256, self._clock.monotonic())
                self.uploaded += 1
                return 0.0
            if self._hold():
                return 0.0
            response = self._put(file, content, offset)
            if response.status_code in _REFUSED and (code := _code(response)) not in _FOR_TODAY:
                if resumed and code == _WRONG_HASH:
                    # What they kept of an earlier try was damaged, and is thrown away: from the beginning, then.
                    break
                return self._refused(file, response)
            offset = _next_offset(file, response)
            resumed = resumed or (response.status_code == httpx.codes.CONFLICT and bool(offset))
        raise UploadError("upload.failed", f"the evidence door never took all of {file.sha256[:12]}…", "")

    def _offset(self, file: StoredEvidence) -> int | None:
        """How much of it the district keeps; None when all. Whoever does not say so is not asked to begin anew."""
        response = self._request("HEAD", file)
        if response.status_code in {httpx.codes.NOT_FOUND, *_OF_THE_DEVICE}:
            return _number(response.headers.get("Upload-Offset", "0"), below=file.size)
        return _next_offset(file, response)

    def _put(self, file: StoredEvidence, content: bytes, offset: int) -> httpx.Response:
        part = content[offset : offset + self._settings.part_kb * 1024]
        headers = {"Content-Type": file.media_type}
        if len(part) < len(content):
            headers["Content-Range"] = f"bytes {offset}-{offset + len(part) - 1}/{len(content)}"
        return self._request("PUT", file, part, headers)

    def _request(
        self,
        method: str,
        file: StoredEvidence,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Ask the door that answered last, and when it cannot be reached the others in turn.

        What one door keeps another may not: it then answers 409 with the offset to go on from.
        """
        failures = []
        for _ in range(len(self._doors)):
            try:
                return self._doors[0].request(
                    method, f"/v1/evidence/{file.sha256}", content=content, headers=headers
                )
            except httpx.RequestError as error:  # not reached, or an answer that is no HTTP
                failures.append(f"{self._doors[0].base_url}: {error!r}")
                self._doors.rotate(-1)
                if len(failures) < len(self._doors):
                    _log.info("upload.next_door", failed=failures[-1], next=str(self._doors[0].base_url))
        raise UploadError(
            "upload.unreachable",
            f"expected an evidence door, got: {'; '.join(failures)}",
            "evidence waits on the box; check the network, DRUMTOWER_EVIDENCE_URL and DRUMTOWER_CA_FILE",
        )

    def _refused(self, file: StoredEvidence, response: httpx.Response) -> float:
        status = response.status_code
        _log.error("upload.refused", status=status, sha256=file.sha256, hint=_REFUSED[status])
        if status in _OF_THE_DEVICE:
            # The next file will be refused as well; who enrols the device or lets it go on does so at the district.
            return self._order.failed(file.sha256, self._clock.monotonic(), longest=True)
        self._store.park(file.sha256, f"{status} {response.text[:200]}")
        self._order.put_by(file.sha256)
        return 0.0


def _client(door: EvidenceDoor, url: str, settings: UploadSettings) -> httpx.Client:
    verify: ssl.SSLContext | bool = True
    if url.startswith("https"):
        verify = ssl.create_default_context(cafile=door.ca_file)
    return httpx.Client(
        base_url=url,
        auth=(door.username, door.password),
        verify=verify,
        timeout=settings.timeout_s,
        trust_env=False,
    )


def _next_offset(file: StoredEvidence, response: httpx.Response) -> int | None:
    """Where to go on after an answer; None when the district has all of it."""
    if response.status_code in {200, 201}:
        return None
    if response.status_code in {202, 409} and "Upload-Offset" in response.headers:
        return _number(response.headers["Upload-Offset"], below=file.size)
    raise UploadError(
        "upload.failed",
        f"expected the evidence door to take {file.sha256[:12]}…, got {response.status_code} {_code(response)}",
        "look at the gateway's log",
    )


def _code(response: httpx.Response) -> str:
    """The code of a problem+json, or nothing."""
    if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return ""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return problem.code


def _number(text: str, below: int) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > _DIGITS:
        raise UploadError("upload.failed", f"expected a number as Upload-Offset, got {text[:40]!r}", "")
    # All of it kept and yet not stored: what they keep is not what we have. From the beginning, then.
    return int(text) if int(text) < below else 0
