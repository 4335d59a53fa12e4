"""The evidence door, as a box with a real HTTPS client finds it."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import resource
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from common.runtime.clock import ManualClock, SystemClock
from common.runtime.errors import ConfigError
from common.runtime.stop import Stop
from common.wire.topics import Address
from edge.config import EvidenceDoor as Where
from edge.database import Database
from edge.evidence import EvidenceStore
from edge.settings import UploadSettings
from edge.upload import Uploader
from gateway.config import EvidenceSettings
from gateway.door import EvidenceDoor
from gateway.evidence import BusyError, EvidenceFiles
from gateway.fleet import credentials
from gateway.fleet import repo as fleet
from gateway.fleet.attempts import Attempts
from gateway.fleet.credentials import hash_credential
from local.certificates import ensure_certificates
from tests.integration.gateway_rig import eventually, register, rows

pytestmark = pytest.mark.services
LIMIT = 1024 * 1024


def jpeg(size: int = 5000) -> bytes:
    """Bytes that begin as a JPEG does."""
    return b"\xff\xd8\xff\xe0" + secrets.token_bytes(size - 4)


def sha(content: bytes) -> str:
    """Its name."""
    return hashlib.sha256(content).hexdigest()


@dataclass
class Rig:
    """An open door and its client."""

    client: httpx.Client
    directory: Path
    url: str
    port: int

    def put(self, content: bytes, name: str | None = None, **headers: str) -> httpx.Response:
        """Send some bytes."""
        usual = {"Content-Type": "image/jpeg"} | {
            key.replace("_", "-"): value for key, value in headers.items()
        }
        return self.client.put(f"/v1/evidence/{name or sha(content)}", content=content, headers=usual)

    def head(self, name: str) -> httpx.Response:
        """Ask how far a file is."""
        return self.client.head(f"/v1/evidence/{name}")

    def part(self, content: bytes, first: int, end: int) -> httpx.Response:
        """Send a part of some bytes."""
        return self.put(
            content[first:end], sha(content), Content_Range=f"bytes {first}-{end - 1}/{len(content)}"
        )


@pytest.fixture
def rig(tmp_path: Path, database_url: str) -> Iterator[Rig]:
    """A door with one registered box before it."""
    register(database_url, "kiln", "box-0", "box-1")
    with fleet.connect(database_url, "test") as connection:
        fleet.set_credential_hash(connection, Address("kiln", "box-0"), hash_credential("right"))
    certificates = ensure_certificates(tmp_path / "certificates")
    stop = Stop()
    door = EvidenceDoor(
        EvidenceSettings(port=0, max_file_mb=1, per_device_day_mb=3, keep_free_mb=0, chunk_s=1),
        directory=tmp_path / "evidence",
        database_url=database_url,
        certificate=(certificates.certificate, certificates.key),
        answers=Counter("answers", "-", ["code"], registry=CollectorRegistry()),
        clock=SystemClock(),
    )
    door.open()
    thread = threading.Thread(target=door.serve_until, args=(stop,))
    thread.start()
    context = ssl.create_default_context(cafile=str(tmp_path / "certificates" / "ca.pem"))
    base = f"https://127.0.0.1:{door.port}"
    with httpx.Client(base_url=base, verify=context, auth=("kiln/box-0", "right"), timeout=20) as client:
        eventually(lambda: _answers(client))
        yield Rig(client, tmp_path / "evidence", database_url, door.port)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def _answers(client: httpx.Client) -> bool:
    try:
        client.head("/")
    except httpx.TransportError:
        return False
    return True


def code(answer: httpx.Response) -> str:
    """The code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["detail"]
    return str(problem["code"])


def test_a_picture_is_stored_once_and_named_by_its_content(rig: Rig) -> None:
    content = jpeg()
    assert rig.head(sha(content)).status_code == 404
    assert rig.head(sha(content)).headers["Upload-Offset"] == "0"
    answer = rig.put(content)
    assert answer.status_code == 201
    assert answer.json() == {"sha256": sha(content), "size": len(content)}
    stored = rig.directory / sha(content)[:2] / f"{sha(content)}.jpg"
    assert stored.read_bytes() == content
    assert rows(rig.url, "SELECT sha256, media_type, size FROM evidence") == [
        (sha(content), "image/jpeg", len(content))
    ]
    assert rig.head(sha(content)).status_code == 200
    assert rig.put(content).status_code == 200
    assert rows(rig.url, "SELECT count(*) FROM evidence") == [(1,)]


