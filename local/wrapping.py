"""Programs that run from a prefix through the prefix's own dynamic loader and libraries. Standard library only."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from local.errors import SetupError


def find_loader(prefix: Path) -> Path:
    """The prefix's dynamic loader, relative to it; its name differs between processor architectures."""
    for found in sorted(prefix.glob("usr/lib/*/ld-linux*.so.*")) + sorted(
        prefix.glob("usr/lib/ld-linux*.so.*")
    ):
        return found.relative_to(prefix)
    raise SetupError(
        "the unpacked libc6 has no dynamic loader", "use a processor architecture that Debian 13 supports"
    )


def library_directories(prefix: Path) -> list[Path]:
    """Where the prefix's shared libraries are, relative to it."""
    directories = {file.parent for file in prefix.glob("usr/lib/*-linux-gnu*/*.so*")}
    return [directory.relative_to(prefix) for directory in sorted(directories)]


def is_executable_elf(file: Path) -> bool:
    """Whether a file is a program or library of its own, and no link to one."""
    if not file.is_file() or file.is_symlink():
        return False
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


def wrap(
    program: Path,
    prefix: Path,
    loader: Path,
    libraries: list[Path],
    environment: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Rename `program` and put a script in its place that runs it through the prefix's loader.

    The script finds the prefix from its own path, so the prefix can be renamed and moved. argv[0] stays the
    script: PostgreSQL looks for its libraries from there, and starts its sister programs (again wrapped) there.
    A value of `environment` may speak of "$root", the prefix.
    """
    real = program.with_name(f"{program.name}.program")
    program.rename(real)
    up = "/".join(".." for _ in program.relative_to(prefix).parts[:-1])
    path = ":".join(f'"$root"/{shlex.quote(str(directory))}' for directory in libraries)
    settings = "".join(f'export {name}="{value}"\n' for name, value in environment.items())
    program.write_text(
        "#!/bin/sh\n"
        'here="${0%/*}"\n'
        f'root="$here/{up}"\n'
        f"{settings}"
        f'exec "$root"/{shlex.quote(str(loader))} --library-path {path} --argv0 "$0" "$here/{real.name}" "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
