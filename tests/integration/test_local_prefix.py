"""The private prefix: unpacked whole, once, even by two set-ups at the same moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from local.broker import Broker
from local.errors import SetupError
from local.packages import service_binaries
from local.paths import REPOSITORY
from local.postgres import PostgresServer
from local.prefix import PackageSet, fetch, unpack
from local.progress import Progress

pytestmark = pytest.mark.services


def _leave_as_it_is(prefix: Path) -> None:
    """A set of packages that needs nothing after unpacking."""


def set_up_services(data: Path, cache: Path | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "DRUMTOWER_DATA": str(data)}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    return subprocess.Popen(
        [sys.executable, "-m", "local.bootstrap", "--only", "services"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
        env=environment,
    )


def test_two_set_ups_at_once_leave_one_whole_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [set_up_services(tmp_path), set_up_services(tmp_path)]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    binaries = service_binaries()
    for program, words in (
        (binaries.postgres_programs / "postgres", "PostgreSQL"),
        (binaries.mosquitto, "mosquitto"),
    ):
        argument = "-V" if program.name == "postgres" else "-h"
        told = subprocess.run([program, argument], capture_output=True, text=True, check=False).stdout
        assert words in told
    remains = [path.name for path in (tmp_path / "prefix").glob("services.*")]
    assert remains in ([], ["services.lock"])


def test_a_prefix_that_was_moved_below_a_closed_home_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, home = tmp_path / "before", tmp_path / "home"
    home.mkdir(mode=0o700)  # as /root is: the account that the servers run as cannot enter it
    process = set_up_services(before)
    assert process.wait(200) == 0, process.communicate()[0]
    process.communicate()
    before.mkdir(exist_ok=True)  # nothing is unpacked where the system has both servers
    before.rename(home / "after moving")
    monkeypatch.setenv("DRUMTOWER_DATA", str(home / "after moving"))
    with PostgresServer(home / "database") as database, Broker(home / "broker") as broker:
        assert broker.pid is not None
        with psycopg.connect(database.url) as connection:
            connection.execute("CREATE EXTENSION timescaledb")


def test_a_tampered_package_in_the_cache_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = PackageSet("a font", ("fonts-wqy-microhei",), (), (), None, 10_000_000, _leave_as_it_is)
    fetched = fetch(wanted, Progress())
    assert [file.name.split("_")[0] for file in fetched] == ["fonts-wqy-microhei"]
    whole = fetched[0].read_bytes()
    fetched[0].write_bytes(whole[:-1] + b"!")
    assert fetch(wanted, Progress()) == fetched
    assert fetched[0].read_bytes() == whole


def test_a_complete_cache_needs_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = PackageSet("a font", ("fonts-wqy-microhei",), (), (), None, 10_000_000, _leave_as_it_is)
    fetched = fetch(wanted, Progress())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fetch(wanted, Progress()) == fetched


def test_a_package_cut_short_is_told_by_name(tmp_path: Path) -> None:
    broken = tmp_path / "broken_1_all.deb"
    broken.write_bytes(b"!<arch>\n")
    with pytest.raises(SetupError, match=r"cannot unpack broken_1_all\.deb"):
        unpack(broken, tmp_path)
