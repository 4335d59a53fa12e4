"""PostgreSQL with TimescaleDB, and Mosquitto: the system's where installed, else in a prefix. Standard library only.

The packages come from Debian's suite *trixie*, on Debian 12 too: its own PostgreSQL 15 has no TimescaleDB, and
installing trixie's packages would replace the machine's libc. So each program runs from the prefix through the
prefix's own dynamic loader and libraries.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from local.errors import SetupError
from local.paths import data_directory
from local.prefix import PackageSet, ensure_prefix, is_unpacked, missing_libraries
from local.progress import Progress
from local.wrapping import find_loader, is_executable_elf, library_directories, wrap

_SUITE = "trixie"
_DATABASE_PACKAGES = ("postgresql-17", "postgresql-17-timescaledb")
_BROKER_PACKAGES = ("mosquitto",)
_POSTGRES_PROGRAMS = "usr/lib/postgresql/17/bin"
_MOSQUITTO = "usr/sbin/mosquitto"

# What Debian's packages depend on but the programs never open. Whatever else the closure holds is fetched, so a
# library that a later version needs is not missed.
_LEFT_OUT = (
    # PostgreSQL's just-in-time compiler and its solver: 35 MB that `jit = off` makes needless.
    "libllvm[0-9]+|libz3-4|libffi8",
    # Scripts that create and supervise the system's database clusters; `local.postgres` does that here.
    "postgresql-common(-dev)?|postgresql-client-common|ssl-cert|ucf|sensible-utils|debconf|libdebconfclient0",
    "perl(-base|-modules-.*)?|libperl5.*|lib.*-perl|libgdbm.*|libdb5.*|readline-common",
    # Accounts, start-up and process tools of maintainer scripts, which do not run.
    "adduser|passwd|base-passwd|login.defs|init-system-helpers|sysvinit-utils|procps|libproc2-.*|netbase",
    "libsemanage.*|libsepol2|libpam-modules(-bin)?",
    # Translations and zone data: the database runs in the C locale and reads the machine's own zone data.
    "locales|libc-l10n|libc-bin|tzdata",
    # OpenSSL's command and the ciphers that nobody should use; the library itself stays.
    "openssl|openssl-provider-legacy|libsasl2-modules-db",
    # Opened by libsystemd only to read the journal.
    "libgcrypt20|libgpg-error0",
)
# No program reads these at run time; the bitcode is for the compiler that is left out.
_PRUNED = (
    "etc",
    "var",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/lib/postgresql/17/lib/bitcode",
)
_CHECKED = (
    f"{_POSTGRES_PROGRAMS}/*.program",
    "usr/lib/postgresql/17/lib/timescaledb*.so",
    "usr/sbin/*.program",
    "usr/bin/mosquitto_*.program",
)


@dataclass(frozen=True)
class ServiceBinaries:
    """Where the servers are: PostgreSQL's directory of programs, and the broker."""

    postgres_programs: Path
    mosquitto: Path


def system_postgres() -> Path | None:
    """The programs of the newest installed PostgreSQL (15 or later) that has TimescaleDB beside it."""
    found = []
    for control in Path("/usr/share/postgresql").glob("*/extension/timescaledb.control"):
        version = control.parts[-3]
        programs = Path("/usr/lib/postgresql") / version / "bin"
        if version.isdigit() and int(version) >= 15 and (programs / "postgres").exists():
            found.append((int(version), programs))
    return max(found)[1] if found else None


def system_mosquitto() -> Path | None:
    """The installed Mosquitto, if it is of version 2."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    found = shutil.which("mosquitto", path=path)
    if found is None:
        return None
    said = subprocess.run([found, "-h"], capture_output=True, text=True, check=False).stdout
    return Path(found) if re.match(r"mosquitto version 2\.", said) else None


def service_prefix() -> Path:
    """The directory that the service packages are unpacked to."""
    return data_directory() / "prefix" / "services"


def needed_packages() -> PackageSet | None:
    """What the system does not have installed; None where it has both servers."""
    database = () if system_postgres() else _DATABASE_PACKAGES
    broker = () if system_mosquitto() else _BROKER_PACKAGES
    if not database and not broker:
        return None
    return PackageSet(
        title="database and broker",
        names=(*database, *broker),
        left_out=_LEFT_OUT,
        pruned=_PRUNED,
        suite=_SUITE,
        room_bytes=400_000_000,
        finish=_finish,
    )


def services_are_ready() -> bool:
    """Whether both servers can be started without any further set-up."""
    wanted = needed_packages()
    return wanted is None or is_unpacked(service_prefix(), wanted)


def ensure_services(progress: Progress) -> None:
    """Fetch and unpack what the system lacks; does nothing where that is done. Raises SetupError."""
    wanted = needed_packages()
    if wanted is not None:
        ensure_prefix(service_prefix(), wanted, progress)


def service_binaries() -> ServiceBinaries:
    """Where the servers are: the system's if installed, else the prefix's; raises SetupError before the set-up."""
    prefix = service_prefix()
    postgres_programs = system_postgres() or prefix / _POSTGRES_PROGRAMS
    mosquitto = system_mosquitto() or prefix / _MOSQUITTO
    for program in (postgres_programs / "postgres", mosquitto):
        if not program.exists():
            raise SetupError(f"{program.name} is not set up: {program} does not exist", "run `make setup`")
    return ServiceBinaries(postgres_programs, mosquitto)


def _finish(prefix: Path) -> None:
    """Put every program behind its wrapper and check that the loader finds all libraries."""
    loader = find_loader(prefix)
    libraries = library_directories(prefix)
    programs = sorted((prefix / _POSTGRES_PROGRAMS).glob("*")) + sorted(
        (prefix / "usr/sbin").glob("mosquitto")
    )
    for program in programs + sorted((prefix / "usr/bin").glob("mosquitto_*")):
        if is_executable_elf(program):
            wrap(program, prefix, loader, libraries)
    checked = [file for pattern in _CHECKED for file in sorted(prefix.glob(pattern))]
    missing = missing_libraries(prefix / loader, ":".join(str(prefix / name) for name in libraries), checked)
    if missing:
        raise SetupError(
            f"the unpacked servers are not complete: {'; '.join(missing[:3])}",
            "this Debian release packages them differently; install postgresql-17-timescaledb and mosquitto with apt",
        )