def test_a_file_comes_in_parts_and_goes_on_where_it_stopped(rig: Rig) -> None:
    content = jpeg(9000)
    first = rig.part(content, 0, 4000)
    assert (first.status_code, first.headers["Upload-Offset"]) == (202, "4000")
    assert rig.head(sha(content)).headers["Upload-Offset"] == "4000"
    wrong = rig.part(content, 5000, 9000)
    assert (wrong.status_code, wrong.headers["Upload-Offset"], code(wrong)) == (
        409,
        "4000",
        "evidence.wrong_offset",
    )
    assert rig.part(content, 4000, 6000).status_code == 202
    assert rig.part(content, 6000, 9000).status_code == 201
    assert (rig.directory / sha(content)[:2] / f"{sha(content)}.jpg").read_bytes() == content
    assert list((rig.directory / "partial").glob("*/*")) == []


def test_a_broken_connection_keeps_what_came(rig: Rig) -> None:
    content = jpeg(200_000)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    credential = base64.b64encode(b"kiln/box-0:right").decode()
    with context.wrap_socket(socket.create_connection(("127.0.0.1", rig.port))) as connection:
        connection.sendall(
            f"PUT /v1/evidence/{sha(content)} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credential}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        )
        connection.sendall(content[:100_000])
        eventually(lambda: EvidenceFiles(rig.directory, 0).kept(1, sha(content)) > 0)
    offset = eventually(lambda: int(rig.head(sha(content)).headers["Upload-Offset"]))
    assert 0 < offset <= 100_000
    answer = eventually(lambda: _not_busy(rig.part(content, offset, len(content))))
    assert answer.status_code == 201


def _not_busy(answer: httpx.Response) -> httpx.Response | None:
    return None if answer.status_code == 409 else answer


def test_only_the_right_credential_opens(rig: Rig) -> None:
    content = jpeg()
    path = f"/v1/evidence/{sha(content)}"
    headers = {"Content-Type": "image/jpeg"}
    for auth in [("kiln/box-0", "wrong"), ("kiln/box-1", "right"), ("nonsense", "right")]:
        answer = rig.client.put(path, content=content, headers=headers, auth=auth)
        assert (answer.status_code, code(answer)) == (401, "evidence.unauthorised")
        assert "Basic" in answer.headers["WWW-Authenticate"]
    bare = httpx.Client(base_url=rig.client.base_url, verify=False)  # noqa: S501 - only to come without a name
    assert bare.put(path, content=content, headers=headers).status_code == 401
    bare.close()
    unknown = rig.client.put(path, content=content, headers=headers, auth=("kiln/box-9", "right"))
    assert (unknown.status_code, code(unknown)) == (403, "evidence.unknown_device")
    assert rig.put(content).status_code == 201, "the right one is remembered, and only that"
    assert rig.client.head(path, auth=("kiln/box-0", "wrong")).status_code == 401


def test_who_guesses_is_sent_away_before_anything_is_hashed_and_known_boxes_are_not(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = jpeg()
    path = f"/v1/evidence/{sha(content)}"
    assert rig.head(sha(content)).status_code == 404  # the right one, from the same address
    hashed: list[str] = []
    matches = credentials.matches

    def counting(kept: str, guess: str) -> bool:
        hashed.append(guess)
        return matches(kept, guess)

    monkeypatch.setattr(credentials, "matches", counting)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda n: rig.client.put(path, content=b"x", auth=("kiln/box-0", f"guess {n}")), range(40)
            )
        )
    assert sorted({answer.status_code for answer in answers}) == [401, 429]
    assert len(hashed) == 10
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert code(refused) == "evidence.too_many_attempts"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert rig.put(content).status_code == 201


def test_attempts_are_forgotten_after_a_minute_and_successes_do_not_count() -> None:
    clock = ManualClock()
    attempts = Attempts(2, clock)
    for _ in range(5):
        assert attempts.begin("one", "right") == 0
        attempts.succeeded("one", "right")
    for _ in range(2):
        assert attempts.begin("one", "wrong") == 0
        attempts.failed("one", "wrong")
        clock.sleep(10)
    assert attempts.begin("one", "wrong") == 40
    assert attempts.begin("two", "wrong") == 0
    assert attempts.begin("one", "right") == 0
    attempts.failed("one", "right")  # its credential was renewed
    assert attempts.begin("one", "right") > 0
    clock.sleep(40)
    assert attempts.begin("one", "wrong") == 0


def test_a_quarantined_device_may_not_store(rig: Rig) -> None:
    rows(rig.url, "UPDATE device SET quarantined_at = now() RETURNING 1")
    answer = rig.put(jpeg())
    assert (answer.status_code, code(answer)) == (403, "evidence.quarantined")


