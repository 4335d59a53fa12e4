"""Photos of reporters: sealed on the disk, shown as before, deleted with the words, whatever is killed in between."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from typer.testing import CliRunner

from cloud.doctor.personal import personal_findings
from cloud.errors import NotFoundError
from cloud.photos import repo
from cloud.photos.files import JPEG, file_at
from cloud.photos.keeper import PhotoKeeper
from cloud.photos.keeping import in_clear, name_photos, remove_due, seal_rest, seal_some, write_photos
from cloud.photos.showing import find_picture
from cloud.reports.cli import app as personal
from cloud.reports.domain import ReportSettings
from cloud.reports.sealing import add_key, read_keys
from cloud.reports.service import forget
from common.runtime.doctor import Examination
from common.runtime.errors import TransientError
from tests.fixtures.centre import BORDER_LON
from tests.fixtures.reporting import (
    MANY,
    METRE,
    Served,
    assert_problem,
    photo,
    remove_all,
    served,
    snap,
)

pytestmark = pytest.mark.services
MONTH = ReportSettings(personal_days=30)
PATIENCE_S = 60.0


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path, MANY) as running:
        yield running


@pytest.fixture
def keyless(database_url: str, tmp_path: Path) -> Iterator[Served]:
    """A centre as it was before photos were sealed: it keeps them in the clear."""
    with served(database_url, tmp_path, MANY, with_keys=False) as running:
        yield running


def report(centre: Served, *photos: bytes, **changed: Any) -> dict[str, Any]:
    """A citizen's report with photos, as its list shows it."""
    with centre.client(None) as citizen, centre.client() as somebody:
        sent = snap(citizen, *photos, **changed)
        assert sent.status_code == 201, sent.text
        items = somebody.get("/api/reports").json()["items"]
    (found,) = [one for one in items if one["receipt"] == sent.json()["receipt"]]
    assert isinstance(found, dict)
    return found


def several(number: int) -> list[bytes]:
    """Photos of which no two are alike."""
    return [photo(size=(64 + n, 48)) for n in range(number)]


def close(centre: Served, ticket_id: str) -> None:
    """Over, without a way through the whole of its life."""
    statement = "UPDATE ticket SET state = 'closed', closed_at = now() WHERE ticket_id = %(id)s RETURNING 1"
    assert centre.centre.rows(statement, id=ticket_id)


def files(centre: Served) -> list[Path]:
    return sorted(path for path in centre.evidence.rglob("*") if path.is_file())


def counts(centre: Served) -> tuple[int, int]:
    """How many files the store names, and how many photos' keys it has."""
    return (
        centre.centre.value("SELECT count(*) FROM evidence"),
        centre.centre.value("SELECT count(*) FROM report_photo"),
    )


def opened(centre: Served, sha256: str) -> bytes:
    """A photo as a centre with the keys shows it."""
    picture = find_picture(centre.centre.database, read_keys(centre.keys), centre.evidence, sha256)
    return picture.content if isinstance(picture.content, bytes) else picture.content.read_bytes()


def is_itself(centre: Served, sha256: str) -> bool:
    return hashlib.sha256(opened(centre, sha256)).hexdigest() == sha256


def test_a_photo_is_sealed_on_the_disk_and_shown_to_who_may_see_it(centre: Served) -> None:
    told = report(centre, photo())
    (sha256,) = [one["sha256"] for one in told["photos"]]
    (file,) = files(centre)
    assert file.suffix == ".sealed"
    content = file.read_bytes()
    assert hashlib.sha256(content).hexdigest() == file.stem != sha256
    assert b"\xff\xd8\xff" not in content[:16]
    with centre.client("handler", "grid-a") as somebody:
        shown = somebody.get(told["photos"][0]["url"])
        again = somebody.get(told["photos"][0]["url"], headers={"If-None-Match": f'"{sha256}"'})
        assert_problem(somebody.get(f"/api/evidence/{file.stem}"), 404, "evidence.not_arrived")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    assert shown.headers["cache-control"] == "private, no-cache"
    assert hashlib.sha256(shown.content).hexdigest() == sha256
    assert again.status_code == 304
    views = centre.centre.value("SELECT count(*) FROM audit WHERE action = 'evidence_viewed'")
    assert views == 2, "each look, also one that the browser's own copy answered"


