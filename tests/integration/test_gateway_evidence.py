"""What comes through the evidence door is stored whole, once, and under its own name."""

from __future__ import annotations

import base64
import errno
import fcntl
import secrets
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from gateway.evidence import BusyError, EvidenceFiles
from tests.fixtures.gateway_door import Rig, code, jpeg, opened_door, sha
from tests.integration.gateway_rig import eventually, rows

pytestmark = pytest.mark.services


@pytest.fixture
def rig(tmp_path: Path, database_url: str) -> Iterator[Rig]:
    """An open door."""
    with opened_door(tmp_path, database_url) as opened:
        yield opened


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


def test_a_file_that_lost_its_row_gets_it_back(rig: Rig) -> None:
    content = jpeg()
    assert rig.put(content).status_code == 201
    rows(rig.url, "DELETE FROM evidence RETURNING 1")
    assert rig.head(sha(content)).status_code == 404
    assert rig.put(content).status_code == 200
    assert rows(rig.url, "SELECT count(*) FROM evidence") == [(1,)]


def test_a_row_that_lost_its_file_gets_it_back(rig: Rig) -> None:
    """A backup brought the store back, and the folder of evidence was not in it: the box may still hold the picture."""
    content = jpeg()
    assert rig.put(content).status_code == 201
    stored = rig.directory / sha(content)[:2] / f"{sha(content)}.jpg"
    stored.unlink()
    asked = rig.head(sha(content))
    assert (asked.status_code, asked.headers["Upload-Offset"]) == (404, "0")
    assert rig.put(content).status_code == 201
    assert stored.read_bytes() == content
    assert rig.head(sha(content)).status_code == 200
    assert rows(rig.url, "SELECT size FROM evidence") == [(len(content),)]


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


def test_a_sender_that_trickles_is_sent_away_and_its_part_kept(tmp_path: Path, database_url: str) -> None:
    content = jpeg(200_000)
    with opened_door(tmp_path, database_url, chunk_s=3) as rig:

        def trickle() -> Iterator[bytes]:
            yield content[:50_000]
            eventually(lambda: rig.answered("evidence.too_slow"))
            yield content[50_000:]

        headers = {"Content-Type": "image/jpeg", "Content-Length": str(len(content))}
        try:
            answer = rig.client.put(f"/v1/evidence/{sha(content)}", content=trickle(), headers=headers)
            assert (answer.status_code, code(answer)) == (408, "evidence.too_slow")
        except httpx.TransportError:
            pass  # the door closed before all was sent
        assert rig.head(sha(content)).headers["Upload-Offset"] == "50000"
        assert rig.part(content, 50_000, len(content)).status_code == 201


def test_old_parts_are_thrown_away(tmp_path: Path) -> None:
    files = EvidenceFiles(tmp_path, 0)
    with closing(files.open_part(1, "a" * 64, 0)) as part:
        part.write(b"part")
    assert files.remove_old_parts(before=1.0) == 0
    assert files.remove_old_parts(before=4e9) == 1
    assert files.kept(1, "a" * 64) == 0


def test_a_door_that_opens_on_a_full_disk_takes_files_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_anything: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", no_room)
        files = EvidenceFiles(tmp_path / "evidence", 0)
        assert not files.has_room(1)
    assert files.has_room(1)
    with closing(files.open_part(1, "a" * 64, 0)) as part:
        part.write(b"part")
    assert files.kept(1, "a" * 64) == 4


def test_a_part_that_is_gone_is_not_gone_on_with(tmp_path: Path) -> None:
    """Cut to where the sender is, a new one would begin with zeros, and the sender be told that its file is wrong."""
    files = EvidenceFiles(tmp_path, 0)
    with closing(files.open_part(1, "a" * 64, 0)) as part:
        part.write(b"part")
    files.remove_old_parts(before=4e9)
    with pytest.raises(BusyError):
        files.open_part(1, "a" * 64, 4)
    assert files.kept(1, "a" * 64) == 0


def test_a_part_that_goes_while_it_is_looked_at_does_not_count(tmp_path: Path) -> None:
    files = EvidenceFiles(tmp_path, 0)
    with closing(files.open_part(1, "a" * 64, 0)) as part:
        part.write(b"part")
    (tmp_path / "partial" / "1" / ("b" * 64)).symlink_to(tmp_path / "gone")
    assert files.partial_bytes(1) == 4
    assert files.remove_old_parts(before=4e9) == 1


def test_a_door_whose_parts_cannot_be_looked_at_ends_all_the_same(tmp_path: Path, database_url: str) -> None:
    looping = tmp_path / "evidence" / "partial" / "999999" / ("a" * 64)
    looping.parent.mkdir(parents=True)
    looping.symlink_to(looping)
    with opened_door(tmp_path, database_url) as rig:
        assert rig.put(content := jpeg()).status_code == 201
    assert (tmp_path / "evidence" / sha(content)[:2] / f"{sha(content)}.jpg").exists()
