"""What finds heads and plates for evidence pictures, opened when the first of them is made; without it more is hidden."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from common.runtime.errors import ConfigError, InvalidError
from common.runtime.log import get_logger
from edge.camera.frame import Image
from models.manifest import PrivacyManifest
from models.privacy import PrivacyFinder, Private
from models.store import open_as

_log = get_logger("privacy")


class Finder(Protocol):
    """Finds what tells who somebody is."""

    def find(self, picture: Image) -> Private | None:
        """Heads and plates in a uint8 BGR picture; None when nobody can say."""
        ...


def open_finder(directory: Path | None = None, threads: int = 1) -> PrivacyFinder:
    """What finds heads and plates; raises InvalidError when its file is missing, changed or broken."""
    return PrivacyFinder(open_as(PrivacyManifest, "privacy", directory), threads)


class LateFinder:
    """One model for all cameras of a box, opened at the first picture: most boxes make none for hours.

    A model that cannot be opened, that breaks down or answers what cannot be is no finder: None is the answer, all
    that may be a head or a plate is hidden, the log says why, and the next picture asks again.

    Args:
        opens: the model.
    """

    def __init__(self, opens: Callable[[], Finder] = open_finder) -> None:
        self._opens = opens
        self._opened: Finder | None = None
        self._lock = threading.Lock()

    def find(self, picture: Image) -> Private | None:
        """Heads and plates in a uint8 BGR picture; None when the model fails."""
        try:
            with self._lock:
                if self._opened is None:
                    self._opened = self._opens()
                finder = self._opened
            return finder.find(picture)
        except (ConfigError, InvalidError) as error:
            _log.error(
                "privacy.failed",
                error=str(error),
                hint="`drumtower models verify`; more is blurred meanwhile",
            )
            return None


PRIVACY: Final = LateFinder()
"""The model that ships, shared by all cameras of this process."""
