"""Known vulnerabilities of what the locks pin: ``python -m local.audit``, which is what ``make audit`` and CI run.

``pip-audit`` (PyPA) asks the package index's advisories, and where those do not answer the OSV database. The build does
not depend on either being there: then this says that nothing was audited. What is found fails, unless
``requirements/audit.yaml`` says with a reason until when it is lived with.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from common.runtime.config import Settings, load_config
from common.runtime.errors import ConfigError, DrumtowerError, TransientError

REPOSITORY: Final = Path(__file__).parents[1]
#: It holds what every tier's own lock holds: they are parts of one resolution (requirements/compile.sh).
LOCK: Final = REPOSITORY / "requirements" / "dev.txt"
EXCEPTIONS: Final = REPOSITORY / "requirements" / "audit.yaml"
_ANSWER_S: Final = 10
#: For each database; CI waits for both no longer than a minute.
_WHOLE_S: Final = 28


class ExceptionSettings(Settings):
    """A vulnerability that is lived with, why, and until when somebody has to look again."""

    id: Annotated[str, Field(min_length=5, description="PYSEC-…, GHSA-… or CVE-…")]
    package: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=20, description="why it does not touch us, in a sentence")]
    until: datetime.date


class AuditSettings(Settings):
    """``requirements/audit.yaml``."""

    exceptions: tuple[ExceptionSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One that is known of a package that we pin."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        """As it is told."""
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "not fixed in any release"
        return f"{self.package} {self.version}: {' = '.join(self.ids)}, {fixed}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a database said: of how many packages it knew, of which it did not, and what is wrong with which."""

    audited: int
    unknown: tuple[str, ...]
    found: tuple[Vulnerability, ...]


def ask(lock: Path, service: str, osv_url: str | None = None) -> Answer:
    """Ask one database about every pin of a lock file.

    Args:
        lock: requirements with hashes.
        service: ``pypi`` or ``osv``.
        osv_url: where OSV answers, when not at its own place.

    Raises:
        TransientError: when it does not answer, or of no package.
        ConfigError: when the lock cannot be read.
    """
    words = [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"),
        *("--format", "json", "--progress-spinner", "off", "--timeout", str(_ANSWER_S)),
        *("--vulnerability-service", service, *(("--osv-url", osv_url) if osv_url else ())),
    ]
    try:
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_WHOLE_S)
    except subprocess.TimeoutExpired as error:
        raise TransientError("audit.away", f"{service}: no answer within {_WHOLE_S} s") from error
    try:
        said = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        reason = (ran.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        if "requirement" in reason.lower() and "http" not in reason.lower():
            raise ConfigError("audit.lock", f"{lock} cannot be read: {reason}", "run make lock") from error
        raise TransientError("audit.away", f"{service}: {reason[-300:]}") from error
    unknown = tuple(one["name"] for one in said if "skip_reason" in one)
    if said and len(unknown) == len(said):
        raise TransientError("audit.away", f"{service}: it knows none of the {len(said)} packages")
    found = tuple(
        Vulnerability(
            one["name"],
            one["version"],
            (flaw["id"], *sorted(set(flaw["aliases"]) - {flaw["id"]})),
            tuple(flaw["fix_versions"]),
        )
        for one in said
        for flaw in one.get("vulns", ())
    )
    return Answer(len(said) - len(unknown), unknown, found)


def judge(
    found: Sequence[Vulnerability], exceptions: Sequence[ExceptionSettings], today: datetime.date
) -> tuple[list[str], list[str]]:
    """What fails the audit, and what is only to be told.

    Args:
        found: everything that is known.
        exceptions: what is lived with.
        today: an exception counts up to its day and on it.
    """
    faults, notes, used = [], [], set()
    for one in found:
        fitting = [it for it in exceptions if it.package == one.package and it.id in one.ids]
        used.update(fitting)
        if lasting := [it for it in fitting if it.until >= today]:
            notes.append(f"{one}; lived with until {lasting[0].until}: {lasting[0].reason}")
        elif fitting:
            faults.append(f"{one}; the exception for it ended on {fitting[0].until}")
        else:
            faults.append(str(one))
    notes += [
        f"{it.package}: the exception for {it.id} is not needed any more"
        for it in exceptions
        if it not in used
    ]
    return faults, notes


def audit(
    lock: Path, exceptions: Path, today: datetime.date, *, required: bool = False, osv_url: str | None = None
) -> int:
    """Ask, and say what there is; 0 when nothing is wrong or nobody could be asked, 1 when something is.

    Raises:
        InvalidConfigError: for faults in the exceptions.
        ConfigError: when the lock cannot be read.
    """
    lived_with = load_config(exceptions, AuditSettings).exceptions
    away = []
    for service in ("osv",) if osv_url else ("pypi", "osv"):
        try:
            answer = ask(lock, service, osv_url)
        except TransientError as error:
            away.append(error.message)
            continue
        faults, notes = judge(answer.found, lived_with, today)
        for note in notes:
            print(f"note: {note}")
        if answer.unknown:
            print(f"note: unknown to {service}, so not audited: {', '.join(answer.unknown)}")
        for fault in faults:
            print(f"vulnerable: {fault}", file=sys.stderr)
        if faults:
            print(
                "audit: FAILED. Raise the version and `make lock`, or write into requirements/audit.yaml why it does"
                " not touch us and until when",
                file=sys.stderr,
            )
            return 1
        print(f"audit: {answer.audited} packages asked of {service}, none is vulnerable beyond the notes")
        return 0
    print("audit: NOT RUN, no advisory database could be asked; this says nothing about the dependencies")
    for reason in away:
        print(f"  {reason}")
    return int(required)


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit code is 2 for a faulty file of exceptions or lock."""
    parser = argparse.ArgumentParser(prog="python -m local.audit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lock", type=Path, default=LOCK, help="requirements with hashes")
    parser.add_argument("--exceptions", type=Path, default=EXCEPTIONS, help="what is lived with, and why")
    parser.add_argument("--osv-url", help="a mirror of the OSV database; then nobody else is asked")
    parser.add_argument("--required", action="store_true", help="fail when nobody can be asked")
    chosen = parser.parse_args(arguments)
    today = datetime.datetime.now(datetime.UTC).date()
    try:
        return audit(chosen.lock, chosen.exceptions, today, required=chosen.required, osv_url=chosen.osv_url)
    except DrumtowerError as error:
        print(f"{error.code}: {error.message}\n  what to do: {error.hint}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
