"""What pyproject.toml pins for: the runner of the tests keeps to the groups that they name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

MODULE = """
import pytest

pytestmark = pytest.mark.xdist_group("whole-system")


def test_one() -> None: ...


def test_two() -> None: ...


def test_three() -> None: ...
"""


def test_tests_of_one_group_run_in_one_process_whatever_their_modules(tmp_path: Path) -> None:
    for name in ("test_first", "test_second"):
        (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "test_alone.py").write_text("def test_alone() -> None: ...\n", encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = xdist_group(name)\n", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-v", str(tmp_path)],
        cwd=tmp_path,
        # This test may itself run in a worker, which says so to its children.
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    placed = re.findall(r"^\[(gw\d)\] .* PASSED .*@whole-system", ran.stdout, re.MULTILINE)
    assert len(placed) == 6, f"expected six tests of the group, ran:\n{ran.stdout}"
    assert len(set(placed)) == 1, f"one group ran in two processes:\n{ran.stdout}"
