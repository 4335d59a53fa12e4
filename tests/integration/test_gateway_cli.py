"""The commands, as a person types them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from common.runtime.config import parse_config
from common.wire.categories import CATEGORIES
from common.wire.messages import Readings, Series
from common.wire.topics import Address
from gateway.fleet.credentials import CredentialChecker, hash_credential, matches, new_credential
from gateway.fleet.enrol import enrol
from gateway.fleet.sites import Site
from gateway.lease import LeaseKeeper
from tests.fixtures.gateway_store import BOX, Stores, packet, raw
from tests.integration.gateway_rig import readings, register, rows

pytestmark = pytest.mark.services

SITE = """
site: kiln
title_en: The old kiln
silent_after_s: 60
devices:
  - {name: lamp-01, title_zh: 一号灯杆, lon: 119.3, lat: 26.1}
  - {name: lamp-02, lon: 119.31, lat: 26.1, partition: north, silent_after_s: 30}
"""


def drumtower(*arguments: str, url: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DRUMTOWER_")}
    environment |= {"DRUMTOWER_DATABASE_URL": url, "COLUMNS": "200", "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(
        [sys.executable, "-m", "common.runtime.cli", "gateway", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=cwd,
        timeout=200,
    )


def site(text: str = SITE) -> Site:
    """A site from its file."""
    return parse_config(text, Path("kiln.yaml"), Site)


def test_enrolling_registers_boxes_and_gives_each_a_credential_of_its_own(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "kiln.yaml"
    path.write_text(SITE, encoding="utf-8")
    folder = tmp_path / "credentials"
    ran = drumtower("enrol", str(path), "--credentials", str(folder), url=database_url)
    assert ran.returncode == 0, ran.stderr
    assert "next:" in ran.stdout
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["kiln.lamp-01", "kiln.lamp-02"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    kept = rows(
        database_url,
        "SELECT name, partition, title_zh, silent_after_s, credential_hash FROM device ORDER BY name",
    )
    assert [row[:4] for row in kept] == [("lamp-01", "default", "一号灯杆", 60), ("lamp-02", "north", "", 30)]
    for file, row in zip(files, kept, strict=True):
        assert row[4].startswith("$argon2id$")
        assert matches(row[4], file.read_text().strip())
        assert file.read_text().strip() not in ran.stdout + ran.stderr
    assert len({file.read_text() for file in files}) == 2
    assert rows(database_url, "SELECT count(*) FROM category WHERE known") == [(len(CATEGORIES),)]


def test_enrolling_again_keeps_credentials_and_moves_boxes(database_url: str, tmp_path: Path) -> None:
    first = enrol(database_url, [site()], tmp_path)
    assert sorted(first.made) == ["kiln/lamp-01", "kiln/lamp-02"]
    again = enrol(database_url, [site(SITE.replace("119.31", "119.35"))], tmp_path)
    assert (again.made, again.credentials) == ([], first.credentials)
    assert rows(database_url, "SELECT lon FROM device WHERE name = 'lamp-02'") == [(119.35,)]


def test_a_new_database_takes_the_credentials_that_the_boxes_have(database_url: str, tmp_path: Path) -> None:
    first = enrol(database_url, [site()], tmp_path)
    rows(database_url, "UPDATE device SET credential_hash = NULL")
    again = enrol(database_url, [site()], tmp_path)
    assert again.credentials == first.credentials
    ((kept,),) = rows(database_url, "SELECT credential_hash FROM device WHERE name = 'lamp-01'")
    assert matches(kept, first.credentials["kiln/lamp-01"])


def test_a_credential_that_only_its_box_knows_is_kept_unless_renewed(
    database_url: str, tmp_path: Path
) -> None:
    first = enrol(database_url, [site()], tmp_path / "here")
    away = enrol(database_url, [site()], tmp_path / "there")
    assert (away.elsewhere, away.credentials) == (["kiln/lamp-01", "kiln/lamp-02"], {})
    renewed = enrol(database_url, [site()], tmp_path / "there", renew=True)
    assert renewed.credentials.keys() == first.credentials.keys()
    assert renewed.credentials != first.credentials


def test_faults_in_a_site_file_are_told_with_their_lines(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "kiln.yaml"
    path.write_text(SITE.replace("lat: 26.1}", "lat: 261}").replace("title_en", "title_em"), encoding="utf-8")
    ran = drumtower("enrol", str(path), url=database_url)
    assert ran.returncode == 2
    assert "kiln.yaml:3: title_em" in ran.stderr
    assert "did you mean 'title_en'?" in ran.stderr
    assert "kiln.yaml:6" in ran.stderr
    assert "what to do" in ran.stderr


def test_a_gateway_without_its_environment_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("{}")
    ran = drumtower("run", "--config", str(tmp_path / "gateway.yaml"))
    assert ran.returncode == 2
    assert "DRUMTOWER_BROKER_URL" in ran.stderr
    assert "DRUMTOWER_DATABASE_URL" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_rejects_are_listed_shown_and_tried_again(database_url: str, tmp_path: Path) -> None:
    register(database_url, "kiln", "box-0")
    lease = LeaseKeeper(database_url, "default", "test").try_acquire()
    assert lease is not None
    store = Stores(database_url, lease)()
    unknown = Readings([Series("s1", "phlogiston", [1], [1.0])])
    store.commit(
        [raw(b"\x00garbage"), packet(1, unknown), packet(1, readings(1.0), Address("kiln", "box-9"))]
    )
    store.close()
    lease.release()
    listed = drumtower("rejects", "list", url=database_url)
    assert listed.returncode == 0, listed.stderr
    for part in ("not_json", "unknown_metric", "unknown_device", str(BOX), "next:"):
        assert part in listed.stdout
    single = drumtower("rejects", "list", "--reason", "unknown_metric", url=database_url)
    assert "s1/phlogiston" in single.stdout
    ((one,),) = rows(database_url, "SELECT reject_id FROM reject WHERE reason = 'not_json'")
    shown = drumtower("rejects", "show", str(one), url=database_url)
    assert "\\x00garbage" in shown.stdout.replace("\0", "\\x00")
    assert drumtower("rejects", "show", "999", url=database_url).returncode == 1
    config = tmp_path / "gateway.yaml"
    config.write_text("{}")
    retry = ("rejects", "retry", "--config", str(config), "--reason", "unknown_metric")
    assert drumtower(*retry, url=database_url).returncode == 1
    config.write_text("metrics: [{name: phlogiston, unit: g, low: 0, high: 9}]")
    tried = drumtower(*retry, url=database_url)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "1 taken in with 1 readings" in tried.stdout
    assert rows(database_url, "SELECT count(*) FROM reject WHERE reason = 'unknown_metric'") == [(0,)]


def test_a_checker_remembers_right_credentials_and_no_wrong_ones() -> None:
    credential = new_credential()
    kept, checker = hash_credential(credential), CredentialChecker()
    assert not checker.check(kept, "wrong")
    assert checker.check(kept, credential)
    assert checker.check(kept, credential)
    assert not checker.check(kept, "wrong")
    assert not checker.check(hash_credential("another"), credential), (
        "a changed hash is not answered from memory"
    )
    assert not checker.check("not a hash", credential)


def test_a_quarantined_box_is_listed_and_released(database_url: str) -> None:
    register(database_url, "kiln", "box-0")
    assert "no box is quarantined" in drumtower("quarantine", "list", url=database_url).stdout
    rows(database_url, "UPDATE device SET quarantined_at = now() RETURNING 1")
    listed = drumtower("quarantine", "list", url=database_url).stdout
    assert "kiln/box-0" in listed
    assert "next:" in listed
    released = drumtower("quarantine", "release", "kiln/box-0", url=database_url)
    assert (released.returncode, "next:" in released.stdout) == (0, True), released.stderr
    assert rows(database_url, "SELECT quarantined_at, released_at IS NOT NULL FROM device") == [(None, True)]
    again = drumtower("quarantine", "release", "kiln/box-0", url=database_url)
    assert again.returncode != 0
    assert "is not quarantined" in again.stderr
