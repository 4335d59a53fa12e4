"""Which pins their publishers have withdrawn since ("yanked", PEP 592), as pip tells it of the index it is set up with.

A release is withdrawn for being broken or unsafe. That is less than an advisory, and known wherever packages come from.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common.runtime.errors import TransientError

#: A release that is known to be withdrawn; an index that does not say so says nothing of the others.
CANARY: Final = "pytest==8.1.0"
_WHOLE_S: Final = 180
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+==[^\s;\\]+)\s*(;[^\\]*)?")


def pins(lock: Path) -> list[str]:
    """The requirements of a lock file, with their markers, without hashes."""
    found = map(_PIN.match, lock.read_text(encoding="utf-8").splitlines())
    return [f"{match[1]} {match[2] or ''}".strip() for match in found if match]


def withdrawn(requirements: Sequence[str]) -> tuple[int, list[tuple[str, str]]]:
    """Ask the index; of how many packages that this machine would install, and which are withdrawn (name, version).

    Raises:
        TransientError: when it does not answer, or does not say what is withdrawn.
    """
    asked, found = _ask(requirements)
    if not found and not _ask([CANARY])[1]:
        raise TransientError("audit.away", f"the index does not say that {CANARY} was withdrawn")
    return asked, found


def _ask(requirements: Sequence[str]) -> tuple[int, list[tuple[str, str]]]:
    words = [
        *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"),
        *("--report", "-", *requirements),
    ]
    try:
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_WHOLE_S)
    except subprocess.TimeoutExpired as error:
        raise TransientError("audit.away", f"the index did not answer within {_WHOLE_S} s") from error
    if ran.returncode:
        reason = (ran.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise TransientError("audit.away", f"pip: {reason[-300:]}")
    said = [(one["metadata"], one["is_yanked"]) for one in json.loads(ran.stdout)["install"]]
    return len(said), [(about["name"], about["version"]) for about, is_withdrawn in said if is_withdrawn]
