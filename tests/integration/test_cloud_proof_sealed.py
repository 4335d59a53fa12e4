"""Photos that prove a ticket: sealed on the disk, shown as before, kept as long as the ticket."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud.doctor.personal import personal_findings
from cloud.photos.keeper import PhotoKeeper
from cloud.photos.keeping import seal_rest
from cloud.photos.showing import find_picture
from cloud.reports.cli import app as personal
from cloud.reports.domain import ReportSettings
from cloud.reports.sealing import KeyRing, add_key, read_keys
from cloud.reports.service import forget
from cloud.tickets.domain import Action
from common.runtime.doctor import Examination
from common.runtime.errors import InvalidError
from tests.fixtures.centre import BORDER_LON, Centre, person
from tests.fixtures.claims import Claim
from tests.fixtures.photos import photo
from tests.fixtures.reporting import remove_all

pytestmark = pytest.mark.services


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The file of keys, with one."""
    add_key(tmp_path / "keys", datetime.now(UTC))
    return tmp_path / "keys"


@pytest.fixture
def keys(key_file: Path) -> KeyRing:
    """The keys in it."""
    return read_keys(key_file)


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """The folder of evidence."""
    (tmp_path / "evidence").mkdir()
    return tmp_path / "evidence"


def files(evidence: Path) -> list[Path]:
    return sorted(path for path in evidence.rglob("*") if path.is_file())


def is_itself(centre: Centre, evidence: Path, keys: KeyRing | None, sha256: str) -> bool:
    """Whether what is shown is what the history names."""
    picture = find_picture(centre.database, keys, evidence, sha256)
    content = picture.content if isinstance(picture.content, bytes) else picture.content.read_bytes()
    return hashlib.sha256(content).hexdigest() == sha256


def test_a_photo_that_proves_a_ticket_lies_sealed_and_is_shown_and_accepted_as_before(
    centre: Centre, evidence: Path, keys: KeyRing
) -> None:
    claim = Claim(centre, evidence, keys)
    claim.go_blind()
    kept = claim.upload()
    (file,) = files(evidence)
    assert file.suffix == ".sealed"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == file.stem != kept["sha256"]
    assert b"\xff\xd8\xff" not in file.read_bytes()[:16]
    assert is_itself(centre, evidence, keys, kept["sha256"])
    with pytest.raises(InvalidError) as caught:
        find_picture(centre.database, None, evidence, kept["sha256"])
    assert caught.value.code == "personal.no_keys"
    again = claim.upload()
    assert again["photo_id"] == kept["photo_id"]
    remove_all(centre.database, evidence, centre.now + timedelta(hours=2))
    assert files(evidence) == [file], "what the second sending wrote nobody names"
    assert claim.photos.photos(claim.ticket_id)[0].keys() == kept.keys(), "no key is told"
    done = centre.tickets.act(claim.ticket_id, Action.ACCEPT, person("dispatcher", "street-a"))
    assert done.events[-1].detail == {"photos": [kept["sha256"]]}


def test_it_stays_as_long_as_the_ticket_whatever_is_forgotten(
    centre: Centre, evidence: Path, keys: KeyRing
) -> None:
    claim = Claim(centre, evidence, keys)
    claim.go_blind()
    sha256 = claim.upload()["sha256"]
    centre.tickets.act(claim.ticket_id, Action.ACCEPT, person("dispatcher", "street-a"))
    later = centre.now + timedelta(days=3650)
    forget(centre.database, ReportSettings(personal_days=30), later)
    remove_all(centre.database, evidence, later)
    assert is_itself(centre, evidence, keys, sha256)


def test_those_of_before_and_of_a_centre_without_keys_are_sealed_as_soon_as_there_are_some(
    centre: Centre, evidence: Path, keys: KeyRing, key_file: Path
) -> None:
    claims = [Claim(centre, evidence, lon=BORDER_LON + number * 0.003) for number in range(2)]
    hashes = [claim.upload(seed)["sha256"] for seed, claim in enumerate([*claims, *claims], 1)]
    assert sorted(file.name for file in files(evidence)) == sorted(f"{sha256}.jpg" for sha256 in hashes)

    def said(named: str) -> list[str]:
        with centre.database.transaction() as tx:
            found = personal_findings(Examination("cloud"), tx, named)
            return [one.found for one in found if one.verdict == "warn" and "photos" in one.found]

    assert ["of 2 reports and tickets" in one for one in said("")] == [True]
    lost = evidence / hashes[0][:2] / f"{hashes[0]}.jpg"
    rotten = lost.read_bytes()
    lost.chmod(0o640)
    lost.write_bytes(b"\xff\xd8\xff rotten")
    keeper = PhotoKeeper(centre.database, evidence, keys, centre.clock)
    keeper.look()
    assert ["of 1 reports and tickets" in one for one in said(str(key_file))] == [True], (
        "it is put off, not lost"
    )
    lost.write_bytes(rotten)
    assert seal_rest(centre.database, evidence, keys, centre.now) == 1
    remove_all(centre.database, evidence, centre.now)
    assert [file.suffix for file in files(evidence)] == [".sealed"] * 4
    assert all(is_itself(centre, evidence, keys, sha256) for sha256 in hashes)
    assert said(str(key_file)) == []
    assert seal_rest(centre.database, evidence, keys, centre.now) == 0
    assert photo(1) not in [file.read_bytes() for file in files(evidence)]


def test_a_new_key_seals_their_keys_anew_and_the_old_one_can_go(
    centre: Centre, evidence: Path, keys: KeyRing, key_file: Path, database_url: str
) -> None:
    sha256 = Claim(centre, evidence, keys).upload()["sha256"]
    before = [(file, file.read_bytes()) for file in files(evidence)]
    new = add_key(key_file, datetime.now(UTC))
    environment = {"DRUMTOWER_DATABASE_URL": database_url, "DRUMTOWER_PERSONAL_KEYS_FILE": str(key_file)}
    ran = CliRunner().invoke(personal, ["rotate-keys", "--drop"], env=environment)
    assert ran.exit_code == 0, ran.output
    assert [key_id for key_id, _ in read_keys(key_file).keys] == [new]
    assert [(file, file.read_bytes()) for file in files(evidence)] == before
    assert is_itself(centre, evidence, read_keys(key_file), sha256)


def test_a_key_that_is_in_use_for_them_alone_is_not_dropped(
    centre: Centre, evidence: Path, keys: KeyRing, key_file: Path, database_url: str
) -> None:
    Claim(centre, evidence, keys).upload()
    with centre.database.transaction() as tx:
        assert any(
            "1 sealed" in one.found for one in personal_findings(Examination("cloud"), tx, str(key_file))
        )
        assert (
            tx.one("SELECT count(*) FROM ticket_photo WHERE key_id = %(key)s", key=keys.newest)["count"] == 1
        )
