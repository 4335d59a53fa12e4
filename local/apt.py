"""Debian packages without root: apt with a state of its own, on the machine's own archive. Standard library only.

apt does the resolving, the fetching and the verifying against the distribution's keyring. It is only pointed at
a private state directory with an empty list of installed packages, so it neither reads nor changes what is
installed. See apt.conf(5), sources.list(5).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from local.errors import SetupError
from local.paths import make_directory
from local.progress import Step

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_CODENAMES = ("bookworm", "trixie", "forky", "oldstable", "stable", "testing")
_POLL_SECONDS = 0.2

# `#clear` drops the hooks that would refresh the machine's own caches after an update; the index targets that are
# switched off describe desktop applications and file lists, which nobody reads here.
_CONFIGURATION = """\
#clear APT::Update;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
#clear APT::Default-Release;
Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::Cache "{state}/cache";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{state}/sources";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Acquire::IndexTargets::deb::DEP-11 {{ DefaultEnabled "false"; }};
Acquire::IndexTargets::deb::DEP-11-icons-small {{ DefaultEnabled "false"; }};
Acquire::IndexTargets::deb::DEP-11-icons {{ DefaultEnabled "false"; }};
Acquire::IndexTargets::deb::Contents-deb {{ DefaultEnabled "false"; }};
"""


@dataclass(frozen=True)
class Source:
    """One entry of apt's sources: where an archive is and which of its suites and components are used."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)

    def as_deb822(self) -> str:
        """The entry as a deb822 stanza; `Signed-By` falls back on the distribution's keyring."""
        lines = [
            "Types: deb",
            f"URIs: {' '.join(self.uris)}",
            f"Suites: {' '.join(self.suites)}",
        ]
        if self.components:
            lines.append(f"Components: {' '.join(self.components)}")
        options = dict(self.options)
        if "signed-by" not in options and _KEYRING.exists():
            options["signed-by"] = str(_KEYRING)
        lines += [f"{name.title()}: {value}" for name, value in options.items()]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Package:
    """One package file as apt resolved it. `file_name` is what apt calls it on disk, `size` is in bytes."""

    name: str
    version: str
    file_name: str
    size: int


_KEPT_OPTIONS = ("signed-by", "trusted", "check-valid-until", "allow-insecure")
_ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>.*)$"
)


def parse_one_line(text: str) -> list[Source]:
    """The binary sources of a `.list` file: `deb [option=value …] uri suite component …`."""
    found = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.split("#", 1)[0].strip())
        if match is None:
            continue
        pairs = (pair.partition("=") for pair in (match["options"] or "").split())
        options = {name.lower(): value for name, _, value in pairs if name.lower() in _KEPT_OPTIONS}
        found.append(Source((match["uri"],), (match["suite"],), tuple(match["components"].split()), options))
    return found


def parse_deb822(text: str) -> list[Source]:
    """The enabled binary sources of a deb822 `.sources` file, comments, continuation lines and keys inside included."""
    found = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t":
                if name:
                    fields[name] += "\n" + line
                continue
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in (
            "no",
            "false",
        ):
            continue
        options = {key: fields[key] for key in _KEPT_OPTIONS if key in fields}
        found.append(
            Source(
                tuple(fields.get("uris", "").split()),
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                options,
            )
        )
    return found


def machine_sources(directory: Path = Path("/etc/apt")) -> list[Source]:
    """Every binary source that apt reads on this machine, in apt's order; compact discs are left out."""
    found: list[Source] = []
    main = directory / "sources.list"
    if main.is_file():
        found += parse_one_line(main.read_text(encoding="utf-8", errors="replace"))
    parts = directory / "sources.list.d"
    for path in sorted(parts.iterdir()) if parts.is_dir() else []:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if path.suffix == ".list":
            found += parse_one_line(text)
        elif path.suffix == ".sources":
            found += parse_deb822(text)
    return [source for source in found if source.uris and not source.uris[0].startswith("cdrom:")]


def _is_debian(source: Source) -> bool:
    """Whether an entry names Debian's own archive, by its suite, component and key (a mirror may have any name)."""
    bases = {re.split(r"[-/]", suite, maxsplit=1)[0] for suite in source.suites}
    signed_by = source.options.get("signed-by", "")
    foreign_key = bool(signed_by) and "debian-archive" not in signed_by and "BEGIN PGP" not in signed_by
    return "main" in source.components and bool(bases & set(_CODENAMES)) and not foreign_key


def debian_sources(sources: Iterable[Source]) -> list[Source]:
    """The entries that name Debian's archive, security and updates included; raises SetupError if there are none."""
    found = [source for source in sources if _is_debian(source)]
    if not found:
        raise SetupError(
            "none of apt's sources in /etc/apt names Debian's archive",
            "this set-up needs Debian 12 or 13; add a line for Debian's main archive to /etc/apt/sources.list",
        )
    return found


def in_suite(sources: Iterable[Source], suite: str) -> Source:
    """Debian's archive as this machine reaches it, but in another suite, main component only."""
    candidates = [
        Source(source.uris, (suite,), ("main",), source.options)
        for source in debian_sources(sources)
        if any(re.fullmatch("|".join(_CODENAMES), name) for name in source.suites)
    ]
    if not candidates:
        raise SetupError(
            "apt's sources in /etc/apt name only additions to Debian, not its main archive",
            "add a line for Debian's main archive to /etc/apt/sources.list",
        )
    # The archive's own directory is called debian on every mirror; a vendor's archive of that shape comes after.
    candidates.sort(key=lambda source: not source.uris[0].rstrip("/").endswith("debian"))
    return candidates[0]


