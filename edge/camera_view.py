"""Whether one camera's pictures may be judged by, and what is told of it: the box's side of ``edge.vision.health``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from common.runtime.log import get_logger
from edge.camera.build import SourceSettings
from edge.camera.frame import Frame
from edge.camera.rtsp import RtspSettings
from edge.camera.stills import StillsSettings
from edge.camera.usb import UsbSettings
from edge.config import CameraConfig
from edge.observations import ObservationBook, Seen
from edge.views import KeptView, ViewStore
from edge.vision.health import FAULTS, Fault, HealthChange, Verdict, ViewHealth
from edge.vision.health_measure import look_at

_DRAWN: Final = ("zone", "lane", "direction", "road", "gauge", "dry_pictures")
"""What of a scene is drawn into the picture: whoever changes it has looked at the view."""
_KEEP_EVERY_MS: Final = 600_000

_log = get_logger("cameras")


class ViewWatch:
    """Looks at a camera's view about once a second, and says when it lastingly shows something else or nothing.

    Args:
        config: of the camera.
        source: where its pictures come from.
        book: where observations go.
        store: keeps the usual view over restarts; None keeps none.
        wall: from a frame's instant to that of the box's clock.
        adopted: called when another view is the usual one from here on.
    """

    def __init__(
        self,
        config: CameraConfig,
        source: SourceSettings,
        book: ObservationBook,
        store: ViewStore | None,
        *,
        wall: Callable[[int], int],
        adopted: Callable[[], None],
    ) -> None:
        self.fault: Fault | None = None
        self._config = config
        self._setup = _setup(config, source)
        self._book = book
        self._store = store
        self._wall = wall
        self._adopted = adopted
        self._health: ViewHealth | None = None
        self._size = (0, 0)
        self._kept_at: int | None = None
        self._given_up = False

    def is_good(self, frame: Frame) -> bool:
        """Whether this frame may be judged by; says what lastingly is wrong with the view."""
        if not self._config.health.enabled:
            self._give_up()
            return True
        health, at = self._ready(frame), frame.captured_at
        if health.due(at):
            if self._store is not None and self._store.take_accepted(self._config.name):
                self._tell(health.accept(at))
            self._tell(health.step(look_at(frame.image), at))
            self._keep(health, at)
        return self.fault is None

    def _ready(self, frame: Frame) -> ViewHealth:
        """What judges pictures of this size."""
        size = frame.image.shape[0], frame.image.shape[1]
        if self._health is None:
            kept = self._store.load(self._config.name, self._setup) if self._store is not None else None
            known = kept.view if kept is not None and kept.size == size else None
            self._health, self._size = ViewHealth(self._config.health, self._open_fault(), known), size
        elif size != self._size:
            # Another mode of the camera shows another part of the street: that is no camera that was moved.
            self._health.forget()
            _log.warning(
                "camera.resized",
                camera=self._config.name,
                before="{1}x{0}".format(*self._size),
                now="{1}x{0}".format(*size),
                hint="zones are shares of the picture: check them where it shows another part of the street now",
            )
            self._size = size
        return self._health

    def _open_fault(self) -> Fault | None:
        """The fault of the view that was open when the box stopped."""
        source = f"camera:{self._config.name}"
        return next((one for one in FAULTS if self._book.is_open(source, f"device.camera_{one}")), None)

    def _give_up(self) -> None:
        """What was open when somebody turned the watching off would stay so for ever."""
        if self._given_up:
            return
        self._given_up = True
        source, categories = f"camera:{self._config.name}", {f"device.camera_{fault}" for fault in FAULTS}
        for known in self._book.open_conditions():
            if known.source == source and known.category in categories:
                self._book.end(known, "the view is not watched any more")

    def _tell(self, verdict: Verdict) -> None:
        self.fault = verdict.fault
        for change in verdict.changes:
            self._say(change)
        if verdict.adopted:
            _log.warning("camera.view_adopted", camera=self._config.name)
            self._kept_at = None
            self._adopted()

    def _keep(self, health: ViewHealth, at: int) -> None:
        """Write the view down now and then, while nothing speaks against it."""
        if self._store is None or self.fault is not None or health.fault is not None:
            return
        if self._kept_at is not None and at - self._kept_at < _KEEP_EVERY_MS:
            return
        if (known := health.known) is not None:
            self._store.save(self._config.name, self._setup, KeptView(known, self._size))
            self._kept_at = at

    def _say(self, change: HealthChange) -> None:
        name = self._config.name
        _log.warning("camera.view", camera=name, phase=change.phase, fault=change.fault, **change.detail)
        self._book.say(
            Seen(
                change.phase,
                f"camera:{name}",
                name,
                f"device.camera_{change.fault}",
                self._wall(change.since),
                self._wall(change.at),
                detail=change.detail,
            )
        )


def _setup(config: CameraConfig, source: SourceSettings) -> str:
    """What a view was learnt for: where the pictures come from, and what is drawn into them."""
    drawn = [
        {key: value for key, value in scene.model_dump(mode="json").items() if key in _DRAWN}
        for scene in config.scenes
    ]
    return json.dumps({"from": _place(source), "drawn": drawn}, sort_keys=True)


def _place(source: SourceSettings) -> str:
    match source:
        case RtspSettings():
            return source.url
        case UsbSettings():
            return str(source.device)
        case StillsSettings():
            return str(source.directory)
        case Path():
            return str(source)