def test_what_is_too_large_is_refused_before_it_is_sent(rig: Rig) -> None:
    answer = rig.put(jpeg(LIMIT + 1))
    assert (answer.status_code, code(answer)) == (413, "evidence.too_large")
    assert list((rig.directory / "partial").glob("*/*")) == []


def test_a_device_has_so_much_a_day(rig: Rig) -> None:
    assert [rig.put(jpeg(LIMIT - 100)).status_code for _ in range(3)] == [201] * 3
    answer = rig.put(jpeg(LIMIT - 100))
    assert (answer.status_code, code(answer)) == (413, "evidence.day_full")


def test_content_that_is_not_what_its_name_says_is_thrown_away(rig: Rig) -> None:
    name = sha(b"something else")
    answer = rig.put(jpeg(), name)
    assert (answer.status_code, code(answer)) == (422, "evidence.wrong_hash")
    assert rig.head(name).headers["Upload-Offset"] == "0", "it can be sent again from the start"


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b"GIF89a" + bytes(100), {}, "evidence.not_media"),
        (jpeg(100), {"Content_Type": "image/gif"}, "evidence.media_type"),
        (jpeg(100), {"Content_Type": "video/mp4"}, "evidence.not_media"),
        (jpeg(100), {"Content_Range": "bytes 0-98/100"}, "evidence.bad_range"),
        (jpeg(100), {"Content_Range": "lines 0-99/100"}, "evidence.bad_range"),
        (b"", {}, "evidence.no_length"),
    ],
    # Random content must not name a test: every process has to find the same ones.
    ids=[
        "neither picture nor film",
        "unwelcome type",
        "type belied",
        "range too short",
        "range of lines",
        "empty",
    ],
)
def test_what_makes_no_sense_is_refused(
    rig: Rig, content: bytes, headers: dict[str, str], expected: str
) -> None:
    answer = rig.put(content, **headers)
    assert (answer.status_code, code(answer)) == (422, expected)


def test_a_name_that_is_no_hash_is_refused(rig: Rig) -> None:
    for name in ("ABC", "..%2f..%2fetc%2fpasswd", "f" * 63):
        assert rig.put(jpeg(), name).status_code in {404, 422}
    assert code(rig.put(jpeg(), "g" * 64)) == "evidence.bad_name"


def test_a_file_that_lost_its_row_gets_it_back(rig: Rig) -> None:
    content = jpeg()
    assert rig.put(content).status_code == 201
    rows(rig.url, "DELETE FROM evidence RETURNING 1")
    assert rig.head(sha(content)).status_code == 404
    assert rig.put(content).status_code == 200
    assert rows(rig.url, "SELECT count(*) FROM evidence") == [(1,)]


def test_a_film_is_kept_as_one(rig: Rig) -> None:
    film = b"\x00\x00\x00\x20ftypisom" + secrets.token_bytes(500)
    assert rig.put(film, Content_Type="video/mp4").status_code == 201
    assert (rig.directory / sha(film)[:2] / f"{sha(film)}.mp4").exists()


def test_what_was_verified_cannot_be_replaced_by_a_second_writer(tmp_path: Path) -> None:
    content = jpeg()
    files = EvidenceFiles(tmp_path, 0)
    with closing(files.open_part(1, sha(content), 0)) as first:
        first.write(content)
        with pytest.raises(BusyError):
            files.open_part(1, sha(content), 0)
        assert files.finish(first, "image/jpeg") == len(content)
        with closing(files.open_part(1, sha(content), 0)) as second:  # a part of its own, not the stored file
            second.write(b"forged")
    stored = files.path(sha(content), "image/jpeg")
    assert stored.read_bytes() == content
    assert stored.stat().st_mode & 0o777 == 0o440


def test_a_writer_that_waited_at_the_old_file_does_not_get_the_stored_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = jpeg()
    files = EvidenceFiles(tmp_path, 0)
    first = files.open_part(1, sha(content), 0)
    first.write(content)
    lock = fcntl.flock

    def finish_meanwhile(descriptor: int, operation: int) -> None:
        """The second writer has opened the file and is about to lock it."""
        monkeypatch.setattr(fcntl, "flock", lock)
        files.finish(first, "image/jpeg")
        first.close()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", finish_meanwhile)
    with pytest.raises(BusyError):
        files.open_part(1, sha(content), 0)
    assert files.path(sha(content), "image/jpeg").read_bytes() == content


