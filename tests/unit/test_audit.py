"""The audit of what is pinned: pip-audit itself, against a database of advisories that answers on this machine."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from common.runtime.config import load_config
from local import audit
from local.ports import free_port
from local.withdrawn import pins

REPOSITORY = Path(__file__).parents[2]
TODAY = datetime.date(2026, 11, 22)
LOCK = "".join(
    f"{name} \\\n    --hash=sha256:{'0' * 64}\n"
    for name in ("leaky==1.2.0", "sound==2.0.0 ; python_version > '3'")
)


def flaw(package: str, fixed: str, ident: str, *aliases: str) -> dict[str, Any]:
    """As the OSV schema has it (ossf.github.io/osv-schema, 1.7)."""
    return {
        "id": ident,
        "aliases": list(aliases),
        "summary": f"{package} leaks",
        "modified": "2026-10-01T00:00:00Z",
        "affected": [
            {
                "package": {"name": package, "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}],
            }
        ],
    }


class Database(BaseHTTPRequestHandler):
    """Answers OSV's ``/v1/query``: one package has a flaw, and the release that every database knows of has one."""

    known: ClassVar[dict[tuple[str, str], dict[str, Any]]] = {
        ("leaky", "1.2.0"): flaw("leaky", "1.2.5", "PYSEC-2026-7", "CVE-2026-7777", "GHSA-aaaa-bbbb-cccc"),
        audit.CANARY: flaw(audit.CANARY[0], "2.10.1", "PYSEC-2019-217"),
    }

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/query"
        assert asked["package"]["ecosystem"] == "PyPI"
        known = self.known.get((asked["package"]["name"], asked["version"]))
        body = json.dumps({} if known is None else {"vulns": [known]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_: object) -> None:
        pass


class Mirror(Database):
    """Answers of every package that nothing is known, as an index does that leaves advisories out."""

    known: ClassVar[dict[tuple[str, str], dict[str, Any]]] = {}


@contextmanager
def served(by: type[Database]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), by) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with served(Database) as url:
        yield url


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text(LOCK, encoding="utf-8")
    return path


def exceptions(folder: Path, **entry: str) -> Path:
    path = folder / "audit.yaml"
    path.write_text(json.dumps({"exceptions": [entry] if entry else []}), encoding="utf-8")
    return path


def lived_with(until: str, ident: str = "CVE-2026-7777", package: str = "leaky") -> dict[str, str]:
    return {
        "id": ident,
        "package": package,
        "reason": "Only its server leaks, and nothing of ours starts one.",
        "until": until,
    }


