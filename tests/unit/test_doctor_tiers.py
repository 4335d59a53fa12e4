"""Each tier's doctor comes with that tier alone: it asks for nothing that belongs to another."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from common.runtime.doctor_cli import GROUP

REPOSITORY = Path(__file__).parents[2]
#: What a tier's own installation does not have.
ABSENT = {
    "edge": ("psycopg", "fastapi", "uvicorn", "jinja2", "argon2", "cryptography", "psutil", "torch"),
    "gateway": (
        "cv2",
        "onnxruntime",
        "av",
        "lap",
        "pymodbus",
        "httpx",
        "jinja2",
        "cryptography",
        "psutil",
        "torch",
    ),
    "cloud": (
        "cv2",
        "onnxruntime",
        "av",
        "numpy",
        "paho",
        "pymodbus",
        "httpx",
        "psutil",
        "torch",
    ),
}


def test_every_tier_has_a_doctor() -> None:
    assert {point.name for point in entry_points(group=GROUP)} == set(ABSENT)


@pytest.mark.parametrize("tier", sorted(ABSENT))
def test_a_tier_that_is_installed_alone_can_be_examined(tier: str) -> None:
    without = f"import sys; sys.modules.update(dict.fromkeys({ABSENT[tier]!r}))"
    asked = f"sys.argv = ['drumtower', 'doctor', '{tier}']; from common.runtime.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", f"{without}\n{asked}"],
        cwd=REPOSITORY,
        env={"PATH": "", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    assert "nothing to examine here" in ran.stderr


def test_a_tier_that_is_not_installed_is_said_with_what_to_install() -> None:
    without = "import sys; sys.modules['psycopg'] = None"
    asked = "sys.argv = ['drumtower', 'doctor', 'cloud']; from common.runtime.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", f"{without}\n{asked}"],
        cwd=REPOSITORY,
        env={"PATH": "", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3, ran.stderr
    assert "doctor.missing_extra" in ran.stderr
    assert "pip install '.[cloud]'" in ran.stderr
