"""A disk of a few megabytes that can be filled and freed: a file system in memory, where one may be mounted.

Mounts are made in a mount namespace of this process (``alone``), so they are gone with it whatever ends it. Who is not
root has one within a user namespace (user_namespaces(7)), where the machine allows it: it mounts, and stays who it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_ALONE: Final = "DRUMTOWER_CHAOS_ALONE"
_STEP: Final = 4096


def alone(arguments: list[str]) -> None:
    """Go on in a mount namespace of our own; does not return where that works, and does nothing elsewhere."""
    if os.environ.get(_ALONE) or shutil.which("unshare") is None:
        return
    command = ["unshare", "--mount"]
    if os.geteuid() != 0:
        command += ["--user", "--map-current-user", "--keep-caps"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
        os.environ[_ALONE] = "1"
        os.execvp("unshare", [*command, sys.executable, *arguments])  # noqa: S606 - no shell is meant


class SmallDisk:
    """One such disk.

    Args:
        path: the directory that it is mounted on; made when missing.
        size_kb: how much it holds.
    """

    def __init__(self, path: Path, size_kb: int) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.mounted = bool(os.environ.get(_ALONE)) and self._mount(size_kb)
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Take all the room that is left; nothing happens where no file system could be mounted."""
        if not self.mounted:
            return
        with self._ballast.open("ab", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(_STEP))
                except OSError:  # as wanted
                    return

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it; what it held lies in the directory itself then."""
        if not os.path.ismount(self.path):
            return
        beside = self.path.with_name(f"{self.path.name}.held")
        shutil.copytree(self.path, beside)
        if subprocess.run(["umount", str(self.path)], capture_output=True, check=False).returncode != 0:
            shutil.rmtree(beside)
            return
        self.path.rmdir()
        beside.rename(self.path)

    def _mount(self, size_kb: int) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k,mode=755", "tmpfs", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