def test_a_known_vulnerability_fails_and_says_what_mends_it(
    database: str, lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.audit(lock, exceptions(tmp_path), TODAY, osv_url=database) == 1
    told = capsys.readouterr().err
    assert "leaky 1.2.0: PYSEC-2026-7 = CVE-2026-7777 = GHSA-aaaa-bbbb-cccc, fixed in 1.2.5" in told
    assert "sound" not in told


@pytest.mark.parametrize("ident", ["PYSEC-2026-7", "CVE-2026-7777", "GHSA-aaaa-bbbb-cccc"])
def test_an_exception_with_a_reason_and_a_day_lets_it_pass_and_is_told(
    database: str, lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ident: str
) -> None:
    allowed = exceptions(tmp_path, **lived_with("2026-11-22", ident))
    assert audit.audit(lock, allowed, TODAY, osv_url=database) == 0
    told = capsys.readouterr().out
    assert "lived with until 2026-11-22: Only its server leaks" in told
    assert "audit: 2 packages asked of osv" in told


@pytest.mark.parametrize(
    "case",
    [
        (lived_with("2026-11-21"), "the exception for it ended on 2026-11-21"),
        (lived_with("2027-01-01", package="sound"), "vulnerable: leaky 1.2.0"),
        (lived_with("2027-01-01", ident="CVE-2026-1111"), "vulnerable: leaky 1.2.0"),
    ],
    ids=lambda case: str(case[1]),
)
def test_an_exception_that_ended_or_means_another_counts_for_nothing(
    database: str,
    lock: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: tuple[dict[str, str], str],
) -> None:
    entry, told = case
    assert audit.audit(lock, exceptions(tmp_path, **entry), TODAY, osv_url=database) == 1
    assert told in capsys.readouterr().err


def test_several_lists_are_asked_about_as_one_each_pin_once_and_without_its_local_version(
    database: str, lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.txt"
    hashed = f"--hash=sha256:{'0' * 64}"
    other.write_text(f"sound==2.0.0 {hashed}\nleaky==1.2.0+cpu \\\n    {hashed}\n", encoding="utf-8")
    joined = audit.join([lock, other], tmp_path / "joined.txt")
    assert pins(joined) == ["leaky==1.2.0", "sound==2.0.0"]
    assert pins(audit.join([lock], joined)) == ["leaky==1.2.0", "sound==2.0.0 ; python_version > '3'"]
    assert audit.audit(audit.join([other], joined), exceptions(tmp_path), TODAY, osv_url=database) == 1
    assert "leaky 1.2.0: PYSEC-2026-7" in capsys.readouterr().err


def test_what_trains_is_asked_about_too(database: str, tmp_path: Path) -> None:
    joined = audit.join([audit.LOCK, audit.TRAINING, audit.TORCH], tmp_path / "joined.txt")
    names = {pin.partition("==")[0] for pin in pins(joined)}
    assert {"torch", "sympy", "networkx", "pytest"} <= names
    assert not any("+" in pin for pin in pins(joined))
    assert audit.ask(joined, "osv", database).audited >= len(names) / 2


def test_an_exception_that_nothing_needs_any_more_is_told(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(f"sound==2.0.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    assert audit.audit(lock, exceptions(tmp_path, **lived_with("2027-01-01")), TODAY, osv_url=database) == 0
    assert "the exception for CVE-2026-7777 is not needed any more" in capsys.readouterr().out


@pytest.mark.parametrize(("required", "code"), [(False, 0), (True, 1)])
def test_without_a_database_it_says_that_it_was_not_run(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], required: bool, code: int
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/v1/query"
    assert audit.audit(lock, exceptions(tmp_path), TODAY, required=required, osv_url=nobody) == code
    assert "audit: NOT RUN" in capsys.readouterr().out


@pytest.mark.parametrize(("required", "code"), [(False, 0), (True, 1)])
def test_one_that_answers_without_advisories_counts_as_nobody_asked(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], required: bool, code: int
) -> None:
    with served(Mirror) as url:
        assert audit.audit(lock, exceptions(tmp_path), TODAY, required=required, osv_url=url) == code
    told = capsys.readouterr().out
    assert "audit: NOT RUN" in told
    assert "it does not know that jinja2 2.10 is vulnerable" in told
    assert "none is vulnerable" not in told


def test_a_faulty_exception_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faulty = tmp_path / "audit.yaml"
    faulty.write_text(
        "exceptions:\n- id: CVE-1-1\n  package: x\n  reason: because\n  until: some day\n", encoding="utf-8"
    )
    assert audit.main(["--exceptions", str(faulty)]) == 2
    told = capsys.readouterr().err
    assert "audit.yaml:4: exceptions.0.reason" in told
    assert "audit.yaml:5: exceptions.0.until" in told


def test_a_lock_that_is_not_one_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("leaky\n", encoding="utf-8")
    nobody = f"http://127.0.0.1:{free_port()}/v1/query"
    assert audit.main(["--lock", str(lock), "--osv-url", nobody]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_shipped_exceptions_are_right_and_the_lock_holds_what_every_tier_pins() -> None:
    assert load_config(audit.EXCEPTIONS, audit.AuditSettings) is not None

    def pins(name: str) -> set[str]:
        text = (REPOSITORY / "requirements" / name).read_text(encoding="utf-8")
        return {line.split(" ")[0] for line in text.splitlines() if line and line[0] not in " #"}

    for tier in ("edge", "gateway", "cloud", "all"):
        assert pins(f"{tier}.txt") <= pins("dev.txt")
    assert "make audit" in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
