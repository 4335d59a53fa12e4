"""What `drumtower doctor` is made of: findings, and looking in such a way that one broken thing hides no other.

Each tier brings its own checks behind the entry point group ``drumtower.doctors``, so that a tier that is installed
alone is examined alone.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

from common.runtime.config import InvalidConfigError
from common.runtime.errors import DrumtowerError
from common.runtime.redaction import redacted

Verdict = Literal["ok", "warn", "fail", "could not check"]
_MEBIBYTE: Final = 2**20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what it is, how it is, in plain words, and what to do where something is to be done."""

    tier: str
    what: str
    verdict: Verdict
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a doctor is asked: the configuration and data directory that were named, and the environment."""

    config: Path | None
    data: Path | None
    environment: Mapping[str, str]


class Doctor(Protocol):
    """A tier's checks."""

    def why_not(self, asked: Asked) -> str:
        """Why there is nothing of this tier to examine here; empty when there is."""
        ...

    def examine(self, asked: Asked) -> Iterator[Finding]:
        """Look at everything, also when what is looked at is dead."""
        ...


class Examination:
    """Makes one tier's findings."""

    def __init__(self, tier: str) -> None:
        self._tier = tier

    def ok(self, what: str, found: str) -> Finding:
        """All is well."""
        return Finding(self._tier, what, "ok", redacted(found))

    def warn(self, what: str, found: str, fix: str) -> Finding:
        """It works, and somebody should look."""
        return Finding(self._tier, what, "warn", redacted(found), redacted(fix))

    def fail(self, what: str, found: str, fix: str) -> Finding:
        """It does not work."""
        return Finding(self._tier, what, "fail", redacted(found), redacted(fix))

    def unknown(self, what: str, found: str, fix: str = "") -> Finding:
        """It cannot be told from here."""
        return Finding(self._tier, what, "could not check", redacted(found), redacted(fix))

    def looked(self, what: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
        """Findings of one look; what breaks it off is a finding too, and the next look still takes place."""
        try:
            yield from look()
        except InvalidConfigError as error:
            for fault in error.faults:
                yield self.fail(what, str(fault), "correct this line")
        except DrumtowerError as error:
            yield self.fail(what, error.message, error.hint)
        except (OSError, sqlite3.Error) as error:
            yield self.unknown(what, f"{type(error).__name__}: {error}")

    def room(self, what: str, directory: Path, least_mb: float, fix: str) -> Finding:
        """Free space where a directory is; what there is less of than ``least_mb`` fails, than four times that warns."""
        place = next((one for one in (directory, *directory.parents) if one.exists()), Path("/"))
        try:
            usage = shutil.disk_usage(place)
        except OSError as error:
            return self.unknown(what, f"{directory}: {error.strerror}")
        free_mb = usage.free / _MEBIBYTE
        said = f"{directory}: {free_mb:,.0f} MB free of {usage.total / _MEBIBYTE:,.0f}"
        if free_mb < least_mb:
            return self.fail(what, said, fix)
        return self.warn(what, said, fix) if free_mb < 4 * least_mb else self.ok(what, said)

    def watcher(self, url: str | None) -> Finding:
        """Whether somebody outside would notice that this machine is gone; he is not asked, for that says all is well."""
        if url is not None:
            return self.ok("watcher outside", f"{urlsplit(url).hostname} is told while this tier works")
        return self.warn(
            "watcher outside",
            "none is named: nobody notices when this whole machine is gone",
            "watch.watchdog_url in the configuration, or DRUMTOWER_WATCHDOG_URL",
        )

    def clock(self, what: str, offset_s: float, than: str) -> Finding:
        """How far this machine's clock is from another's; ``offset_s`` is what would have to be added to ours."""
        said = (
            f"this machine's clock is {abs(offset_s):.1f} s {'behind' if offset_s > 0 else 'ahead of'} {than}"
        )
        fix = "run a time service on both machines: timedatectl set-ntp true, then timedatectl"
        if abs(offset_s) > 60:
            return self.fail(what, said, fix)
        if abs(offset_s) > 2:
            return self.warn(what, said, fix)
        return self.ok(what, f"this machine's clock agrees with {than}")


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when nothing fails (warnings are allowed), else 1."""
    return int(any(finding.verdict == "fail" for finding in findings))


def span(seconds: float) -> str:
    """A length of time as people say it: 40 s, 12 min, 3 h, 5 days."""
    for size, name, until in ((1, "s", 120), (60, "min", 7200), (3600, "h", 172_800)):
        if seconds < until:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"
