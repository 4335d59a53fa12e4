"""Each tier alone: a venv with that tier's pins only, in which its command starts and its modules import.

This is how we know that a box needs no web framework and a gateway no camera.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    return failed


def prove(tier: str, foreign: tuple[str, ...]) -> str | None:
    """What is wrong with a tier's own installation, or None."""
    with tempfile.TemporaryDirectory() as directory:
        python = Path(directory) / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        steps = [
            [sys.executable, "-m", "venv", directory],
            [*pip, "--require-hashes", "--no-deps", "-r", f"requirements/{tier}.txt"],
            # Built with the venv that runs this, whose build backend is pinned too.
            [
                sys.executable,
                "-m",
                "pip",
                "wheel",
                "--quiet",
                "--no-deps",
                "--no-build-isolation",
                "--wheel-dir",
                directory,
                ".",
            ],
            [*pip, "--no-deps", "--no-index", "--find-links", directory, "drumtower"],
            [str(python), "-m", "pip", "check"],
            [str(python), "-c", f"import {tier}.app, {tier}.cli"],
            [str(python.parent / "drumtower"), tier, "--help"],
        ]
        for step in steps:
            # From elsewhere, so that what is imported is what was installed.
            where = (
                directory if step[0].startswith(directory) and "requirements" not in step[-1] else REPOSITORY
            )
            ran = subprocess.run(step, cwd=where, capture_output=True, text=True, check=False)
            if ran.returncode:
                return f"{' '.join(step[-3:])}: {(ran.stderr or ran.stdout).strip()[-800:]}"
        for module in foreign:
            if not subprocess.run(
                [python, "-c", f"import {module}"], cwd=directory, capture_output=True, check=False
            ).returncode:
                return f"it has {module}, which belongs to another tier"
    return None


if __name__ == "__main__":
    sys.exit(main())
