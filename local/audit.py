"""Known vulnerabilities of what the locks pin: ``python -m local.audit``, which is what ``make audit`` and CI run.

``pip-audit`` (PyPA) asks the package index's advisories, and where those do not answer the OSV database. The build does
not depend on either being there: then this says that nothing was audited. What is found fails, unless
``requirements/audit.yaml`` says with a reason until when it is lived with.

A mirror of an index may answer without its advisories, which pip-audit takes for "none is known". So one that finds nothing
is asked about a release that is known to be vulnerable; what knows nothing of that has said nothing of the others either.

Besides, pip asks the package index which pins were withdrawn by their publishers (:mod:`local.withdrawn`).
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from common.runtime.config import Settings, load_config
from common.runtime.errors import ConfigError, DrumtowerError, TransientError
from local.withdrawn import pins, withdrawn

REPOSITORY: Final = Path(__file__).parents[1]
#: It holds what every tier's own lock holds: they are parts of one resolution (requirements/compile.sh).
LOCK: Final = REPOSITORY / "requirements" / "dev.txt"
#: Of the environment that trains, on its own, and torch, whose build no database knows by its local version ("+cpu").
TRAINING: Final = REPOSITORY / "requirements" / "training.txt"
TORCH: Final = REPOSITORY / "requirements" / "torch.txt"
EXCEPTIONS: Final = REPOSITORY / "requirements" / "audit.yaml"
#: A release that every database of advisories knows of: PYSEC-2019-217, CVE-2019-10906.
CANARY: Final = ("jinja2", "2.10")
#: What stands for an advisory's id where a release was withdrawn.
YANKED: Final = "yanked"
_ANSWER_S: Final = 10
#: For each database; CI waits for both no longer than a minute.
_WHOLE_S: Final = 28


class ExceptionSettings(Settings):
    """A vulnerability that is lived with, why, and until when somebody has to look again."""

    id: Annotated[str, Field(min_length=5, description="PYSEC-…, GHSA-…, CVE-… or yanked")]
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
        if self.ids == (YANKED,):
            return f"{self.package} {self.version}: withdrawn by its publisher"
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


def join(locks: Sequence[Path], joined: Path) -> Path:
    """Write the pins of several lock files as one, each once and without its local version; that file.

    The hashes are made up: nothing is installed from it.
    """
    markers: dict[str, str] = {}
    for pin in (pin for lock in locks for pin in pins(lock)):
        release, _, marker = (part.strip() for part in pin.partition(";"))
        release = release.partition("+")[0]
        markers[release] = marker if markers.get(release, marker) == marker else ""
    lines = [
        f"{release}{marker and ' ; '}{marker} \\\n    --hash=sha256:{'0' * 64}\n"
        for release, marker in markers.items()
    ]
    joined.write_text("".join(lines), encoding="utf-8")
    return joined


def check_canary(service: str, osv_url: str | None = None) -> None:
    """Ask a database about the ``CANARY``.

    Raises:
        TransientError: when it does not answer, or knows of nothing that is wrong with it.
    """
    name, version = CANARY
    with tempfile.TemporaryDirectory() as directory:
        lock = Path(directory) / "canary.txt"
        lock.write_text(f"{name}=={version} --hash=sha256:{'0' * 64}\n", encoding="utf-8")
        answer = ask(lock, service, osv_url)
    if not answer.found:
        raise TransientError(
            "audit.away",
            f"{service}: it answers without advisories: it does not know that {name} {version} is vulnerable",
        )


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
    lived_with = [one for one in load_config(exceptions, AuditSettings).exceptions if one.id != YANKED]
    away = []
    for service in ("osv",) if osv_url else ("pypi", "osv"):
        try:
            answer = ask(lock, service, osv_url)
            if not answer.found:
                check_canary(service, osv_url)
        except TransientError as error:
            away.append(error.message)
            continue
        if answer.unknown:
            print(f"note: unknown to {service}, so not audited: {', '.join(answer.unknown)}")
        if _failed(answer.found, lived_with, today):
            return 1
        print(f"audit: {answer.audited} packages asked of {service}, none is vulnerable beyond the notes")
        return 0
    print("audit: NOT RUN, no advisory database could be asked; this says nothing about the dependencies")
    for reason in away:
        print(f"  {reason}")
    return int(required)


def audit_withdrawn(lock: Path, exceptions: Path, today: datetime.date, *, required: bool = False) -> int:
    """Ask the package index which pins were withdrawn; 0 when none was or it cannot be asked, 1 when one was.

    Raises:
        InvalidConfigError: for faults in the exceptions.
    """
    lived_with = [one for one in load_config(exceptions, AuditSettings).exceptions if one.id == YANKED]
    try:
        asked, found = withdrawn(pins(lock))
    except TransientError as error:
        print(f"audit: NOT RUN, nothing is known of withdrawn releases\n  {error.message}")
        return int(required)
    if _failed([Vulnerability(name, version, (YANKED,), ()) for name, version in found], lived_with, today):
        return 1
    print(
        f"audit: {asked} pins asked of the package index, none was withdrawn by its publisher beyond the notes"
    )
    return 0


def _failed(
    found: Sequence[Vulnerability], exceptions: Sequence[ExceptionSettings], today: datetime.date
) -> bool:
    """Tell what was found; whether anything of it fails."""
    faults, notes = judge(found, exceptions, today)
    for note in notes:
        print(f"note: {note}")
    for fault in faults:
        print(f"vulnerable: {fault}", file=sys.stderr)
    if faults:
        print(
            "audit: FAILED. Raise the version and `make lock`, or write into requirements/audit.yaml why it does"
            " not touch us and until when",
            file=sys.stderr,
        )
    return bool(faults)


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit code is 2 for a faulty file of exceptions or lock."""
    parser = argparse.ArgumentParser(prog="python -m local.audit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lock", type=Path, help="requirements with hashes; all of ours otherwise")
    parser.add_argument("--exceptions", type=Path, default=EXCEPTIONS, help="what is lived with, and why")
    parser.add_argument("--osv-url", help="a mirror of the OSV database; then nobody else is asked")
    parser.add_argument("--required", action="store_true", help="fail when nobody can be asked")
    chosen = parser.parse_args(arguments)
    today = datetime.datetime.now(datetime.UTC).date()
    try:
        with tempfile.TemporaryDirectory() as directory:
            lock = chosen.lock or join([LOCK, TRAINING, TORCH], Path(directory) / "known.txt")
            advised = audit(lock, chosen.exceptions, today, required=chosen.required, osv_url=chosen.osv_url)
            # Not torch: the index's own release of that number is another build, and gigabytes.
            lock = chosen.lock or join([LOCK, TRAINING], Path(directory) / "offered.txt")
            return max(advised, audit_withdrawn(lock, chosen.exceptions, today, required=chosen.required))
    except DrumtowerError as error:
        print(f"{error.code}: {error.message}\n  what to do: {error.hint}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