def require_apt() -> None:
    """Raise SetupError unless apt-get and dpkg-deb can be run."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise SetupError(
                f"{program} is not on the PATH, and the database and the broker come as Debian packages",
                "run this on Debian 12 or 13, or point DRUMTOWER_DATABASE_URL and DRUMTOWER_BROKER_URL at your own",
            )


class PrivateApt:
    """apt on `sources` with all its state below `directory`."""

    def __init__(self, directory: Path, sources: Sequence[Source]) -> None:
        self._state = directory
        self._sources = sources
        self._configuration = directory / "apt.conf"
        self.log = directory / "apt.log"

    @property
    def command(self) -> str:
        """How a shell calls this apt."""
        return f"{shutil.which('apt-get')} -c {shlex.quote(str(self._configuration))}"

    def prepare(self) -> None:
        """Write the private configuration; raises SetupError where apt is missing."""
        require_apt()
        for part in ("lists/partial", "cache/archives/partial", "sources"):
            make_directory(self._state / part)
        (self._state / "status").touch()
        self._configuration.write_text(_CONFIGURATION.format(state=self._state), encoding="utf-8")
        stanzas = "\n".join(source.as_deb822() for source in self._sources)
        (self._state / "sources" / "machine.sources").write_text(stanzas, encoding="utf-8")
        self.log.write_text("", encoding="utf-8")

    def update(self, step: Step) -> None:
        """Fetch the package lists; raises SetupError where the archive cannot be reached or does not verify."""
        lists = self._state / "lists"
        self._run(["update", "-q"], lambda: step.megabytes(_bytes_below(lists), 0))

    def resolve(self, names: Sequence[str]) -> list[Package]:
        """The packages `names` and everything they depend on, as if nothing were installed."""
        return self._printed(["install", "--print-uris", "-qq", "-y", *names])

    def resolve_alone(self, names: Sequence[str]) -> list[Package]:
        """The packages `names` without what they depend on."""
        return self._printed(["download", "--print-uris", "-qq", *names])

    def download(self, packages: Sequence[Package], into: Path, step: Step) -> None:
        """Fetch and verify `packages` into the directory `into`."""
        total = sum(package.size for package in packages)
        wanted = [f"{package.name}={package.version}" for package in packages]
        self._run(["download", "-q", *wanted], lambda: step.megabytes(_bytes_below(into), total), into)
        for package in packages:
            found = into / package.file_name
            if not found.is_file() or found.stat().st_size != package.size:
                raise SetupError(
                    f"apt-get said it fetched {package.file_name}, but the file is missing or cut short",
                    f"try again; apt's own words are in {self.log}",
                )
        step.megabytes(total, total)

    def _printed(self, arguments: list[str]) -> list[Package]:
        output = self._run(arguments, lambda: None)
        packages = []
        for line in output.splitlines():
            parts = line.split()
            if len(parts) >= 3 and parts[0].startswith("'") and parts[1].endswith(".deb"):
                name, version, _ = parts[1].removesuffix(".deb").split("_")
                packages.append(Package(name, unquote(version), parts[1], int(parts[2])))
        return packages

    def _run(self, arguments: list[str], on_poll: Callable[[], None], directory: Path | None = None) -> str:
        environment = dict(os.environ, LC_ALL="C", APT_CONFIG="", DEBIAN_FRONTEND="noninteractive")
        with self.log.open("ab") as log:
            log.write(f"\n$ apt-get {' '.join(arguments)}\n".encode())
            log.flush()
            begins = log.tell()
            with subprocess.Popen(
                ["apt-get", "-c", str(self._configuration), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory or self._state,
                env=environment,
            ) as process:
                try:
                    while process.poll() is None:
                        on_poll()
                        time.sleep(_POLL_SECONDS if arguments[0] != "install" else _POLL_SECONDS / 4)
                except BaseException:  # also Ctrl-C: apt must not go on alone
                    process.terminate()
                    raise
        with self.log.open("rb") as log:
            log.seek(begins)
            output = log.read().decode("utf-8", errors="replace")
        if process.returncode != 0:
            raise explain(output, self.log)
        return output


def _bytes_below(directory: Path) -> int:
    """The size of the files below a directory that apt is busy in (files may vanish while we look)."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


_CAUSES = (
    (
        r"Temporary failure resolving|Could not resolve|Could not connect|Unable to connect|Network is unreachable"
        r"|Connection timed out|connection timed out|Connection refused|Connection failed",
        "the package archive cannot be reached",
        "check the network (and apt's proxy settings), then run the same command again: it goes on where it stopped",
    ),
    (
        r"No space left on device|enough free space|write error",
        "the disk is full",
        "free some space, or set DRUMTOWER_DATA and XDG_CACHE_HOME to a roomier disk",
    ),
    (
        r"NO_PUBKEY|not signed|signatures couldn't be verified|Sub-process .*sqv|signature verification",
        "the package lists are not signed by a key of the machine's Debian keyring",
        "install the package debian-archive-keyring anew, or check apt's sources",
    ),
    (
        r"Unable to locate package|has no installation candidate",
        "the archive of apt's sources does not have a needed package",
        "check that apt's sources name a full mirror of Debian",
    ),
)


def explain(output: str, log: Path) -> SetupError:
    """One clear error out of what apt-get printed; the rest is in `log`."""
    lines = [line.strip() for line in output.splitlines() if re.match(r"\s*(E|Err|W):", line)]
    for pattern, message, hint in _CAUSES:
        for line in [*lines, *output.splitlines()]:
            if re.search(pattern, line):
                return SetupError(f"{message} – apt-get: {line.strip()[:160]}", f"{hint}; log: {log}")
    first = lines[0][:200] if lines else "it gave no reason"
    return SetupError(f"apt-get failed: {first}", f"apt's own words are in {log}")
