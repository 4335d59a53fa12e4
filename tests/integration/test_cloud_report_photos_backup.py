"""Sealed photos in a backup: copied as they are, opened after the restore, and forgotten again when they are due."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloud.db import Database
from cloud.photos.keeping import remove_due
from cloud.photos.showing import find_picture
from cloud.reports.domain import ReportSettings
from cloud.reports.sealing import read_keys
from cloud.reports.service import forget
from gateway.backup import repo as backup_repo
from gateway.backup.create import create
from gateway.backup.restore import restore
from local.processes import installed_binaries
from tests.fixtures.reporting import MANY, Served, photo, remove_all, served, snap

pytestmark = pytest.mark.services
MONTH = ReportSettings(personal_days=30)


class Silent:
    """Is told the progress and tells nobody."""

    def step(self, title: str, total: int) -> None:
        """Nothing to say."""

    def advance(self, parts: int) -> None:
        """Nothing to say."""


@pytest.fixture
def centre(database_url: str, tmp_path: Path) -> Iterator[Served]:
    with served(database_url, tmp_path, MANY) as running:
        yield running


def filed(centre: Served) -> dict[str, Any]:
    """A report with a photo."""
    with centre.client(None) as citizen, centre.client() as somebody:
        assert snap(citizen, photo()).status_code == 201
        (told,) = somebody.get("/api/reports").json()["items"]
    assert isinstance(told, dict)
    return told


def test_sealed_photos_come_back_with_a_backup_and_are_deleted_again_when_they_are_due(
    centre: Served, database_url: str, empty_url: str, tmp_path: Path
) -> None:
    told = filed(centre)
    sha256 = told["photos"][0]["sha256"]
    programs = installed_binaries().postgres_programs
    folder, elsewhere = tmp_path / "backup", tmp_path / "elsewhere"
    made = create(database_url, folder, Silent(), programs=programs, evidence=centre.evidence)
    assert (made.evidence_files, made.evidence_missing) == (1, 0)
    now = datetime.now(UTC)
    closed = "UPDATE ticket SET state = 'closed', closed_at = now() RETURNING 1"
    centre.centre.rows(closed)
    forget(centre.centre.database, MONTH, now + timedelta(days=31))
    remove_all(centre.centre.database, centre.evidence, now + timedelta(days=31))
    assert list(centre.evidence.rglob("*.sealed")) == []

    back = restore(empty_url, folder, Silent(), programs=programs, evidence=elsewhere)
    assert (back.evidence_copied, back.evidence_missing) == (1, 0)
    with Database(empty_url, size=2) as database:
        picture = find_picture(database, read_keys(centre.keys), elsewhere, sha256)
        assert isinstance(picture.content, bytes)
        assert hashlib.sha256(picture.content).hexdigest() == sha256
        with database.transaction() as transaction:
            transaction.run(closed)
        forget(database, MONTH, now + timedelta(days=31))
        assert remove_due(database, elsewhere, now + timedelta(days=31)) == 1
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == []


def test_while_a_backup_copies_nothing_is_removed(centre: Served, database_url: str) -> None:
    filed(centre)
    centre.centre.rows("UPDATE ticket SET state = 'closed', closed_at = now() RETURNING 1")
    later = datetime.now(UTC) + timedelta(days=31)
    forget(centre.centre.database, MONTH, later)
    with backup_repo.connect(database_url) as connection:
        backup_repo.hold_evidence(connection)
        assert remove_due(centre.centre.database, centre.evidence, later) == 0
        assert len(list(centre.evidence.rglob("*.sealed"))) == 1
    remove_all(centre.centre.database, centre.evidence, later)
    assert list(centre.evidence.rglob("*.sealed")) == []
