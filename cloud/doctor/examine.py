"""What can be wrong with a ticket centre, looked at one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from cloud.config import CloudSettings, read_settings
from cloud.db import Database, Transaction
from cloud.doctor import repo
from cloud.doctor.notify import notify_findings
from cloud.doctor.personal import personal_findings
from cloud.watch import repo as watch_repo
from cloud.watch.domain import HINTS
from common.runtime.doctor import Asked, Examination, Finding, span
from common.runtime.errors import ConfigError
from common.runtime.places import database_url
from common.runtime.watchdog import watchdog_url
from common.schema.doctor import database_findings

_LATE_S: Final = 60.0
_UNOWNED_S: Final = 900.0


class CloudDoctor:
    """Examines the ticket centre that is, or should be, on this machine, and what it needs."""

    def __init__(self) -> None:
        self._told = Examination("cloud")

    def why_not(self, asked: Asked) -> str:
        """Why there is no ticket centre here."""
        return "" if asked.environment.get("DRUMTOWER_DATABASE_URL") else "DRUMTOWER_DATABASE_URL not set"

    def examine(self, asked: Asked) -> Iterator[Finding]:
        """Configuration, database, district, workers, inbox, tickets, gateways, pictures."""
        told, settings = self._told, CloudSettings()
        named = asked.config or asked.environment.get("DRUMTOWER_CLOUD_CONFIG")
        path = Path(named) if named else None
        if path is not None:
            findings = list(told.looked("configuration", partial(self._configuration, path)))
            yield from findings
            if all(finding.verdict == "ok" for finding in findings):
                settings = read_settings(path)
        try:
            url = database_url(asked.environment)
        except ConfigError as error:
            yield told.fail("database", error.message, error.hint)
        else:
            keys = asked.environment.get("DRUMTOWER_PERSONAL_KEYS_FILE", "")
            found = list(database_findings(told, url))
            yield from found
            if found[0].verdict == "ok":
                yield from told.looked("store", partial(self._store, url, settings, keys))
        yield from self._pictures(asked.environment.get("DRUMTOWER_EVIDENCE_DIR", ""))
        yield told.watcher(watchdog_url(settings.watch, asked.environment))

    def _configuration(self, path: Path) -> Iterator[Finding]:
        settings = read_settings(path)
        yield self._told.ok("configuration", f"{path}: {len(settings.fusion)} rules of fusion")

    def _store(self, url: str, settings: CloudSettings, keys: str) -> Iterator[Finding]:
        with Database(url, 2) as database, database.transaction() as transaction:
            if not repo.is_of_release(transaction):
                yield self._told.unknown(
                    "workers", "the schema is not of this release", "drumtower schema migrate"
                )
                return
            yield from self._district(transaction)
            yield from self._workers(transaction, settings)
            yield from self._tickets(transaction)
            yield from notify_findings(self._told, transaction, settings.notify)
            yield from personal_findings(self._told, transaction, keys)
            yield from self._gateways(transaction, settings)

    def _district(self, transaction: Transaction) -> Iterator[Finding]:
        told, found = self._told, repo.district(transaction)
        if found["units"]:
            yield told.ok("district", f"{found['units']} units, {found['rules']} routing rules")
        else:
            yield told.fail(
                "district",
                "none is loaded: tickets have no owner",
                "drumtower cloud load-district firmware_configs/districts/DISTRICT.yaml",
            )
        if found["admins"]:
            yield told.ok("accounts", f"{found['accounts']} people may sign in")
        else:
            yield told.warn(
                "accounts",
                "nobody may sign in as admin",
                "drumtower cloud account add NAME --role admin --unit centre",
            )

    def _workers(self, transaction: Transaction, settings: CloudSettings) -> Iterator[Finding]:
        told = self._told
        figures, workers = watch_repo.figures(transaction), watch_repo.workers(transaction)
        limit_s = settings.watch.worker_silent_s
        alive = [name for name, age_s in workers if age_s <= limit_s]
        if alive:
            yield told.ok("workers", f"{len(alive)} work: {', '.join(alive)}")
        else:
            last = f"; the last was heard {span(workers[0][1])} ago" if workers else ""
            yield told.fail(
                "workers",
                f"none works: no tickets are made{last}",
                "drumtower cloud run, or with --role worker alone",
            )
        waiting, oldest_s = figures["inbox_waiting"], figures["inbox_oldest_s"]
        said = f"{waiting} observations wait, the oldest for {span(oldest_s)}" if waiting else "nothing waits"
        if oldest_s > _LATE_S:
            yield told.fail(
                "inbox", said, "is a worker there, and is it let in? More of them: workers in the settings"
            )
        else:
            yield told.ok("inbox", said)
        if figures["inbox_failed"]:
            why = repo.why_failed(transaction)
            yield told.fail(
                "inbox: failed",
                f"{figures['inbox_failed']} observations could not be applied: {why[:200]}",
                "after a fix: drumtower cloud retry-failed",
            )
        else:
            yield told.ok("inbox: failed", "none")

    def _tickets(self, transaction: Transaction) -> Iterator[Finding]:
        told, figures = self._told, watch_repo.figures(transaction)
        said = f"{figures['unassigned']} of {figures['open']} open tickets have no owner"
        if figures["unassigned_oldest_s"] > _UNOWNED_S:
            yield told.warn(
                "tickets without an owner",
                f"{said}, the oldest for {span(figures['unassigned_oldest_s'])}",
                "assign them on the page; a routing rule for their category spares the next ones",
            )
        else:
            yield told.ok("tickets without an owner", said)
        if figures["unfired_s"] > _LATE_S:
            yield told.fail(
                "clocks",
                f"one has been due for {span(figures['unfired_s'])} and nobody fired it",
                "the sweeper does not run: drumtower cloud run, or with --role worker",
            )
        elif figures["overdue"]:
            yield told.warn(
                "clocks",
                f"{figures['overdue']} open tickets missed a clock",
                "the page lists them under Overdue",
            )
        else:
            yield told.ok("clocks", "no open ticket missed one")

    def _gateways(self, transaction: Transaction, settings: CloudSettings) -> Iterator[Finding]:
        told, found = self._told, watch_repo.partitions(transaction)
        if not found:
            yield told.unknown("gateways", "none was ever seen at this database", "drumtower gateway run")
        for partition in found:
            what = f"gateway: {partition.name}"
            if partition.silent_s > settings.watch.gateway_silent_s or not partition.is_held:
                fix = f"on the gateway's machine: drumtower doctor gateway; {HINTS[partition.why]}"
                yield told.fail(what, f"silent for {span(partition.silent_s)}: {partition.why}", fix)
            else:
                yield told.ok(what, f"{partition.holder} works")

    def _pictures(self, named: str) -> Iterator[Finding]:
        told, what = self._told, "pictures"
        if not named:
            yield told.warn(
                what, "tickets show none", "set DRUMTOWER_EVIDENCE_DIR to where the gateway keeps them"
            )
            return
        directory = Path(named)
        if directory.is_dir() and os.access(directory, os.R_OK | os.X_OK):
            yield told.ok(what, f"{directory} can be read")
        else:
            yield told.fail(
                what,
                f"{directory} cannot be read by this account, or is not there",
                "let this account read where the gateway keeps them: usermod -aG GROUP USER",
            )
