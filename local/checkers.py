"""Compose and systemd's verifier, for tests of what is deployed. Standard library only.

Neither needs an engine or a running systemd to say whether a file is one that it would take. The system's are used
where installed; else Debian's are unpacked to a prefix (100 MB), like database and broker.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from local.errors import SetupError
from local.paths import data_directory
from local.prefix import PackageSet, ensure_prefix, is_unpacked
from local.progress import Progress
from local.wrapping import find_loader, library_directories, wrap

_COMPOSE = "usr/bin/docker-compose"
_VERIFIER = "usr/bin/systemd-analyze"
_LEFT_OUT = ("debconf|openssl-provider-legacy|libaudit-common",)


def checkers_prefix() -> Path:
    """The directory that they are unpacked to."""
    return data_directory() / "prefix" / "checkers"


def system_compose() -> Path | None:
    """The installed Compose, if it is of version 2 or later; the first knew another specification."""
    found = shutil.which("docker-compose")
    if found is None:
        return None
    said = subprocess.run([found, "version", "--short"], capture_output=True, text=True, check=False).stdout
    return Path(found) if re.match(r"v?([2-9]|\d\d)\.", said) else None


def system_verifier() -> Path | None:
    """The installed ``systemd-analyze``."""
    found = shutil.which("systemd-analyze")
    return Path(found) if found else None


def needed_packages() -> PackageSet | None:
    """What the system does not have installed; None where it has both."""
    names = (() if system_compose() else ("docker-compose",)) + (() if system_verifier() else ("systemd",))
    if not names:
        return None
    return PackageSet(
        title="checkers",
        names=names,
        left_out=_LEFT_OUT,
        pruned=("etc", "var", "usr/share/doc", "usr/share/man", "usr/share/locale"),
        suite="trixie",
        room_bytes=150_000_000,
        finish=_finish,
    )


def checkers_are_ready() -> bool:
    """Whether both can be called without any further set-up."""
    wanted = needed_packages()
    return wanted is None or is_unpacked(checkers_prefix(), wanted)


def ensure_checkers(progress: Progress) -> None:
    """Fetch and unpack what the system lacks; does nothing where that is done. Raises SetupError."""
    wanted = needed_packages()
    if wanted is not None:
        ensure_prefix(checkers_prefix(), wanted, progress)


def compose_program() -> Path:
    """Compose; raises SetupError before the set-up."""
    return _there(system_compose() or checkers_prefix() / _COMPOSE)


def unit_verifier() -> Path:
    """``systemd-analyze``; raises SetupError before the set-up."""
    return _there(system_verifier() or checkers_prefix() / _VERIFIER)


def _there(program: Path) -> Path:
    if not program.exists():
        raise SetupError(
            f"{program.name} is not set up: {program} does not exist",
            "run `python3 -m local.bootstrap --only checkers`, which `make test` does too",
        )
    return program


def _finish(prefix: Path) -> None:
    """Put the programs behind their wrappers, and try them."""
    loader, libraries = find_loader(prefix), library_directories(prefix)
    # The verifier's own library lies in a folder of its own.
    libraries += [
        found.parent.relative_to(prefix) for found in prefix.glob("usr/lib/*/systemd/libsystemd-shared-*.so")
    ]
    for name, question in ((_COMPOSE, "version"), (_VERIFIER, "--version")):
        program = prefix / name
        if not program.exists():
            continue
        wrap(program, prefix, loader, libraries)
        tried = subprocess.run([program, question], capture_output=True, text=True, check=False)
        if tried.returncode:
            raise SetupError(
                f"the unpacked {program.name} does not start: {(tried.stderr.strip() or 'it gave no reason')[-300:]}",
                f"this Debian release packages it differently; install the package of {program.name} with apt",
            )
