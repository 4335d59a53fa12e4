"""promtool, for the tests of the alert rules: the system's where installed, else Debian's. Standard library only.

One program of Debian's package `prometheus`, which needs nothing but the machine's own libc.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from local.errors import SetupError
from local.paths import data_directory
from local.prefix import PackageSet, ensure_prefix, is_unpacked
from local.progress import Progress

_PROGRAM = "usr/bin/promtool"


def promtool_prefix() -> Path:
    """The directory that it is unpacked to."""
    return data_directory() / "prefix" / "promtool"


def _package() -> PackageSet:
    return PackageSet(
        title="promtool",
        names=("prometheus",),
        left_out=(r"(?!prometheus$).*",),
        pruned=("etc", "var", "lib", "usr/share"),
        suite=None,
        room_bytes=200_000_000,
        finish=_finish,
    )


def _finish(prefix: Path) -> None:
    """Keep promtool alone, and see that it runs."""
    (prefix / "usr/bin/prometheus").unlink(missing_ok=True)
    program = prefix / _PROGRAM
    if not program.exists():
        raise SetupError("Debian's prometheus has no promtool", "install prometheus with apt, then try again")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if said.returncode:
        raise SetupError(
            f"the unpacked promtool does not run: {said.stderr.strip()[:200]}",
            "install prometheus with apt, then try again",
        )


def promtool_is_ready() -> bool:
    """Whether `promtool` can answer without any further set-up."""
    return shutil.which("promtool") is not None or is_unpacked(promtool_prefix(), _package())


def ensure_promtool(progress: Progress) -> None:
    """Fetch and unpack it where none is installed. Raises SetupError."""
    if shutil.which("promtool") is None:
        ensure_prefix(promtool_prefix(), _package(), progress)


def promtool() -> Path:
    """The program; raises SetupError before the set-up."""
    installed = shutil.which("promtool")
    if installed is not None:
        return Path(installed)
    if not promtool_is_ready():
        raise SetupError("promtool is not set up", "run `python3 -m local.bootstrap --only promtool`")
    return promtool_prefix() / _PROGRAM
