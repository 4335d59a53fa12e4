"""Debian packages unpacked into a directory of this clone. Standard library only.

Package files are fetched once a user and kept in the cache; every clone unpacks its own prefix from them. No
maintainer script runs and nothing of the system changes. Two set-ups may run at once: one waits, and a prefix
appears whole, by one rename, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.apt import Package, PrivateApt, debian_sources, in_suite, machine_sources
from local.errors import SetupError
from local.paths import cache_directory, exclusive_lock, make_directory, sha256_of, write_atomically
from local.progress import Progress

_STAMP = ".drumtower.json"
# Raise when unpacking or finishing changes, so that every clone unpacks anew.
_RECIPE_VERSION = 1


@dataclass(frozen=True)
class PackageSet:
    """What a prefix is made of.

    Attributes:
        title: names the prefix and its progress lines.
        names: the packages asked for; what they depend on comes with them.
        left_out: patterns of names in the closure that are neither fetched nor unpacked.
        pruned: directories removed after unpacking.
        suite: Debian's suite to take them from; None is the machine's own suites, updates included.
        room_bytes: free space needed to unpack.
        finish: called with the unpacked directory before it is put in place, to wrap and check programs.
    """

    title: str
    names: tuple[str, ...]
    left_out: tuple[str, ...]
    pruned: tuple[str, ...]
    suite: str | None
    room_bytes: int
    finish: Callable[[Path], None]

    def recipe(self) -> str:
        """Changes with whatever decides what the prefix looks like."""
        parts = (
            str(_RECIPE_VERSION),
            *sorted(self.names),
            "-",
            *self.left_out,
            "-",
            *self.pruned,
            str(self.suite),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def leaves_out(self, name: str) -> bool:
        """Whether the package `name` of the closure is not needed."""
        return any(re.fullmatch(pattern, name) for pattern in self.left_out)


def is_unpacked(prefix: Path, wanted: PackageSet) -> bool:
    """Whether `prefix` holds these packages, unpacked by this version of the set-up."""
    try:
        held = json.loads((prefix / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(held, dict) and held.get("recipe") == wanted.recipe()


def ensure_prefix(prefix: Path, wanted: PackageSet, progress: Progress) -> None:
    """Bring `prefix` to hold `wanted`; does nothing where it does. Raises SetupError."""
    if is_unpacked(prefix, wanted):
        return
    make_directory(prefix.parent)
    lock = prefix.with_name(f"{prefix.name}.lock")
    with exclusive_lock(
        lock, lambda: progress.say(f"  waiting for another set-up of {wanted.title} to end …")
    ):
        if is_unpacked(prefix, wanted):
            return
        require_room(prefix.parent, wanted.room_bytes)
        files = fetch(wanted, progress)
        with progress.step(f"unpack {wanted.title}") as step:
            for remains in prefix.parent.glob(f"{prefix.name}.new-*"):  # of a killed set-up: the lock is ours
                shutil.rmtree(remains)
            fresh = Path(tempfile.mkdtemp(prefix=f"{prefix.name}.new-", dir=prefix.parent))
            try:
                fresh.chmod(0o755)
                for done, file in enumerate(files, 1):
                    step.count(done, len(files), "packages")
                    unpack(file, fresh)
                for name in wanted.pruned:
                    shutil.rmtree(fresh / name, ignore_errors=True)
                wanted.finish(fresh)
                write_atomically(fresh / _STAMP, json.dumps({"recipe": wanted.recipe()}).encode())
                _put_in_place(fresh, prefix)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)


_ROOMIER = "set DRUMTOWER_DATA and XDG_CACHE_HOME to directories on a roomier disk"


def require_room(directory: Path, needed_bytes: int, otherwise: str = _ROOMIER) -> None:
    """Raise SetupError unless the disk of `directory` has `needed_bytes` free; `otherwise` is what else helps."""
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise SetupError(
            f"the disk of {directory} has {free / 1e6:.0f} MB free, and {needed_bytes / 1e6:.0f} MB are needed",
            f"free some space, or {otherwise}",
        )


def fetch(wanted: PackageSet, progress: Progress) -> list[Path]:
    """The package files of a set and its closure, from the cache or the machine's archive.

    A complete cache needs no network. apt verifies a file when it is fetched, its SHA-256 ever after.
    """
    cache = make_directory(cache_directory())
    packages = make_directory(cache / "packages")
    with exclusive_lock(
        cache / "lock", lambda: progress.say("  waiting for another set-up's download to end …")
    ):
        manifest = cache / f"{wanted.title.replace(' ', '-')}-{_archive_key(wanted)}.json"
        cached = _from_manifest(manifest, packages)
        if cached is not None:
            return cached
        require_room(cache, wanted.room_bytes // 2)
        apt = private_apt(wanted.suite)
        with progress.step(f"read the package lists for {wanted.title}") as step:
            apt.update(step)
            closure = [
                package for package in apt.resolve(wanted.names) if not wanted.leaves_out(package.name)
            ]
        with progress.step(f"fetch {wanted.title}") as step:
            scratch = Path(tempfile.mkdtemp(prefix="fetch-", dir=cache))
            try:
                apt.download(closure, scratch, step)
                return _keep(closure, scratch, packages, manifest)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


def private_apt(suite: str | None) -> PrivateApt:
    """A private apt on Debian's `suite` or the machine's own suites; hold the cache's lock while using it."""
    sources = machine_sources()
    chosen = [in_suite(sources, suite)] if suite else debian_sources(sources)
    apt = PrivateApt(cache_directory() / f"apt-{suite or 'own'}", chosen)
    apt.prepare()
    return apt


