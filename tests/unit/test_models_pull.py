"""Weights that do not ship are fetched piece by piece, and kept only when they are the ones meant."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from common.runtime.errors import InvalidError, TransientError
from models.cli import app
from models.manifest import ModelManifest
from models.pull import pull
from models.store import MANIFESTS, load_manifest

CONTENT = bytes(range(256)) * 4000


@dataclass
class Mirror:
    """What a server gives, how it misbehaves, and what it was asked."""

    content: bytes = CONTENT
    cut_at: int | None = None
    ranges: bool = True
    status: int = 200
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(mirror: Mirror) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            mirror.asked.append(wanted)
            if mirror.status != 200:
                self.send_error(mirror.status)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mirror.ranges else 0
            body = mirror.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(mirror.content) - 1}/{len(mirror.content)}"
                )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if mirror.cut_at is not None:
                body = body[: max(mirror.cut_at - start, 0)]
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/weights"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def manifest(tmp_path: Path) -> ModelManifest:
    content = yaml.safe_load((MANIFESTS / "yolox_nano.yaml").read_text(encoding="utf-8"))
    content |= {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
    (tmp_path / "yolox_nano.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_manifest("yolox_nano", tmp_path)


def test_weights_come_from_a_server_whole(tmp_path: Path, manifest: ModelManifest) -> None:
    told: list[int] = []
    with serving(Mirror()) as address:
        path = pull(manifest, address, tmp_path / "new", told.append)
    assert path.read_bytes() == CONTENT
    assert told[-1] == len(CONTENT)
    assert [file.name for file in path.parent.iterdir()] == ["yolox_nano.onnx"]


def test_what_broke_off_is_gone_on_with_from_where_it_was(tmp_path: Path, manifest: ModelManifest) -> None:
    mirror = Mirror(cut_at=700_000)
    with serving(mirror) as address:
        with pytest.raises(TransientError, match="expected 1024000 bytes") as caught:
            pull(manifest, address, tmp_path)
        assert caught.value.code == "pull.broken"
        kept = (tmp_path / "yolox_nano.onnx.part").stat().st_size
        assert 0 < kept <= 700_000
        mirror.cut_at = None
        assert pull(manifest, address, tmp_path).read_bytes() == CONTENT
    assert mirror.asked == ["", f"bytes={kept}-"]


def test_a_server_that_knows_no_ranges_gives_it_all_again(tmp_path: Path, manifest: ModelManifest) -> None:
    (tmp_path / "yolox_nano.onnx.part").write_bytes(CONTENT[:1000])
    with serving(Mirror(ranges=False)) as address:
        assert pull(manifest, address, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"more"])
def test_of_a_wrong_file_nothing_is_kept(tmp_path: Path, manifest: ModelManifest, content: bytes) -> None:
    with serving(Mirror(content)) as address, pytest.raises(InvalidError) as caught:
        pull(manifest, address, tmp_path)
    assert caught.value.code == "model.tampered"
    assert [file.name for file in tmp_path.iterdir()] == ["yolox_nano.yaml"]


def test_a_part_of_another_file_spoils_one_attempt_and_not_the_next(
    tmp_path: Path, manifest: ModelManifest
) -> None:
    (tmp_path / "yolox_nano.onnx.part").write_bytes(b"another file" * 100)
    with serving(Mirror()) as address:
        with pytest.raises(InvalidError, match="sha256"):
            pull(manifest, address, tmp_path)
        assert pull(manifest, address, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "pull.refused"), (403, "pull.refused"), (503, "pull.broken"), (429, "pull.broken")],
)
def test_a_server_that_refuses_is_told_from_one_that_is_away(
    tmp_path: Path, manifest: ModelManifest, status: int, code: str
) -> None:
    with serving(Mirror(status=status)) as address, pytest.raises((InvalidError, TransientError)) as caught:
        pull(manifest, address, tmp_path)
    assert caught.value.code == code
    assert str(status) in caught.value.message


def test_a_mirror_directory_works_like_a_server(tmp_path: Path, manifest: ModelManifest) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / manifest.file).write_bytes(CONTENT)
    assert pull(manifest, str(mirror), tmp_path / "here").read_bytes() == CONTENT
    (mirror / manifest.file).write_bytes(CONTENT[::-1])
    with pytest.raises(InvalidError, match="sha256"):
        pull(manifest, str(mirror), tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def test_a_mirror_that_is_not_there_is_said(tmp_path: Path, manifest: ModelManifest) -> None:
    with pytest.raises(InvalidError) as caught:
        pull(manifest, str(tmp_path / "nowhere"), tmp_path)
    assert caught.value.code == "pull.directory"
    assert "nowhere" in caught.value.message


def test_what_is_there_already_is_not_fetched_again(tmp_path: Path, manifest: ModelManifest) -> None:
    (tmp_path / manifest.file).write_bytes(CONTENT)
    mirror = Mirror()
    with serving(mirror) as address:
        pull(manifest, address, tmp_path)
    assert mirror.asked == []


def test_the_command_pulls_by_the_users_own_manifest(tmp_path: Path, manifest: ModelManifest) -> None:
    with serving(Mirror()) as address:
        ran = CliRunner().invoke(app, ["pull", "yolox_nano", "--from", address, "--directory", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / manifest.file).read_bytes() == CONTENT
    assert manifest.sha256[:16] in ran.output