def test_photos_are_deleted_with_the_words_and_are_not_shown_from_then_on(centre: Served) -> None:
    told = report(centre, *several(2))
    now = datetime.now(UTC)
    close(centre, told["ticket_id"])
    forget(centre.centre.database, MONTH, now + timedelta(days=29))
    assert counts(centre) == (2, 2)
    later = now + timedelta(days=31)
    forget(centre.centre.database, MONTH, later)
    with centre.client() as somebody:
        gone = somebody.get(told["photos"][0]["url"])
        assert_problem(gone, 404, "evidence.not_arrived")
        assert somebody.get(f"/api/reports/{told['report_id']}").json()["photos"] == []
    assert counts(centre) == (0, 0)
    remove_all(centre.centre.database, centre.evidence, later)
    assert files(centre) == []
    assert centre.centre.value("SELECT count(*) FROM evidence_removal") == 0


def test_the_command_that_forgets_removes_the_files_too(centre: Served, database_url: str) -> None:
    told = report(centre, photo())
    close(centre, told["ticket_id"])
    centre.centre.rows("UPDATE ticket SET closed_at = now() - interval '31 days' RETURNING 1")
    environment = {"DRUMTOWER_DATABASE_URL": database_url, "DRUMTOWER_EVIDENCE_DIR": str(centre.evidence)}
    ran = CliRunner().invoke(personal, ["forget"], env=environment)
    assert ran.exit_code == 0, ran.output
    remove_all(centre.centre.database, centre.evidence, datetime.now(UTC))
    assert files(centre) == []


def test_photos_of_before_are_sealed_one_after_the_other_and_those_in_the_clear_removed(
    keyless: Served,
) -> None:
    tolds = [report(keyless, *several(3)) for _ in range(2)]
    hashes = {one["sha256"] for told in tolds for one in told["photos"]}
    assert {file.stem for file in files(keyless)} == hashes
    keeper = PhotoKeeper(
        keyless.centre.database, keyless.evidence, read_keys(keyless.keys), keyless.centre.clock
    )
    keeper.look()
    remove_all(keyless.centre.database, keyless.evidence, datetime.now(UTC))
    assert {file.suffix for file in files(keyless)} == {".sealed"}
    assert counts(keyless) == (6, 6), "the same photo of two reports is sealed for each"
    assert all(is_itself(keyless, sha256) for sha256 in hashes)
    assert keyless.centre.value("SELECT bool_and(photos_sealed) FROM report") is True
    assert seal_some(
        keyless.centre.database, keyless.evidence, read_keys(keyless.keys), datetime.now(UTC)
    ) == (0, None)


_SEAL = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from cloud.db import Database
from cloud.photos.keeping import remove_due, seal_rest
from cloud.reports.sealing import read_keys
url, directory, keys = sys.argv[1], Path(sys.argv[2]), read_keys(Path(sys.argv[3]))
with Database(url, 2) as database:
    print("sealing", flush=True)
    seal_rest(database, directory, keys, datetime.now(UTC))
    while remove_due(database, directory, datetime.now(UTC)):
        pass
