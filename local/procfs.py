"""What /proc tells of other processes, see proc(5)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from local.processes import ServiceError

# Longer than an orderly stop takes, final checkpoint included.
PREDECESSOR_SECONDS = 60.0


def children_of(pid: int) -> list[int]:
    """The process ids of the children of `pid`."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if listed.exists():
        return [int(child) for child in listed.read_text(encoding="ascii").split()]
    # A kernel without CONFIG_PROC_CHILDREN: ask every process for its parent.
    everyone = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [candidate for candidate in everyone if _stat_fields(candidate)[1:2] == [str(pid)]]


def kill_family(pid: int, timeout_seconds: float = 30.0) -> None:
    """SIGKILL `pid` and its children and wait until the children are gone (`pid` is left for its parent to reap)."""
    os.kill(pid, signal.SIGSTOP)  # so that no child is born between the listing and the end
    children = {child: _start_time(child) for child in children_of(pid)}
    os.kill(pid, signal.SIGKILL)
    for child, started in children.items():
        if started is not None and _start_time(child) == started:
            _kill_if_alive(child)
    deadline = time.monotonic() + timeout_seconds
    while any(started is not None and _start_time(child) == started for child, started in children.items()):
        if time.monotonic() > deadline:
            raise ServiceError(
                "service.kill_failed",
                f"children of process {pid} outlive SIGKILL",
                "look at them with `ps -ef`",
            )
        time.sleep(0.01)


def await_predecessor(pid_file: Path, argument: Path, service: str) -> None:
    """Wait for a server that is just stopping because its parent died.

    Such a server has its id at the start of `pid_file` and `argument` on its command line. Raises ServiceError
    where it goes on running: it belongs to another run.
    """
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while True:
        try:
            first = pid_file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
        except FileNotFoundError:
            return
        if not first.isdigit() or not _has_argument(int(first), argument):
            return  # left behind by a kill; the id is free or belongs to somebody else by now
        if time.monotonic() > deadline:
            raise ServiceError(
                "service.running",
                f"another run of {service}, process {first}, uses {argument}",
                "stop that run, or set DRUMTOWER_DATA to a directory of your own",
            )
        time.sleep(0.1)


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/pid/stat from the third (the state) on; empty where there is no such process."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except (FileNotFoundError, ProcessLookupError):
        return []


def _start_time(pid: int) -> str | None:
    """What tells a process from a later one with its id; None once it is gone or only waits to be reaped."""
    fields = _stat_fields(pid)
    return None if not fields or fields[0] in "ZX" else fields[19]


def _kill_if_alive(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it noticed its parent's death by itself


def _has_argument(pid: int, argument: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.fsencode(argument) in command
