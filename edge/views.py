"""How each camera's picture usually looks, kept over restarts; and the word of somebody that a new view is right."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from common.runtime.log import get_logger
from edge.vision.health import KnownView

_ACCEPTED: Final = ".accepted"
_log = get_logger("views")


@dataclass(frozen=True, slots=True, eq=False)
class KeptView:
    """A view and the size of the pictures that it was learnt from, ``(height, width)``."""

    view: KnownView
    size: tuple[int, int]


class ViewStore:
    """One small file a camera.

    A view is worth nothing for another street or for other zones: with it stands what it was learnt for (``setup``,
    any text), and it is given out for that alone. A file that cannot be read or written costs a new beginning and no more.

    Args:
        directory: made when it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, camera: str, setup: str) -> KeptView | None:
        """A camera's view; None when there is none for this setup."""
        try:
            with np.load(self._file(camera), allow_pickle=False) as held:
                if str(held["setup"]) != setup:
                    return None
                likeness, spread = (float(held[name]) for name in ("likeness", "spread"))
                view = KnownView(
                    held["shape"].astype(np.float32),
                    held["detail"].astype(np.float32),
                    spread,
                    likeness,
                    int(held["seen"]),
                    # Files of before it was watched have none.
                    *(float(held[name]) if name in held else 0.0 for name in ("focus", "focus_ms")),
                )
                height, width = (int(length) for length in held["size"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            _log.warning("view.not_read", camera=camera, error=str(error), hint="it is learnt again")
            return None
        if view.shape.shape != (48, 64) or view.detail.shape != (6, 8):
            return None
        return KeptView(view, (height, width))

    def save(self, camera: str, setup: str, kept: KeptView) -> None:
        """Keep a camera's view."""
        file, view = self._file(camera), kept.view
        new = file.with_suffix(".new")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as out:
                np.savez_compressed(
                    out,
                    setup=np.array(setup),
                    size=np.array(kept.size),
                    shape=view.shape,
                    detail=view.detail,
                    spread=np.array(view.spread),
                    likeness=np.array(view.likeness),
                    seen=np.array(view.seen),
                    focus=np.array(view.focus),
                    focus_ms=np.array(view.focus_ms),
                )
            new.replace(file)
        except OSError as error:
            _log.warning(
                "view.not_kept", camera=camera, error=str(error), hint="free space on the box's disk"
            )

    def accept(self, camera: str) -> None:
        """Say that a camera shows what it should; raises OSError. The box takes it up at its next look, or its next start."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._file(camera).with_suffix(_ACCEPTED).touch()

    def take_accepted(self, camera: str) -> bool:
        """Whether somebody said so since this was asked last; what was kept of the view before goes."""
        mark = self._file(camera).with_suffix(_ACCEPTED)
        if not mark.exists():
            return False
        with suppress(OSError):
            self._file(camera).unlink(missing_ok=True)
            mark.unlink(missing_ok=True)
        return True

    def _file(self, camera: str) -> Path:
        return self._directory / f"{camera}.npz"
