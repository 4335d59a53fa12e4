"""Each tier alone: a venv with that tier's pins only, in which its command starts and its modules import.

It is made by the scripts that the images of docker/ are built with. This is how we know that a box needs no web framework and a gateway no camera.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from local.paths import cache_directory, exclusive_lock
from local.prefix import private_apt
from local.progress import Progress

REPOSITORY = Path(__file__).parents[1]
#: tier → modules that its venv must not have
TIERS = {
    "edge": ("psycopg", "fastapi", "jinja2", "torch"),
    "gateway": ("cv2", "onnxruntime", "av", "jinja2", "torch"),
    "cloud": ("cv2", "onnxruntime", "av", "paho", "torch"),
}


def main() -> int:
    """Prove every tier; the exit code is how many failed."""
    failed = 0
    for tier, foreign in TIERS.items():
        started = time.monotonic()
        fault = prove(tier, foreign)
        failed += fault is not None
        took = time.monotonic() - started
        print(
            f"drumtower[{tier}] alone: {'ok' if fault is None else 'FAILED: ' + fault} ({took:.0f} s)",
            flush=True,
        )
    fault = prove_last_layer()
    print(f"the images' last layer: {'ok' if fault is None else 'FAILED: ' + fault}", flush=True)
    return failed + (fault is not None)


def prove(tier: str, foreign: tuple[str, ...]) -> str | None:
    """What is wrong with a tier's own installation, or None."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "tier"
        python, built = target / "bin" / "python", Path(directory) / "build"
        # The same script that the images are built with; only the places are others.
        install = ["sh", "docker/install.sh"]
        places = {"PYTHON": sys.executable, "BUILD": str(built), "TARGET": str(target)}
        steps = [
            [*install, "packages", tier],
            [*install, "drumtower"],
            [str(python), "-c", f"import {tier}.app, {tier}.cli, {tier}.doctor"],
            [str(python.parent / "drumtower"), tier, "--help"],
            [str(python.parent / "drumtower"), "doctor", tier, "--help"],
        ]
        for step in steps:
            # From elsewhere, so that what is imported is what was installed.
            where = directory if step[0].startswith(directory) else REPOSITORY
            if fault := _fault_of(step, where, places):
                return fault
        for module in foreign:
            if not subprocess.run(
                [python, "-c", f"import {module}"], cwd=directory, capture_output=True, check=False
            ).returncode:
                return f"it has {module}, which belongs to another tier"
    return None


def prove_last_layer() -> str | None:
    """What is wrong with the images' last layer, or None: apt only simulates, everything else is done for real."""
    packages = re.findall(
        r"^RUN sh \S+/finish\.sh \S+ \S+ \S+ (.+)$",
        (REPOSITORY / "docker" / "gateway.Dockerfile").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    progress = Progress()
    with tempfile.TemporaryDirectory() as directory, exclusive_lock(cache_directory() / "lock", lambda: None):
        place, programs = Path(directory), Path(directory) / "bin"
        apt = private_apt("trixie")  # the suite of the images
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        (programs / "apt-get").write_text(
            f'#!/bin/sh\nexec {apt.command} -o APT::Get::Simulate=true "$@"\n', encoding="utf-8"
        )
        (programs / "apt-get").chmod(0o755)
        with progress.step("read the package lists of the images' suite") as step:
            apt.update(step)
        kept = place / "kept"
        fault = _fault_of(
            ["sh", "docker/finish.sh", str(os.getuid()), str(os.getgid()), str(kept), *packages[0].split()],
            REPOSITORY,
            {"PATH": f"{programs}:{os.environ['PATH']}", "APT_LISTS": str(place / "lists"), "APT_CONFIG": ""},
        )
        if fault is None and not (kept.is_dir() and kept.stat().st_mode & 0o777 == 0o750):
            fault = f"{kept} was not made as it should be"
        if fault is None and not _fault_of([str(programs / "python"), "-m", "pip", "--version"], place, {}):
            fault = "pip is still there"
        return fault


def _fault_of(step: list[str], where: Path | str, variables: Mapping[str, str]) -> str | None:
    ran = subprocess.run(
        step, cwd=where, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    return f"{' '.join(step[-3:])}: {(ran.stderr or ran.stdout).strip()[-800:]}" if ran.returncode else None


if __name__ == "__main__":
    sys.exit(main())