"""


def sealing(centre: Served, database_url: str) -> subprocess.Popen[str]:
    """A process that seals what lies in the clear, at work."""
    command = [sys.executable, "-c", _SEAL, database_url, str(centre.evidence), str(centre.keys)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "sealing"
    return process


def test_sealing_that_is_killed_anywhere_goes_on_where_it_was(keyless: Served, database_url: str) -> None:
    hashes = [
        one["sha256"]
        for n in range(8)
        for one in report(keyless, *[photo(size=(100 + 3 * n + k, 80)) for k in range(3)])["photos"]
    ]
    assert len(set(hashes)) == 24
    for kill in range(3):
        before = keyless.centre.value("SELECT count(*) FROM report_photo")
        process = sealing(keyless, database_url)
        deadline = time.monotonic() + PATIENCE_S
        # Not at a fixed moment: after another file each time, between its writing and its naming or after that.
        while len(list(keyless.evidence.rglob("*.sealed"))) < before + 2 + kill and process.poll() is None:
            assert time.monotonic() < deadline
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
        assert all(is_itself(keyless, sha256) for sha256 in hashes), "each is shown, sealed or not yet"
    last = sealing(keyless, database_url)
    last.communicate(timeout=PATIENCE_S)
    assert last.returncode == 0
    later = datetime.now(UTC) + timedelta(hours=2)
    remove_all(keyless.centre.database, keyless.evidence, later)
    named = keyless.centre.rows("SELECT sha256 FROM evidence")
    assert {file.name for file in files(keyless)} == {f"{row['sha256']}.sealed" for row in named}
    assert counts(keyless) == (24, 24)
    assert all(is_itself(keyless, sha256) for sha256 in hashes)


def test_a_photo_that_is_missing_or_rotten_stays_and_the_others_are_sealed(keyless: Served) -> None:
    lost, rotten, good = (one["sha256"] for one in report(keyless, *several(3))["photos"])
    file_at(keyless.evidence, lost, JPEG).unlink()
    spoilt = file_at(keyless.evidence, rotten, JPEG)
    spoilt.chmod(0o640)
    spoilt.write_bytes(b"\xff\xd8\xff rotten")
    keys = read_keys(keyless.keys)
    assert seal_rest(keyless.centre.database, keyless.evidence, keys, datetime.now(UTC)) == 1
    assert seal_rest(keyless.centre.database, keyless.evidence, keys, datetime.now(UTC)) == 0
    assert is_itself(keyless, good)
    assert spoilt.exists()
    assert keyless.centre.value("SELECT photos_sealed FROM report") is False
    with pytest.raises(NotFoundError):
        opened(keyless, lost)


def test_a_new_key_seals_the_photos_keys_anew_and_the_old_one_can_go(
    centre: Served, database_url: str
) -> None:
    told = report(centre, photo())
    before = [(file, file.read_bytes()) for file in files(centre)]
    new = add_key(centre.keys, datetime.now(UTC))
    environment = {"DRUMTOWER_DATABASE_URL": database_url, "DRUMTOWER_PERSONAL_KEYS_FILE": str(centre.keys)}
    ran = CliRunner().invoke(personal, ["rotate-keys", "--drop"], env=environment)
    assert ran.exit_code == 0, ran.output
    assert [key_id for key_id, _ in read_keys(centre.keys).keys] == [new]
    assert centre.centre.value("SELECT key_id FROM report_photo") == new
    assert [(file, file.read_bytes()) for file in files(centre)] == before
    assert is_itself(centre, told["photos"][0]["sha256"])


def test_rotating_keys_seals_photos_in_the_clear_where_it_has_the_folder(
    keyless: Served, database_url: str
) -> None:
    told = report(keyless, photo())
    environment = {
        "DRUMTOWER_DATABASE_URL": database_url,
        "DRUMTOWER_PERSONAL_KEYS_FILE": str(keyless.keys),
        "DRUMTOWER_EVIDENCE_DIR": str(keyless.evidence),
    }
    ran = CliRunner().invoke(personal, ["rotate-keys"], env=environment)
    assert ran.exit_code == 0, ran.output
    remove_all(keyless.centre.database, keyless.evidence, datetime.now(UTC))
    (file,) = files(keyless)
    assert file.suffix == ".sealed"
    assert is_itself(keyless, told["photos"][0]["sha256"])
    with keyless.client() as somebody:
        assert_problem(somebody.get(told["photos"][0]["url"]), 422, "personal.no_keys")


def test_a_photo_in_the_clear_that_two_sent_is_removed_with_the_last_of_them(keyless: Served) -> None:
    first = report(keyless, photo())
    second = report(keyless, photo(), lon=BORDER_LON + 900 * METRE)
    assert first["ticket_id"] != second["ticket_id"]
    sha256 = first["photos"][0]["sha256"]
    later = datetime.now(UTC) + timedelta(days=31)
    for told, left in ((first, 1), (second, 0)):
        close(keyless, told["ticket_id"])
        forget(keyless.centre.database, MONTH, later)
        remove_all(keyless.centre.database, keyless.evidence, later)
        assert [file.stem for file in files(keyless)] == [sha256] * left


def test_a_photo_that_proves_a_ticket_stays_when_a_reporter_had_sent_the_same(keyless: Served) -> None:
    told = report(keyless, photo())
    sha256 = told["photos"][0]["sha256"]
    keyless.centre.rows(
        "INSERT INTO ticket_photo (photo_id, ticket_id, claimed_at, sha256, width, height, lon, lat, given_lon,"
        " given_lat, coordinate_system, distance_m, taken_at, uploaded_at, account_id, account_name)"
        " VALUES (gen_random_uuid(), %(ticket)s, now(), %(sha)s, 1, 1, 0, 0, 0, 0, 'WGS-84', 0, now(), now(),"
        " gen_random_uuid(), 'somebody') RETURNING 1",
        ticket=told["ticket_id"],
        sha=sha256,
    )
    now = datetime.now(UTC)
    later = now + timedelta(days=31)
    assert seal_rest(keyless.centre.database, keyless.evidence, read_keys(keyless.keys), now) == 2
    close(keyless, told["ticket_id"])
    forget(keyless.centre.database, MONTH, later)
    remove_all(keyless.centre.database, keyless.evidence, later)
    assert counts(keyless) == (1, 0)
    assert [file.suffix for file in files(keyless)] == [".sealed"]
    assert is_itself(keyless, sha256)


def test_a_photo_that_was_written_and_never_named_is_removed_after_an_hour(centre: Served) -> None:
    now = datetime.now(UTC)
    lost = in_clear(hashlib.sha256(b"lost").hexdigest(), b"lost")
    write_photos(centre.centre.database, centre.evidence, [lost], now)
    with pytest.raises(NotFoundError):
        opened(centre, lost.sha256)
    assert remove_due(centre.centre.database, centre.evidence, now + timedelta(minutes=50)) == 0
    remove_all(centre.centre.database, centre.evidence, now + timedelta(minutes=70))
    assert files(centre) == []
    with (
        pytest.raises(TransientError, match="naming it took too long"),
        centre.centre.database.transaction() as tx,
    ):
        name_photos(tx, [lost], now)
    assert counts(centre) == (0, 0)


def test_a_named_photo_that_comes_once_more_and_is_given_up_stays(keyless: Served) -> None:
    sha256 = report(keyless, photo())["photos"][0]["sha256"]
    content = opened(keyless, sha256)
    now = datetime.now(UTC)
    write_photos(keyless.centre.database, keyless.evidence, [in_clear(sha256, content)], now)
    assert opened(keyless, sha256) == content
    remove_all(keyless.centre.database, keyless.evidence, now + timedelta(hours=2))
    assert opened(keyless, sha256) == content
    assert keyless.centre.value("SELECT count(*) FROM evidence_removal") == 0


def test_what_is_refused_or_sent_again_leaves_no_photo_behind(centre: Served) -> None:
    with centre.client(None) as citizen:
        refused = snap(citizen, photo(), lon=0.0)
        assert_problem(refused, 422, "report.outside_district")
        assert files(centre) == []
        first, again = (snap(citizen, photo(), key="the-same-1") for _ in range(2))
    assert first.json() == again.json()
    assert len(files(centre)) == 1
    assert centre.centre.value("SELECT count(*) FROM evidence_removal") == 0


def test_the_same_photo_twice_in_one_report_is_one_file(centre: Served) -> None:
    told = report(centre, photo(), photo())
    assert len(told["photos"]) == 2
    assert len(files(centre)) == 1
    assert is_itself(centre, told["photos"][0]["sha256"])


def test_a_sealed_photo_that_was_changed_on_the_disk_is_not_shown(centre: Served) -> None:
    told = report(centre, photo())
    (file,) = files(centre)
    file.chmod(0o640)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with centre.client() as somebody:
        answer: httpx.Response = somebody.get(told["photos"][0]["url"])
    assert answer.status_code >= 500
    assert centre.centre.value("SELECT count(*) FROM audit WHERE action = 'evidence_viewed'") == 0


def test_the_doctor_tells_of_photos_in_the_clear(keyless: Served) -> None:
    def said(named: str) -> list[tuple[str, str]]:
        with keyless.centre.database.transaction() as tx:
            found = list(personal_findings(Examination("cloud"), tx, named))
        return [(one.verdict, one.found) for one in found if "photos" in one.found]

    assert said("") == said(str(keyless.keys)) == []
    report(keyless, photo())
    ((without, told),) = said("")
    assert (without, "there is no key" in told) == ("warn", True)
    ((with_keys, told),) = said(str(keyless.keys))
    assert (with_keys, "not sealed yet" in told) == ("warn", True)
    keys = read_keys(keyless.keys)
    assert seal_rest(keyless.centre.database, keyless.evidence, keys, datetime.now(UTC)) == 1
    assert said(str(keyless.keys)) == []


def test_what_a_report_was_forgotten_of_while_it_was_sealed_is_not_named(keyless: Served) -> None:
    told = report(keyless, photo())
    close(keyless, told["ticket_id"])
    later = datetime.now(UTC) + timedelta(days=31)
    forget(keyless.centre.database, MONTH, later)
    keys = read_keys(keyless.keys)
    assert seal_rest(keyless.centre.database, keyless.evidence, keys, later) == 0
    with keyless.centre.database.transaction() as tx:
        assert repo.unsealed(tx, repo.Owner(UUID(told["report_id"]), "report")) == []
    assert counts(keyless) == (0, 0)
