"""PyTorch, without an accelerator, in an environment of its own: for tests of training only. Standard library only.

It sees the packages of .venv and adds its own. It is not .venv itself, because what checks types there shall find no
torch: one machine would then check `models/train` against types that another does not have.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path

from local.errors import SetupError
from local.paths import REPOSITORY, data_directory, exclusive_lock, make_directory, write_atomically
from local.prefix import require_room
from local.progress import Progress
from local.python_packages import ENVIRONMENT, explain, install_pinned

#: torch stands by itself: its build for the processor alone is on no index by default.
_LISTS = (REPOSITORY / "requirements" / "training.txt", REPOSITORY / "requirements" / "torch.txt")
#: The build that torch.txt has the hash of. Another's would fail by that hash, as if somebody had served something else.
_BUILT_FOR = ("CPython", "Linux", "x86_64", "3.11")
_ROOM_BYTES = 1_500_000_000


def training_environment() -> Path:
    """The environment's directory."""
    return data_directory() / "training"


def training_python() -> Path | None:
    """The interpreter that has torch; None before the set-up, or where its lists have changed since."""
    return training_environment() / "bin" / "python" if training_is_ready() else None


def training_is_ready() -> bool:
    """Whether the environment holds what its lists now say."""
    try:
        held = json.loads(_stamp().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(held == training_requirement())


def training_requirement() -> dict[str, str]:
    """What the environment is made from; it names .venv by its path."""
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "environment": str(ENVIRONMENT),
        **{file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in _LISTS if file.exists()},
    }


def ensure_training(progress: Progress) -> None:
    """Make the environment; raises SetupError where no build of torch is pinned, or to be had, for this machine."""
    log = make_directory(data_directory() / "logs") / "pip-training.log"
    with exclusive_lock(
        data_directory() / "training.lock",
        lambda: progress.say("  waiting for another set-up of torch to end …"),
    ):
        if training_is_ready():
            return
        require_build(_this_machine())
        require_room(data_directory(), _ROOM_BYTES)
        log.write_text("", encoding="utf-8")
        python = training_environment() / "bin" / "python"
        with progress.step("make a Python environment for training"):
            _make_environment(log)
        with progress.step("install torch") as step:
            try:
                install_pinned(python, _LISTS, log, step)
            except SetupError as error:
                raise not_to_be_had(error, log) from error
        _try_it(python, log)
        write_stamp()


def _this_machine() -> tuple[str, str, str, str]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return platform.python_implementation(), platform.system(), platform.machine(), python


def require_build(machine: tuple[str, str, str, str]) -> None:
    """Raises SetupError unless requirements/torch.txt pins a build for this Python on this machine."""
    if machine != _BUILT_FOR:
        raise SetupError(
            f"no build of torch for this Python is pinned: expected {_named(_BUILT_FOR)}, found {_named(machine)}",
            "run the set-up by that Python, or name an interpreter that has torch by DRUMTOWER_TRAINER",
        )


def _named(machine: tuple[str, str, str, str]) -> str:
    implementation, system, processor, python = machine
    return f"{implementation} {python} on {system} {processor}"


def write_stamp() -> None:
    """Note what the environment was made from, once it is complete."""
    write_atomically(_stamp(), json.dumps(training_requirement()).encode())


def _stamp() -> Path:
    return training_environment() / "drumtower.json"


def _make_environment(log: Path) -> None:
    """A new environment that sees .venv's packages after its own."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        raise SetupError(
            f"torch is added to the packages of {ENVIRONMENT.name}, and there is none",
            "run `make setup`, or name both parts: --only python --only training",
        )
    target = training_environment()
    command: list[str | Path] = [ENVIRONMENT / "bin" / "python", "-m", "venv", "--clear", target]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        log.write_text(made.stdout + made.stderr, encoding="utf-8")
        raise explain(made.stdout + made.stderr, log)
    within = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A plain path would do for modules, but not for what .venv has installed for editing, Drumtower itself.
    line = f"import site; site.addsitedir({str(ENVIRONMENT / within)!r})\n"
    (target / within / "drumtower_environment.pth").write_text(line, encoding="utf-8")


def not_to_be_had(error: SetupError, log: Path) -> SetupError:
    """Of pip's failures the likely one here, that no index has this build."""
    if "does not have a pinned package" not in error.message:
        return error
    return SetupError(
        f"no index that pip asks has the build of torch that requirements/torch.txt pins – {error.message}",
        "add PyTorch's own index of builds for the processor alone to pip's (PIP_EXTRA_INDEX_URL), or name an "
        f"interpreter that has torch by DRUMTOWER_TRAINER; pip's log: {log}",
    )


def _try_it(python: Path, log: Path) -> None:
    tried = subprocess.run(
        [python, "-c", "import cv2, numpy, onnx, onnxruntime, torch"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        log.write_text(tried.stderr, encoding="utf-8")
        raise SetupError(
            f"the installed torch does not start: {(tried.stderr.strip() or 'it gave no reason')[-300:]}",
            f"remove {training_environment()} and run the same command again; what it said: {log}",
        )
