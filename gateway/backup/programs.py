"""PostgreSQL's own pg_dump and pg_restore: where they are, and running them with their progress told."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from common.runtime.errors import ConfigError, TransientError

_SYSTEM: Final = Path("/usr/lib/postgresql")
_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")
_TABLE: Final = re.compile(r"(?:dumping contents of|processing data for) table \"(?P<name>[^\"]+)\"")
#: TimescaleDB's catalogue refers to itself; pg_dump says so each time, and the restore takes care of it.
_EXPECTED: Final = (
    "circular foreign-key",
    "hypertable",
    "chunk",
    "continuous_agg",
    "You might not be able",
    "Consider",
)
_KEPT_LINES: Final = 12


def find_program(name: str, at_least: int, folder: Path | None = None) -> tuple[Path, int]:
    """A program of PostgreSQL of this major version or a later one, and which it is.

    Args:
        name: ``pg_dump`` or ``pg_restore``.
        at_least: an older program refuses a newer server or archive.
        folder: where it is; None looks on the PATH, where Debian puts it, and where ``make setup`` does.

    Raises:
        ConfigError: when there is none.
    """
    found = []
    for path in [folder / name] if folder else _places(name):
        if not os.access(path, os.X_OK):
            continue
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        match = _VERSION.search(said)
        major = int(match[1]) if match else 0
        if major >= at_least:
            return path, major
        found.append(f"{path} ({major})")
    raise ConfigError(
        "backup.no_program",
        f"expected {name} of PostgreSQL {at_least} or later, found {', '.join(found) or 'none'}",
        f"apt-get install postgresql-client-{at_least}, or name its folder with --programs",
    )


def _places(name: str) -> Iterator[Path]:
    if on_path := shutil.which(name):
        yield Path(on_path)
    yield from sorted(_SYSTEM.glob(f"*/bin/{name}"), reverse=True)
    prefix = Path(os.environ.get("DRUMTOWER_DATA") or ".drumtower") / "prefix" / "services"
    yield from sorted(prefix.glob(f"usr/lib/postgresql/*/bin/{name}"), reverse=True)


def run_program(
    command: Sequence[str | Path], variables: Mapping[str, str], on_table: Callable[[str], None]
) -> None:
    """Run one to its end; ``on_table`` is told of each table that it comes to.

    Raises:
        TransientError: when it fails, with its last words.
    """
    last: list[str] = []
    with subprocess.Popen(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "LC_MESSAGES": "C", "LC_ALL": "C", **variables},
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            match = _TABLE.search(line)
            if match:
                on_table(match["name"])
            elif "error" in line.lower() or "fatal" in line.lower() or not line.startswith("pg_"):
                last = [*last, line.strip()][-_KEPT_LINES:]
    if process.returncode:
        name = Path(str(command[0])).name
        words = [line for line in last if not any(expected in line for expected in _EXPECTED)]
        if process.returncode < 0:
            words.append(signal.strsignal(-process.returncode) or "a signal")
        raise TransientError(
            "backup.program_failed",
            f"{name} ended with {process.returncode}: {' | '.join(words) or 'it said nothing'}",
            "see to what it says and try again",
        )


def list_archive(pg_restore: Path, archive: Path) -> list[str]:
    """The table of contents of an archive.

    Raises:
        TransientError: when it cannot be read.
    """
    ran = subprocess.run([pg_restore, "--list", archive], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise TransientError(
            "backup.unreadable",
            f"expected {archive} to be an archive that pg_restore reads: {ran.stderr.strip()}",
            "it was not written to its end, or it was damaged: take another backup",
        )
    return ran.stdout.splitlines()
