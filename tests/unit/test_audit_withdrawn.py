"""Withdrawn releases: pip itself, against an index on this machine that marks some as PEP 592 has it."""

from __future__ import annotations

import datetime
import functools
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local import audit
from local.ports import free_port
from local.withdrawn import CANARY, pins

TODAY = datetime.date(2026, 11, 22)


def wheel(name: str, version: str) -> bytes:
    """The least that pip takes for a package."""
    content = io.BytesIO()
    folder = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(f"{name}.py", "")
        file.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{folder}/RECORD", "")
    return content.getvalue()


class Index:
    """A package index in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publish(*CANARY.split("=="), withdrawn=True)

    def publish(self, name: str, version: str, *, withdrawn: bool = False) -> None:
        file = f"{name}-{version}-py3-none-any.whl"
        place = self.folder / "simple" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / file).write_bytes(wheel(name, version))
        mark = ' data-yanked="it leaks"' if withdrawn else ""
        (place / "index.html").write_text(f'<a href="{file}"{mark}>{file}</a>', encoding="utf-8")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    made = Index(tmp_path / "index")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    handler = functools.partial(Quiet, directory=str(made.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text(
        "# made by hand\n"
        f"leaky==1.2.0 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n    # via sound\n"
        f"sound==2.0.0 ; python_version > '3' \\\n    --hash=sha256:{'0' * 64}\n"
        f"elsewhere==1.0 ; python_version < '3' \\\n    --hash=sha256:{'0' * 64}\n",
        encoding="utf-8",
    )
    return path


def exceptions(folder: Path, **entry: str) -> Path:
    path = folder / "audit.yaml"
    path.write_text(json.dumps({"exceptions": [entry] if entry else []}), encoding="utf-8")
    return path


def test_pins_are_read_with_their_markers_and_without_hashes(lock: Path) -> None:
    assert pins(lock) == [
        "leaky==1.2.0",
        "sound==2.0.0 ; python_version > '3'",
        "elsewhere==1.0 ; python_version < '3'",
    ]


def test_a_pin_that_was_withdrawn_fails_unless_it_is_lived_with(
    index: Index, lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index.publish("leaky", "1.2.0", withdrawn=True)
    index.publish("sound", "2.0.0")
    assert audit.audit_withdrawn(lock, exceptions(tmp_path), TODAY) == 1
    assert "vulnerable: leaky 1.2.0: withdrawn by its publisher" in capsys.readouterr().err
    reason = "Withdrawn for its metadata alone, which nothing of ours reads."
    entry = {"id": "yanked", "package": "leaky", "reason": reason, "until": "2026-12-01"}
    assert audit.audit_withdrawn(lock, exceptions(tmp_path, **entry), TODAY) == 0
    assert reason in capsys.readouterr().out


def test_where_none_was_withdrawn_it_says_of_how_many(
    index: Index, lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index.publish("leaky", "1.2.0")
    index.publish("sound", "2.0.0")
    assert audit.audit_withdrawn(lock, exceptions(tmp_path), TODAY) == 0
    assert "audit: 2 pins asked of the package index, none was withdrawn" in capsys.readouterr().out


@pytest.mark.parametrize("required", [False, True])
def test_an_index_that_leaves_the_marks_out_counts_as_not_asked(
    index: Index, lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], required: bool
) -> None:
    index.publish("leaky", "1.2.0")
    index.publish("sound", "2.0.0")
    index.publish(*CANARY.split("=="))
    assert audit.audit_withdrawn(lock, exceptions(tmp_path), TODAY, required=required) == int(required)
    told = capsys.readouterr().out
    assert "audit: NOT RUN" in told
    assert f"does not say that {CANARY} was withdrawn" in told


def test_an_index_that_is_away_counts_as_not_asked(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    assert audit.audit_withdrawn(lock, exceptions(tmp_path), TODAY) == 0
    assert "audit: NOT RUN" in capsys.readouterr().out
