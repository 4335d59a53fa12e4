"""Whom the evidence door refuses and what, each with its own code, and what it says to whom opens it."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from benchmarks.chaos.clock import MovedClock, set_offset
from common.runtime.clock import ManualClock, SystemClock
from common.runtime.errors import ConfigError
from gateway.config import EvidenceSettings
from gateway.door import EvidenceDoor
from gateway.fleet import credentials
from gateway.fleet.attempts import Attempts
from local.certificates import ensure_certificates
from tests.fixtures.gateway_door import LIMIT, Rig, code, jpeg, opened_door, sha
from tests.integration.gateway_rig import PATIENCE, rows

pytestmark = pytest.mark.services


@pytest.fixture
def rig(tmp_path: Path, database_url: str) -> Iterator[Rig]:
    """An open door."""
    with opened_door(tmp_path, database_url) as opened:
        yield opened


def test_only_the_right_credential_opens(rig: Rig) -> None:
    content = jpeg()
    path = f"/v1/evidence/{sha(content)}"
    headers = {"Content-Type": "image/jpeg"}
    for auth in [("kiln/box-0", "wrong"), ("kiln/box-1", "right"), ("nonsense", "right")]:
        answer = rig.client.put(path, content=content, headers=headers, auth=auth)
        assert (answer.status_code, code(answer)) == (401, "evidence.unauthorised")
        assert "Basic" in answer.headers["WWW-Authenticate"]
    bare = httpx.Client(base_url=rig.client.base_url, verify=False, timeout=PATIENCE)  # noqa: S501 - only to come without a name
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


@pytest.mark.parametrize("said", [100, 4000])
def test_a_body_that_is_not_as_long_as_was_said_is_not_stored(rig: Rig, said: int) -> None:
    """Sent in chunks, a body may be longer or shorter than the length that was named beside them."""
    content = jpeg(1000)
    head = (
        f"PUT /v1/evidence/{sha(content)} HTTP/1.1\r\nHost: door\r\nContent-Type: image/jpeg\r\n"
        f"Authorization: Basic {base64.b64encode(b'kiln/box-0:right').decode()}\r\nConnection: close\r\n"
        f"Content-Length: {said}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    context = ssl.create_default_context(cafile=str(rig.directory.parent / "certificates" / "ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", rig.port), PATIENCE) as line,
        context.wrap_socket(line, server_hostname="127.0.0.1") as wrapped,
    ):
        wrapped.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: wrapped.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 422 "), answer
    assert b"evidence.wrong_size" in answer
    assert rig.head(sha(content)).status_code == 404
    assert rows(rig.url, "SELECT count(*)::int FROM evidence") == [(0,)]
    assert rig.put(content).status_code == 201


def test_a_device_has_so_much_a_day(rig: Rig) -> None:
    assert [rig.put(jpeg(LIMIT - 100)).status_code for _ in range(3)] == [201] * 3
    answer = rig.put(jpeg(LIMIT - 100))
    assert (answer.status_code, code(answer)) == (413, "evidence.day_full")


@pytest.mark.parametrize("off_days", [-30, 30])
def test_the_day_is_the_stores_however_wrong_the_machines_clock_is(
    tmp_path: Path, database_url: str, off_days: int
) -> None:
    set_offset(tmp_path / "clock", off_days * 86_400.0)
    with opened_door(tmp_path, database_url, clock=MovedClock(tmp_path / "clock")) as rig:
        assert [rig.put(jpeg(LIMIT - 100)).status_code for _ in range(3)] == [201] * 3
        answer = rig.put(jpeg(LIMIT - 100))
        assert (answer.status_code, code(answer)) == (413, "evidence.day_full")
        rows(rig.url, "UPDATE evidence SET stored_at = stored_at - interval '1 day' RETURNING 1")
        assert rig.put(jpeg(LIMIT - 100)).status_code == 201, "a new day"
        rows(rig.url, "UPDATE evidence SET stored_at = now() + interval '9 days' RETURNING 1")
        assert rig.put(jpeg(LIMIT - 100)).status_code == 201, "stored while the database was ahead"


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


def test_a_taken_port_a_bad_certificate_and_a_bad_folder_say_what_to_do(rig: Rig, tmp_path: Path) -> None:
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
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="DRUMTOWER_EVIDENCE_DIR"):
        EvidenceDoor(
            EvidenceSettings(),
            certificate=(certificates.certificate, certificates.key),
            **(common | {"directory": tmp_path / "file"}),  # type: ignore[arg-type]
        )


def test_a_file_that_is_resumed_counts_once_in_the_day(rig: Rig) -> None:
    assert [rig.put(jpeg(LIMIT - 100)).status_code for _ in range(2)] == [201] * 2
    content = jpeg(LIMIT - 100)
    assert rig.part(content, 0, LIMIT - 200).status_code == 202
    assert rig.part(content, LIMIT - 200, LIMIT - 100).status_code == 201
