"""Making anchors, keeping them elsewhere too, and looking through all there is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cloud.audit import repo
from cloud.audit.domain import GENESIS, Anchor, anchor_fault, anchor_hash, exported, first_fault
from cloud.db import Database, Transaction
from common.runtime.config import Settings
from common.runtime.errors import InvalidError
from common.runtime.log import get_logger

_log = get_logger("audit")
_MOST_FAULTS = 20


class AuditSettings(Settings):
    """How often histories are anchored, and where the anchors are kept besides."""

    anchor_every_s: Annotated[float, Field(ge=60, le=86_400, description="how often an anchor is made")] = (
        3600
    )
    export: Annotated[
        Path | None,
        Field(
            description="a file to which each anchor is added as a line of JSON; the log has them in any case"
        ),
    ] = None


@dataclass(slots=True)
class Report:
    """What a look through the audit found."""

    tickets: int = 0
    lines: int = 0
    anchors: int = 0
    faults: list[str] = field(default_factory=list)


def anchor_due(database: Database, settings: AuditSettings, now: datetime) -> Anchor | None:
    """Make an anchor when the last one is old enough, and export what is not exported yet.

    Raises:
        TransientError: the database is away.
    """
    every = timedelta(seconds=settings.anchor_every_s)
    with database.transaction() as transaction:
        if not repo.only_one(transaction):
            return None
        last = repo.newest_anchor(transaction)
        if last is not None and now - last.at < every:
            return None
        anchor_id = last.anchor_id + 1 if last else 1
        count = repo.take_heads(transaction, anchor_id)
        made = anchor_hash(last.hash if last else GENESIS, now, repo.heads(transaction, anchor_id))
        anchor = Anchor(anchor_id, now, count, made)
        repo.add_anchor(transaction, anchor)
    _log.info("audit anchor", **json.loads(exported(anchor)))
    if settings.export is not None:
        _export(database, settings.export)
    return anchor


def _export(database: Database, path: Path) -> None:
    """Add every anchor that the file lacks; one that was missed because a process died comes with the next."""
    try:
        with path.open("a+", encoding="utf-8") as file:
            file.seek(0)
            last = max((json.loads(line)["anchor"] for line in file if line.strip()), default=0)
            with database.transaction() as transaction:
                file.writelines(exported(one) + "\n" for one in repo.anchors(transaction, last))
            file.flush()
            os.fsync(file.fileno())
    except (OSError, ValueError, KeyError) as error:
        _log.error("anchors cannot be exported", path=str(path), error=str(error))


def verify(database: Database, kept: Path | None = None) -> Report:
    """Look through every history and every anchor, all of one instant.

    Args:
        database: opened.
        kept: anchors that were kept elsewhere, as exported.

    Raises:
        InvalidError: the file cannot be read.
        TransientError: the database is away.
    """
    elsewhere = _read(kept) if kept is not None else []
    report = Report()
    with database.transaction() as transaction:
        transaction.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        report.faults += islice(_broken_histories(transaction, report), _MOST_FAULTS)
        report.faults += islice(_broken_anchors(transaction, report), _MOST_FAULTS)
        report.faults += [
            f"ticket {number}, line {n}: it is not what anchor {anchor_id} saw"
            for anchor_id, number, n in repo.false_heads(transaction, _MOST_FAULTS)
        ]
        report.faults += islice(_differences(transaction, elsewhere), _MOST_FAULTS)
    return report


def _broken_histories(transaction: Transaction, report: Report) -> Iterator[str]:
    for number, version, lines in repo.histories(transaction):
        report.tickets += 1
        report.lines += len(lines)
        if fault := first_fault(lines, version):
            yield f"ticket {number}: {fault}"


def _broken_anchors(transaction: Transaction, report: Report) -> Iterator[str]:
    previous, expected = GENESIS, 1
    for anchor in repo.anchors(transaction):
        report.anchors += 1
        if fault := anchor_fault(anchor, expected, previous, repo.heads(transaction, anchor.anchor_id)):
            yield fault
        previous, expected = anchor.hash, anchor.anchor_id + 1


def _differences(transaction: Transaction, elsewhere: list[tuple[int, str]]) -> Iterator[str]:
    if not elsewhere:
        return
    here = {anchor.anchor_id: anchor.hash.hex() for anchor in repo.anchors(transaction)}
    for anchor_id, digest in elsewhere:
        if anchor_id not in here:
            yield f"anchor {anchor_id} was kept elsewhere, and is not in the database"
        elif here[anchor_id] != digest:
            yield f"anchor {anchor_id} was kept elsewhere, and is another one in the database"


def _read(path: Path) -> list[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        told = [json.loads(line) for line in lines if line.strip()]
        return [(int(one["anchor"]), str(one["hash"])) for one in told]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidError(
            "audit.bad_export",
            f"expected a file of exported anchors, one a line, got: {type(error).__name__}: {error}",
            "name the file that the setting audit.export names, or the log's lines 'audit anchor'",
        ) from error
