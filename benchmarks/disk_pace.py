"""What the disk takes for a flush, looked at with a small file of our own beside whatever else is on it."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Final

_BLOCK: Final = bytes(8192)
_BLOCKS: Final = 256
_EVERY_S: Final = 0.05
#: A flush that took longer is a stall: a calm disk of today takes a millisecond or two.
_STALL_MS: Final = 20.0
_CALM_FOR_S: Final = 10.0


class DiskPace:
    """Writes a block and waits for the disk, twenty times a second, while its block runs. Usable as a context manager.

    Args:
        directory: on the disk in question.
    """

    def __init__(self, directory: Path) -> None:
        self.flushes_ms: list[float] = []
        self._probe = _Probe(directory)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="disk pace")

    def __enter__(self) -> DiskPace:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        with closing(self._probe):
            while not self._ended.wait(_EVERY_S):
                self.flushes_ms.append(self._probe.flush_ms())


def calm_disk(directory: Path, patience_s: float) -> float:
    """Wait until no flush stalls any more; seconds waited, at most ``patience_s``.

    A disk that was just told to forget a gigabyte takes up to half a second for a flush of any file on it.
    """
    began = last_stall = time.monotonic()
    with closing(_Probe(directory)) as probe:
        while (now := time.monotonic()) - last_stall < _CALM_FOR_S and now - began < patience_s:
            if probe.flush_ms() > _STALL_MS:
                last_stall = time.monotonic()
            time.sleep(_EVERY_S / 5)
    return time.monotonic() - began


class _Probe:
    """A small file that is written over and over."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "disk-pace"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        os.write(self._file, _BLOCK * _BLOCKS)
        os.fsync(self._file)
        self._turn = 0

    def flush_ms(self) -> float:
        """Write a block; how long the disk took for it, in ms."""
        self._turn += 1
        os.pwrite(self._file, _BLOCK, self._turn % _BLOCKS * len(_BLOCK))
        began = time.monotonic()
        os.fdatasync(self._file)
        return (time.monotonic() - began) * 1000

    def close(self) -> None:
        """Leave nothing behind."""
        os.close(self._file)
        self._path.unlink()
