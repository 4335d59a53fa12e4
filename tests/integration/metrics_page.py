"""A tier as an operator starts it, and a look at its metrics."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.integration.gateway_rig import PATIENCE

#: Of the loopback network, but not the address that a server on 127.0.0.1 answers at.
ANOTHER_ADDRESS = "127.0.0.2"


@contextmanager
def running(
    arguments: list[str], directory: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """``drumtower`` with these arguments and, of its own variables, these alone; killed at the end of the block."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("DRUMTOWER_")}
    with subprocess.Popen(
        [sys.executable, "-m", "common.runtime.cli", *arguments],
        cwd=directory,
        env={**known, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def told(host: str, port: int) -> str:
    """The metrics; nothing where nobody answers, or somebody answers something else."""
    try:
        answer = httpx.get(f"http://{host}:{port}/metrics", timeout=PATIENCE)
    except httpx.TransportError:
        return ""
    return answer.text if answer.status_code == httpx.codes.OK else ""
