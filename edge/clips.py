"""Clips around observations, sealed, on the box alone: nothing sends them (decision 17)."""

from __future__ import annotations

import importlib
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Protocol, cast

from pydantic import Field

from common.runtime.clock import Clock
from common.runtime.config import Settings
from common.runtime.errors import ConfigError, MissingExtraError
from common.runtime.log import get_logger
from edge.database import NO_ROOM, DiskFullError

SUFFIX: Final = ".mp4.sealed"
_log = get_logger("clips")


class ClipSettings(Settings):
    """Clips of network and USB cameras around observations; without this section there are none.

    ``public_key_file`` holds the district's public key (``drumtower edge clips key``): the box can make clips and
    open none. They are let go by age and by size, oldest first.
    """

    public_key_file: Path
    before_s: Annotated[float, Field(ge=0, le=30)] = 5.0
    after_s: Annotated[float, Field(ge=1, le=60)] = 10.0
    max_mb: Annotated[float, Field(ge=1, le=1_000_000)] = 512.0
    keep_h: Annotated[float, Field(gt=0, le=24 * 90)] = 72.0


class _Seals(Protocol):
    """What of ``edge.clip_seal`` is used; it is imported only where clips are on."""

    def new_key(self) -> tuple[str, str]: ...

    def seal(self, content: bytes, public: str) -> bytes: ...

    def unseal(self, sealed: bytes, private: str) -> bytes: ...


def seals() -> _Seals:
    """The module that seals; raises MissingExtraError where ``cryptography`` is not installed."""
    try:
        return cast("_Seals", importlib.import_module("edge.clip_seal"))
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "clip.extra",
            f"expected the package cryptography for sealed clips, found no module {error.name}",
            "pip install 'drumtower[edge,clips]', or take the clips section out",
        ) from error


class ClipStore:
    """A directory of sealed clips.

    Args:
        directory: made when missing, readable by this account alone.
        settings: key and limits.
        beside: the configuration file that the key's path is relative to.
        clock: what ages go by.

    Raises:
        ConfigError: ``clip.key_file``.
        DiskFullError: there is no room to begin.
        MissingExtraError: ``clip.extra``.
    """

    def __init__(self, directory: Path, settings: ClipSettings, beside: Path, clock: Clock) -> None:
        self.settings = settings
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._seals = seals()
        file = beside.parent / settings.public_key_file
        try:
            self._public = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                "clip.key_file",
                f"expected the district's public key in {file}, got: {error}",
                "make one with `drumtower edge clips key`, on another machine",
            ) from error
        self._seals.seal(b"", self._public)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise DiskFullError(
                "clip.disk_full",
                f"expected room to make {directory}, got: {error.strerror}",
                "free space on the box's disk",
            ) from error
        for unfinished in directory.glob("*.new"):  # a power cut
            unfinished.unlink()

    def keep(self, camera: str, names: tuple[str, ...], content: bytes) -> None:
        """Seal and keep a clip; without room there is none, and the observation stands without it.

        Args:
            camera: whose it is.
            names: the observations it is of; the first names the file.
            content: MP4.
        """
        sealed = self._seals.seal(content, self._public)
        path = self._directory / f"{self._clock.now_ms()}-{camera}-{names[0]}{SUFFIX}"
        new = path.with_suffix(".new")
        try:
            with self._lock:
                self._let_go(len(sealed))
                descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(sealed)
                new.replace(path)
        except OSError as error:
            _log.error("clip.disk_full", message=str(error), hint="free space, or lower clips.max_mb")
            with suppress(OSError):
                new.unlink(missing_ok=True)
            return
        _log.info("clip.kept", camera=camera, observations=list(names), bytes=len(sealed))

    def files(self) -> list[Path]:
        """All clips, oldest first."""
        return sorted(self._directory.glob(f"*{SUFFIX}"), key=lambda path: (_made_ms(path), path.name))

    def trim(self) -> None:
        """Let go of what is too old; a disk that will not do so now is asked again."""
        try:
            with self._lock:
                self._let_go(0)
        except OSError as error:
            _log.error(
                "clip.not_trimmed", message=str(error), hint="look at the disk; it is tried again in minutes"
            )

    def _let_go(self, coming: int) -> None:
        """Of what is too old, and of the oldest until so many more bytes have room."""
        oldest_ms = self._clock.now_ms() - self.settings.keep_h * 3_600_000
        files = [(path, _size(path)) for path in self.files()]
        held = sum(size for _, size in files)
        for path, size in files:
            if _made_ms(path) >= oldest_ms and held + coming <= self.settings.max_mb * 1e6:
                break
            path.unlink(missing_ok=True)
            held -= size


def _size(path: Path) -> int:
    """Bytes; 0 of a clip that somebody took away meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _made_ms(path: Path) -> int:
    made, _, _ = path.name.partition("-")
    return int(made) if made.isdecimal() else 0