def unpack(file: Path, into: Path) -> None:
    """Unpack one package file; raises SetupError."""
    done = subprocess.run(["dpkg-deb", "-x", file, into], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["dpkg-deb gave no reason"]
        # tar names the cause and dpkg-deb, after it, only that tar failed.
        reason = [line for line in said if "No space left" in line] or said
        raise SetupError(
            f"cannot unpack {file.name}: {reason[0]}",
            f"check that the disk of {into.parent} has room, then run the same command again",
        )


def missing_libraries(loader: Path, libraries: str, programs: Sequence[Path]) -> list[str]:
    """What the dynamic loader `loader` would not find for `programs` on the path `libraries`."""
    missing = []
    for program in programs:
        listed = subprocess.run(
            [loader, "--library-path", libraries, "--list", program],
            capture_output=True,
            text=True,
            check=False,
        )
        missing += [
            f"{program.name} lacks {line.split('=>')[0].strip()}"
            for line in (listed.stdout + listed.stderr).splitlines()
            if "not found" in line
        ]
    return missing


def _archive_key(wanted: PackageSet) -> str:
    """Names the closure by what was asked for and, for the machine's own suites, by which those are."""
    own = debian_sources(machine_sources()) if wanted.suite is None else []
    suites = sorted({name for source in own for name in source.suites})
    parts = (*sorted(wanted.names), "-", *wanted.left_out, str(wanted.suite), *suites, os.uname().machine)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _from_manifest(manifest: Path, packages: Path) -> list[Path] | None:
    try:
        held: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = [packages / name for name in held]
    if all(file.is_file() and sha256_of(file) == held[file.name] for file in files):
        return files
    return None


def _keep(closure: Sequence[Package], scratch: Path, packages: Path, manifest: Path) -> list[Path]:
    sums = {}
    for package in closure:
        fetched = scratch / package.file_name
        sums[package.file_name] = sha256_of(fetched)
        fetched.replace(packages / package.file_name)
    write_atomically(manifest, json.dumps(sums, indent=1).encode())
    return [packages / name for name in sums]


def _put_in_place(fresh: Path, prefix: Path) -> None:
    """Swap directories by renames: programs that still run from the old one keep their open files."""
    old = prefix.with_name(f"{prefix.name}.old-{os.getpid()}")
    if prefix.exists():
        prefix.rename(old)
    fresh.rename(prefix)
    shutil.rmtree(old, ignore_errors=True)
