"""A folder of pictures: what a camera uploads there, or pictures to be gone through."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Self

import cv2
import numpy as np
from pydantic import Field, PrivateAttr

from common.runtime.clock import Clock, SystemClock
from common.runtime.config import Settings
from edge.camera.frame import Frame, Image
from edge.camera.source import CameraError, CameraLostError
from edge.camera.timeline import following

_SUFFIXES: Final = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_LARGEST: Final = 64 * 2**20
_SMALLEST: Final = 16
_LONGEST: Final = 20_000
"""Pixels across and down: less is an icon or a counter and no view of anything, more cannot be told of as evidence."""
_NAP_S: Final = 0.25

_Stamp = tuple[int, int]
"""When a file was written, in milliseconds since the Unix epoch, and its size."""


class StillsSettings(Settings):
    """A folder of pictures.

    With ``follow`` pictures are taken as they come, once they grow no more, each at the instant that its file was
    written, and none for ``stalled_s`` is a fault; pictures that lay there before are left alone, but not those that
    came while the folder was lost or stalled: a source is built anew for each opening, so what was seen is kept
    here, from the first opening on. Without it all are gone through in the order of their names, ``every_s`` apart.
    """

    directory: Path
    follow: bool = True
    every_s: Annotated[float, Field(gt=0, le=3600)] = 1.0
    stalled_s: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    _seen: dict[str, _Stamp] | None = PrivateAttr(default=None)

    def seen(self, files: Iterable[Path]) -> dict[str, _Stamp]:
        """What is not new, by name, to be kept up by who follows the folder: at first these files."""
        if self._seen is None:
            self._seen = _stamps(files)
        return self._seen


class StillsSource:
    """Pictures of a folder, one after the other.

    Args:
        settings: which folder and how.
        loop: without ``follow``, begin again at the end.
        paced: without ``follow``, keep to ``every_s`` in real time too.
        clock: pace, and the start instant.
    """

    def __init__(
        self,
        settings: StillsSettings,
        *,
        loop: bool = False,
        paced: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.corrupt = 0
        self._settings = settings
        self._loop = loop
        self._paced = paced
        self._clock = clock or SystemClock()
        self._stopped = threading.Event()
        self._size = (0, 0)
        self._seen: dict[str, _Stamp] = {}
        self._noticed: dict[str, _Stamp] = {}

    @property
    def width(self) -> int:
        """Of the first picture; 0 in an empty folder."""
        return self._size[0]

    @property
    def height(self) -> int:
        """Of the first picture; 0 in an empty folder."""
        return self._size[1]

    @property
    def nominal_fps(self) -> float:
        """By ``every_s``."""
        return 1.0 / self._settings.every_s

    def __enter__(self) -> Self:
        """See that the folder is there.

        Raises:
            CameraError: ``camera.missing``, or ``camera.not_video`` when it has no picture; both without ``follow``.
            CameraLostError: ``camera.missing`` with ``follow``: a disk is mounted again, an uploader makes its folder.
        """
        directory = self._settings.directory
        try:
            found = "" if directory.is_dir() else "a file" if directory.exists() else "nothing"
        except OSError as error:  # a folder that this account may not enter, a name that is too long
            found = str(error.strerror)
        if found:
            said = f"expected a folder of pictures at {directory}, found {found}"
            if self._settings.follow:
                hint = "check the camera's stills.directory and the disk it is on; it is looked for again"
                raise CameraLostError("camera.missing", said, hint)
            raise CameraError("camera.missing", said, "check the camera's stills.directory")
        files = self._files()
        first = next((image for path in files if (image := _read(path)) is not None), None)
        if first is not None:
            self._size = first.shape[1], first.shape[0]
        elif not self._settings.follow:
            raise CameraError(
                "camera.not_video",
                f"expected pictures in {directory} ({', '.join(sorted(_SUFFIXES))}), and of its {len(files)} files "
                "of such names none could be decoded",
                "check the camera's stills.directory",
            )
        if self._settings.follow:
            self._seen = self._settings.seen(files)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""
        self.stop()

    def stop(self) -> None:
        """Let ``frames`` end soon."""
        self._stopped.set()

    def rest(self, resting: bool) -> None:
        """Every picture stands by itself: there is nothing to save."""

    def frames(self) -> Iterator[Frame]:
        """Every picture that can be read; the others are counted in ``corrupt``.

        Raises:
            CameraLostError: ``camera.stalled`` when pictures are followed and none came for too long.
        """
        yield from self._followed() if self._settings.follow else self._gone_through()

    def _gone_through(self) -> Iterator[Frame]:
        began_at, began = self._clock.now_ms(), self._clock.monotonic()
        n = 0
        while not self._stopped.is_set():
            before = n
            for path in self._files():
                image = self._picture(path)
                if image is None:
                    continue
                due_s = n * self._settings.every_s
                if self._paced and not self._wait_until(began + due_s):
                    return
                yield Frame(image, began_at + round(due_s * 1000), n)
                n += 1
                if self._stopped.is_set():
                    return
            if not self._loop or n == before:
                return

    def _followed(self) -> Iterator[Frame]:
        n, last_ms, came_at = 0, -1, self._clock.monotonic()
        while not self._stopped.is_set():
            for path, written_ms in self._new_files():
                self._seen[path.name] = self._noticed[path.name]
                image = self._picture(path)
                if image is None:
                    continue
                last_ms = following(last_ms, written_ms)
                came_at = self._clock.monotonic()
                yield Frame(image, last_ms, n)
                n += 1
                if self._stopped.is_set():
                    return
            if self._clock.monotonic() - came_at > self._settings.stalled_s:
                raise CameraLostError(
                    "camera.stalled",
                    f"expected a new picture in {self._settings.directory} every now and then, got none for "
                    f"{self._settings.stalled_s:g} s",
                    "check that the camera still uploads to it",
                )
            self._clock.sleep(_NAP_S)

    def _new_files(self) -> list[tuple[Path, int]]:
        """What was written since the last look, oldest first, with its instant; what still grows has to wait."""
        files, now = self._files(), self._clock.now_ms()
        held = _stamps(files)
        settled = {name for name, stamp in held.items() if self._noticed.get(name) == stamp}
        fresh = {name: held[name] for name in settled if self._seen.get(name) != held[name]}
        self._noticed = held
        if self._stopped.is_set():  # a disk that hung: another source follows the folder by now
            return []
        # Names that are gone are forgotten, or a folder that is emptied now and then would be remembered for ever.
        # Not while there are none: its disk may be unmounted, and all that is on it would be new afterwards.
        for name in self._seen.keys() - held.keys() if held else ():
            del self._seen[name]
        # Another machine's clock may be ahead: nothing was written later than now.
        found = [(path, min(fresh[path.name][0], now)) for path in files if path.name in fresh]
        return sorted(found, key=lambda one: (one[1], one[0].name))

    def _picture(self, path: Path) -> Image | None:
        image = _read(path)
        if image is None:
            self.corrupt += 1
        return image

    def _files(self) -> list[Path]:
        try:
            found = [path for path in self._settings.directory.iterdir() if path.suffix.lower() in _SUFFIXES]
            return sorted(path for path in found if path.is_file())
        except OSError as error:
            raise CameraLostError(
                "camera.lost",
                f"expected to read {self._settings.directory}, got: {error.strerror}",
                "check the folder and the disk it is on",
            ) from error

    def _wait_until(self, due: float) -> bool:
        while (remaining := due - self._clock.monotonic()) > 0:
            if self._stopped.is_set():
                return False
            self._clock.sleep(min(remaining, _NAP_S))
        return not self._stopped.is_set()


def _read(path: Path) -> Image | None:
    """The picture in BGR, as its EXIF says it is held; None when it cannot be decoded to its end."""
    try:
        content = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
    except OSError:  # gone meanwhile
        return None
    if not content:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # larger than OpenCV allows
        return None
    if image is None or min(image.shape[:2]) < _SMALLEST or max(image.shape[:2]) > _LONGEST:
        return None
    return np.asarray(image, np.uint8)


def _stamps(files: Iterable[Path]) -> dict[str, _Stamp]:
    """By name; those that are gone meanwhile are left out."""
    found: dict[str, _Stamp] = {}
    for path in files:
        with suppress(OSError):
            state = path.stat()
            found[path.name] = state.st_mtime_ns // 1_000_000, state.st_size
    return found