def test_two_that_send_one_file_at_once_leave_it_whole(rig: Rig) -> None:
    content = jpeg(900_000)
    for attempt in range(5):
        forged = content[:-1] + bytes([content[-1] ^ (attempt + 1)])
        with ThreadPoolExecutor(4) as pool:
            answers = list(
                pool.map(lambda one: rig.put(one, sha(content)), [content, forged, content, forged])
            )
        assert {answer.status_code for answer in answers} <= {200, 201, 409, 422}
        stored = rig.directory / sha(content)[:2] / f"{sha(content)}.jpg"
        assert not stored.exists() or stored.read_bytes() == content
    assert rig.put(content).status_code in {200, 201}


def test_a_sender_that_trickles_is_sent_away_and_its_part_kept(rig: Rig) -> None:
    content = jpeg(200_000)

    def trickle() -> Iterator[bytes]:
        yield content[:50_000]
        time.sleep(3)
        yield content[50_000:]

    headers = {"Content-Type": "image/jpeg", "Content-Length": str(len(content))}
    try:
        answer = rig.client.put(f"/v1/evidence/{sha(content)}", content=trickle(), headers=headers)
        assert (answer.status_code, code(answer)) == (408, "evidence.too_slow")
    except httpx.TransportError:
        pass  # the door closed before all was sent
    assert rig.head(sha(content)).headers["Upload-Offset"] == "50000"
    assert rig.part(content, 50_000, len(content)).status_code == 201


def test_a_file_that_is_resumed_counts_once_in_the_day(rig: Rig) -> None:
    assert [rig.put(jpeg(LIMIT - 100)).status_code for _ in range(2)] == [201] * 2
    content = jpeg(LIMIT - 100)
    assert rig.part(content, 0, LIMIT - 200).status_code == 202
    assert rig.part(content, LIMIT - 200, LIMIT - 100).status_code == 201


def test_old_parts_are_thrown_away(tmp_path: Path) -> None:
    files = EvidenceFiles(tmp_path, 0)
    with closing(files.open_part(1, "a" * 64, 0)) as part:
        part.write(b"part")
    assert files.remove_old_parts(before=1.0) == 0
    assert files.remove_old_parts(before=4e9) == 1
    assert files.kept(1, "a" * 64) == 0


def test_a_taken_port_and_a_bad_certificate_say_what_to_do(rig: Rig, tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path / "certificates")
    common = {
        "directory": tmp_path / "other",
        "database_url": rig.url,
        "answers": Counter("answers2", "-", ["code"], registry=CollectorRegistry()),
        "clock": SystemClock(),
    }
    second = EvidenceDoor(
        EvidenceSettings(port=rig.port),
        certificate=(certificates.certificate, certificates.key),
        **common,  # type: ignore[arg-type]
    )
    with pytest.raises(ConfigError, match="--evidence-port"):
        second.open()
    with pytest.raises(ConfigError, match="belong together"):
        EvidenceDoor(
            EvidenceSettings(),
            certificate=(certificates.key, certificates.certificate),
            **common,  # type: ignore[arg-type]
        )


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let the kernel refuse to write any file of this process beyond a size, as it does where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_the_file_goes_on_where_it_stopped_when_there_is_room(rig: Rig) -> None:
    content = jpeg(900_000)
    with files_up_to(400_000):
        answer = rig.put(content)
        assert (answer.status_code, code(answer)) == (507, "evidence.disk_full")
        assert int(answer.headers["retry-after"]) > 0
        assert rig.put(jpeg(5000)).status_code == 201, "what has room goes in"
    kept = int(rig.head(sha(content)).headers["upload-offset"])
    assert 0 < kept <= 400_000
    assert rig.part(content, kept, len(content)).status_code == 201
    stored = list(rig.directory.glob(f"*/{sha(content)}.jpg"))
    assert [path.read_bytes() for path in stored] == [content]


def test_a_box_brings_its_picture_once_the_full_disk_has_room(rig: Rig, tmp_path: Path) -> None:
    database = Database(tmp_path / "box")
    store = EvidenceStore(database, SystemClock())
    content = jpeg(900_000)
    store.keep(content, "image/jpeg", 3)
    door = Where(
        (f"https://127.0.0.1:{rig.port}",), "kiln/box-0", "right", tmp_path / "certificates" / "ca.pem"
    )
    uploader = Uploader(store, door, UploadSettings(retry_s=0.1, longest_retry_s=0.3), lambda: False)
    stop = Stop()
    thread = threading.Thread(target=uploader.run, args=(stop,))
    try:
        with files_up_to(400_000):
            thread.start()
            eventually(lambda: (waiting := store.next()) is not None and waiting.attempts > 1)
        eventually(lambda: uploader.uploaded == 1)
        assert store.stats().parked == 0
    finally:
        stop.set("test")
        uploader.wake()
        thread.join()
        database.close()
    assert rows(rig.url, "SELECT sha256, size FROM evidence") == [(sha(content), len(content))]
