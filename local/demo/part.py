"""One tier's process, as an operator would start it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.processes import Account, ServiceProcess


class Part:
    """One tier's process: what it is called, how it is started, and whether it is alive."""

    def __init__(
        self,
        name: str,
        log: Path,
        arguments: Sequence[str | Path],
        environment: Mapping[str, str],
        module: str = "common.runtime.cli",
    ) -> None:
        self.name = name
        self._arguments = [sys.executable, "-m", module, *arguments]
        self._environment = dict(environment)
        self._process = ServiceProcess(name, log, signal.SIGTERM)
        self.wanted = False

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file of its messages."""
        return self._process.log

    def start(self) -> None:
        """Start it."""
        self._process.start(self._arguments, Account(), self._environment)
        self.wanted = True

    def ask_to_stop(self) -> None:
        """Ask it to stop, without waiting."""
        self.wanted = False
        self._process.send(signal.SIGTERM)

    def stop(self, timeout_seconds: float = 60.0) -> None:
        """Ask it to stop and wait until it has."""
        self.wanted = False
        self._process.stop(timeout_seconds)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.wanted = False
        self._process.kill()

    def fault(self) -> str | None:
        """What it said last, where it should run and does not."""
        return last_words(self._process.log_tail(12)) if self.wanted and self.pid is None else None


def last_words(tail: str) -> str:
    """What a process said of its own end: a command's error with what to do, else its last line."""
    lines = tail.splitlines()
    told = [number for number, line in enumerate(lines) if line.startswith("drumtower: ")]
    return "\n".join(lines[told[-1] :] if told else lines[-1:])
