"""The virtual environment and its pinned packages. Standard library only."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from local.errors import SetupError
from local.paths import REPOSITORY, data_directory, exclusive_lock, make_directory, write_atomically
from local.prefix import require_room
from local.progress import Progress, Step

ENVIRONMENT = REPOSITORY / ".venv"
_REQUIREMENTS = REPOSITORY / "requirements" / "dev.txt"
_STAMP = ENVIRONMENT / "drumtower.json"
_ROOM_BYTES = 1_500_000_000


def python_is_ready() -> bool:
    """Whether the environment holds what the pinned list and the project's own metadata now say."""
    try:
        held = json.loads(_STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(held == _inputs())


def ensure_python(progress: Progress) -> None:
    """Make the environment, or bring it up to date; raises SetupError in one line, pip's own words go to a log."""
    log = make_directory(data_directory() / "logs") / "pip.log"
    with exclusive_lock(
        data_directory() / "python.lock",
        lambda: progress.say("  waiting for another set-up of Python to end …"),
    ):
        if python_is_ready():
            return
        # The environment stands in the clone: no variable moves it.
        require_room(REPOSITORY, _ROOM_BYTES, "clone the repository to a roomier disk")
        log.write_text("", encoding="utf-8")
        if not _environment_works():
            with progress.step("make a Python environment in .venv"):
                _make_environment(log)
        with progress.step("install Python packages") as step:
            install_pinned(ENVIRONMENT / "bin" / "python", [_REQUIREMENTS], log, step)
        with progress.step("install Drumtower itself"):
            own = ["--no-deps", "--no-build-isolation", "--editable", str(REPOSITORY)]
            _pip(ENVIRONMENT / "bin" / "python", own, log)
        write_stamp()


def write_stamp() -> None:
    """Note what the environment was made from, once it is complete."""
    write_atomically(_STAMP, json.dumps(_inputs()).encode())


def _inputs() -> dict[str, str]:
    """What the environment is made from; a moved clone counts too, since scripts hold its path."""
    files = (_REQUIREMENTS, REPOSITORY / "pyproject.toml")
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "repository": str(REPOSITORY),
        **{file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.exists()},
    }


def _environment_works() -> bool:
    """Whether .venv has a pip of this version of Python that runs from this place."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        return False
    question = "import sys, pip; print(sys.version_info[:2] == tuple(map(int, sys.argv[1:])))"
    version = [str(sys.version_info.major), str(sys.version_info.minor)]
    asked = subprocess.run([python, "-c", question, *version], capture_output=True, text=True, check=False)
    pip_script = ENVIRONMENT / "bin" / "pip"
    is_here = pip_script.exists() and str(ENVIRONMENT) in pip_script.read_text(
        encoding="utf-8", errors="replace"
    )
    return asked.stdout.strip() == "True" and is_here


def lacks_ensurepip() -> bool:
    """Whether this Python cannot put pip into an environment: on Debian that comes with python3-venv."""
    return importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None


def _make_environment(log: Path) -> None:
    if lacks_ensurepip():
        raise SetupError(
            "this Python cannot make virtual environments: the module ensurepip is missing",
            "install it: apt-get install python3-venv",
        )
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", ENVIRONMENT], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        said = made.stdout + made.stderr
        log.write_text(said, encoding="utf-8")
        raise explain(said, log)


def install_pinned(python: Path, lists: Sequence[Path], log: Path, step: Step) -> None:
    """Install what `lists` pin, by the pip of `python`; raises SetupError in one line, pip's own words go to `log`."""
    for file in lists:
        if not file.exists():
            raise SetupError(f"{file} is missing", "get a complete clone of the repository")
    pins = "\n".join(file.read_text(encoding="utf-8") for file in lists)
    total = len(re.findall(r"^[A-Za-z0-9][\w.\-\[\]]*==", pins, re.MULTILINE))
    seen = 0
    megabytes = 0.0

    def follow(line: str) -> None:
        nonlocal seen, megabytes
        if line.startswith(("Collecting ", "Requirement already satisfied", "Ignoring ")):
            seen += 1
        elif "Downloading" in line:
            size = re.search(r"\(([\d.]+) (k|M)B\)", line)
            megabytes += float(size[1]) / (1 if size[2] == "M" else 1000) if size else 0.0
        installing = ", installing" if line.startswith("Installing collected packages") else ""
        fetched = f", {megabytes:.0f} MB" if megabytes else ""
        step.detail = f"{min(seen, total)} of {total} packages{fetched}{installing}"

    # Compiling every module to bytecode takes longer than compiling those that are imported when they are.
    named = [word for file in lists for word in ("--requirement", str(file))]
    _pip(python, ["--require-hashes", "--no-deps", "--no-compile", *named], log, follow)
    step.count(total, total, "packages")


def _pip(python: Path, arguments: list[str], log: Path, follow: Callable[[str], None] | None = None) -> None:
    """Run `pip install`; what it says goes to `log` and, line by line, to `follow`."""
    command: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    environment = dict(
        os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_ROOT_USER_ACTION="ignore", LC_ALL="C.UTF-8"
    )
    said = []
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            cwd=REPOSITORY,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                file.write(line)
                said.append(line)
                if follow is not None:
                    follow(line)
        except BaseException:  # also Ctrl-C: pip must not go on alone
            process.terminate()
            raise
    if process.returncode != 0:
        raise explain("".join(said), log)


_CAUSES = (
    (
        r"THESE PACKAGES DO NOT MATCH THE HASHES|Hash mismatch",
        r"^\s*(\S+==\S+.*?) from |^\s*Expected sha256.*",
        "a fetched Python package is not the one that was pinned",
        "a mirror or proxy serves something else: try again, then check pip's index; never install it",
    ),
    (
        r"Temporary failure in name resolution|Name or service not known|NewConnectionError|Network is unreachable"
        r"|ConnectTimeout|ReadTimeout|Connection refused|Max retries exceeded",
        r"Temporary failure in name resolution|Name or service not known|Network is unreachable|Connection refused"
        r"|ConnectTimeout|ReadTimeout|Max retries exceeded",
        "the Python package index cannot be reached",
        "check the network (and pip's proxy settings), then run the same command again",
    ),
    (
        r"No space left on device",
        r".*No space left on device.*",
        "the disk is full",
        "free some space (the environment needs about 1 GB), then run the same command again",
    ),
    (
        r"No matching distribution found|Could not find a version",
        r"^ERROR: (?:No matching distribution|Could not find a version).*",
        "the Python package index does not have a pinned package for this machine",
        "check that pip's index is complete, and that this is Python 3.11–3.13 on amd64 or arm64",
    ),
    (
        r"ensurepip is not\s+available|No module named '?ensurepip",
        r".*ensurepip.*",
        "this Python cannot make virtual environments",
        "install it: apt-get install python3-venv",
    ),
)


def explain(said: str, log: Path) -> SetupError:
    """One clear error out of what pip printed; the rest is in `log`."""
    for sign, telling, message, hint in _CAUSES:
        if re.search(sign, said):
            line = re.search(telling, said, re.MULTILINE)
            return SetupError(
                f"{message} – pip: {line[0].strip()[:200]}" if line else message, f"{hint}; pip's log: {log}"
            )
    errors = re.findall(r"^(?:ERROR|error): .*", said, re.MULTILINE) or said.strip().splitlines()[-1:]
    return SetupError(
        f"pip failed: {(errors or ['it gave no reason'])[0].strip()[:200]}", f"pip's log: {log}"
    )
