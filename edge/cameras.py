"""A camera of a box: opened, read, looked through and opened again; a thread of its own only reads it.

A camera that cannot see is itself an observation (``device.camera_…``): "could not look" must never pass for
"nothing to see". The others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from common.runtime.clock import Clock
from common.runtime.errors import DrumtowerError
from common.runtime.log import get_logger
from common.wire.messages import Evidence
from edge.camera.build import SourceSettings, build_source
from edge.camera.frame import Frame
from edge.camera.latest import LatestFrame
from edge.camera.live import KEY_S, LiveSource
from edge.camera.recorder import Recorder
from edge.camera.source import CameraLostError
from edge.camera.stills import StillsSettings
from edge.camera.timeline import was_set_back
from edge.camera_sight import Sight
from edge.camera_view import ViewWatch
from edge.clips import ClipStore
from edge.config import CameraConfig
from edge.coverage import State
from edge.database import DiskFullError
from edge.detectors import Detectors
from edge.evidence import EvidenceStore
from edge.observations import ObservationBook, Seen
from edge.views import ViewStore
from edge.vision.ahead import LookAhead
from edge.vision.detections import Detections
from edge.vision.evidence import Picture
from edge.vision.health import HIDING
from edge.vision.pipeline import FrameResult, VisionCounters, VisionPipeline
from edge.vision.scenes.build import check_drawn, check_labels
from edge.vision.scenes.config import outside
from edge.vision.scenes.scene import SceneEvent

_STALLED_S: Final = 10.0
"""As long as opening a camera may take."""
_FRESH_S: Final = 3.0
"""So long after a look a camera still counts as looked through: more than two idle looks, or two key frames, are apart."""

_GOODBYE_S: Final = 5.0
_HANGS_S: Final = 0.2
_MOST_KEPT: Final = 16_000_000
"""Bytes of packets that a camera keeps for the beginning of a clip: ten seconds at 12 Mbit/s."""

_log = get_logger("cameras")


class Camera:
    """One camera: reads, looks, and says what it saw.

    Args:
        config: its configuration.
        source: where its pictures come from; a path is a video file.
        detectors: shared with the box's other cameras.
        book: where observations go.
        evidence: where pictures go.
        clock: time.
        credential: of a network camera; asked at each opening, so that a new one needs no restart.
        clips: where clips around observations go; None makes none.
        views: where its usual view is kept over restarts; None keeps none.
        redrawn: itself, where somebody drew its scenes anew; asked while one lies outside the picture.
    """

    def __init__(
        self,
        config: CameraConfig,
        source: SourceSettings,
        *,
        detectors: Detectors,
        book: ObservationBook,
        evidence: EvidenceStore,
        clock: Clock,
        credential: Callable[[], str] = lambda: "",
        clips: ClipStore | None = None,
        views: ViewStore | None = None,
        redrawn: Callable[[], CameraConfig | None] = lambda: None,
    ) -> None:
        self.config = config
        self.finished = False
        self.valid_looks = 0
        self.arrived: Callable[[], None] = lambda: None
        self._source = source
        self._credential = credential
        self._clips = clips
        self._recorder: Recorder | None = None
        self._detectors = detectors
        self._book = book
        self._evidence = evidence
        self._clock = clock
        self._pipeline: VisionPipeline | None = None
        self._reader: LatestFrame | None = None
        self._ahead: LookAhead | None = None
        self._read = self._dropped = 0
        self._frame_at = self._opened_at = clock.monotonic()
        self._looked_at: float | None = None
        self._captured_at = -1
        self._set_back_ms = 0
        self._sight = Sight(config.name, book, clock)
        self._unseen = False
        self._counted = VisionCounters()
        self._redrawn = redrawn
        self._views = views
        self._view = self._watch()

    @property
    def counters(self) -> VisionCounters:
        """What the vision path has counted."""
        return self._counted if self._pipeline is None else self._pipeline.counters

    @property
    def blind(self) -> bool:
        """Whether it cannot see now."""
        return self._sight.lost or self._view.fault is not None

    @property
    def read(self) -> int:
        """Frames that the camera gave."""
        return self._read + (self._reader.read if self._reader else 0)

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before anybody looked."""
        return self._dropped + (self._reader.dropped if self._reader else 0)

    def look(self, timeout: float) -> bool:
        """Look at the newest frame, waiting for one at most so many seconds; whether there was one."""
        try:
            return self._look(timeout)
        except DrumtowerError as error:
            self._lose(error)
            return False

    @property
    def ready(self) -> bool:
        """Whether a look would find something: a frame, or that there will be none any more."""
        if self.finished or self._reader is None:
            return False
        return self._reader.waiting or (self._ahead is not None and self._ahead.waiting)

    def state(self) -> State:
        """What the time since the last look counts as."""
        now = self._clock.monotonic()
        if self._sight.lost:
            return "lost"
        if self.finished or not self.config.scenes:
            return "not_asked"
        if self._view.fault is not None:
            return self._view.fault
        if self._looked_at is not None and now - self._looked_at <= self._fresh_s:
            return "looked"
        return "overloaded" if self._reader is not None and self._reader.waiting else "lost"

    def stop_soon(self) -> None:
        """Ask the reading to end, without waiting for it."""
        if self._reader is not None:
            self._reader.stop_soon()

    def close(self, timeout: float = _GOODBYE_S) -> None:
        """Stop reading, waiting for at most so many seconds for a silent camera, and say what is left to be said."""
        self._hang_up(timeout)
        self._finish()

    def _hang_up(self, timeout: float) -> None:
        if self._reader is not None:
            self._read, self._dropped = self.read, self.dropped
            self._reader.stop(timeout)
            self._reader = None
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _look(self, timeout: float) -> bool:
        now = self._clock.monotonic()
        if self.finished or now < self._sight.reopen_at:
            return False
        pipeline = self._ready()
        if self._reader is None:
            self._reader = self._open()
            self._frame_at = self._opened_at = now
        looked = self._next(self._reader, timeout)
        if looked is None:
            self._notice_silence()
            return False
        frame, found = looked
        frame = self._in_order(frame)
        self._frame_at = self._clock.monotonic()
        self._sight.see(self._reader.source)
        if self._view.is_good(frame):
            pipeline = self._ready()
            if self._unseen:
                pipeline.pause(frame.captured_at)
                self._unseen = False
            result = pipeline.process(frame, found)
            self.valid_looks += result.analysed
            if result.analysed:
                self._looked_at = self._clock.monotonic()
            self._reader.source.rest(pipeline.resting)
            self._tell(result)
        else:
            self._unseen = True
            if self._view.fault in HIDING:
                self._tell(pipeline.process_hidden(frame))
        return True

    def _next(self, reader: LatestFrame, timeout: float) -> tuple[Frame, Detections | None] | None:
        """The next frame, with what is found in it where somebody looked ahead."""
        if self._ahead is not None:
            return self._ahead.next(timeout)
        frame = reader.take(timeout)
        return None if frame is None else (frame, None)

    def _open(self) -> LatestFrame:
        config = self.config
        recorded = isinstance(self._source, Path)
        source = build_source(
            self._source,
            credential=self._credential(),
            paced=config.paced,
            loop=config.loop,
            clock=self._clock,
        )
        if self._clips is not None and isinstance(source, LiveSource):
            told = self._clips.settings
            keep = partial(self._clips.keep, config.name)
            source.recorder = self._recorder = Recorder(told.before_s, told.after_s, _MOST_KEPT, keep)
        keep_all = recorded and not config.paced
        reader = LatestFrame(source, config.name, keep_all=keep_all, arrived=self.arrived).start()
        if keep_all and not config.gate.enabled:
            # Every frame will be looked at, and the next ones are there already.
            single = self._detectors.single(config.model)
            self._ahead = LookAhead(reader.take, single, self._detectors.threads)
        return reader

    def _in_order(self, frame: Frame) -> Frame:
        """Time only grows, also from one opening of the camera to the next, and where the box's clock is set back.

        Scenes and tracks go by how much time passed. What is told goes by the clock as it is then, see ``_wall``.
        """
        at = frame.captured_at + self._set_back_ms
        if was_set_back(self._captured_at, at):
            back = self._captured_at + 1 - at
            _log.warning("camera.clock_set_back", camera=self.config.name, by_s=round(back / 1000))
            self._set_back_ms += back
        self._captured_at = max(at, self._captured_at + 1)
        return replace(frame, captured_at=self._captured_at)

    def _wall(self, at: int) -> int:
        """An instant of vision by the box's clock."""
        return at - self._set_back_ms

    def _begin_anew(self) -> None:
        """The camera shows another street: scenes begin as after a restart, with the conditions that are open."""
        self._counted, self._pipeline = self.counters, None

    def _watch(self) -> ViewWatch:
        return ViewWatch(
            self.config, self._source, self._book, self._views, wall=self._wall, adopted=self._begin_anew
        )

    def _redraw(self) -> None:
        """Take scenes that lie outside the picture as they are drawn by now; nothing was looked at with them yet.

        Their severities come with them: they name scenes, and a scene drawn anew may be another.
        """
        now = self._redrawn() if any(outside(self.config.scenes)) else None
        if now is not None and not any(outside(now.scenes)):
            self.config = self.config.model_copy(update={"scenes": now.scenes, "severity": now.severity})
            self._book.rate(f"scene:{self.config.name}:", self.config.severities)
            self._view = self._watch()
            _log.info(
                "camera.redrawn", camera=self.config.name, hint="what else was changed waits for a restart"
            )
        check_drawn(self.config.scenes)

    def _ready(self) -> VisionPipeline:
        if self._pipeline is None:
            self._redraw()
            detector = self._detectors.get(self.config.model)
            check_labels(self.config.scenes, detector.labels, self.config.model)
            pipeline = VisionPipeline(
                self.config,
                detector,
                open_judge=self._detectors.judge,
                open_segmenter=self._detectors.segmenter,
                open_fire=self._detectors.fire,
            )
            self._restore(pipeline)
            pipeline.counters = self._counted
            self._pipeline = pipeline
        return self._pipeline

    def _restore(self, pipeline: VisionPipeline) -> None:
        """Go on with what was open when the box stopped; end what no scene watches for any more."""
        watched = {f"scene:{self.config.name}:{scene.id}": scene for scene in self.config.scenes}
        for known in self._book.open_conditions():
            if not known.source.startswith(f"scene:{self.config.name}:"):
                continue
            scene = watched.get(known.source)
            if scene is None or scene.category != known.category:
                self._book.end(known, "the scene is not configured any more")
            else:
                pipeline.restore(scene.id, known.started_at + self._set_back_ms)
                _log.info("camera.condition_goes_on", source=known.source, observation=known.observation_id)

    def _notice_silence(self) -> None:
        assert self._reader is not None
        if self._reader.ended:
            self.finished = True
            self._finish()
            _log.info("camera.ended", camera=self.config.name, frames=self.read)
        elif self._clock.monotonic() - self._frame_at > self._stalled_s:
            raise CameraLostError(
                "camera.stalled",
                f"expected a frame of {self.config.name} every now and then, got none for {self._stalled_s:.0f} s",
                "check the camera's power and cable",
            )

    @property
    def _fresh_s(self) -> float:
        """A picture that is uploaded now and then stands for the time until the next is missed."""
        if isinstance(self._source, StillsSettings):
            return self._source.stalled_s if self._source.follow else 2 * self._source.every_s + _FRESH_S
        # Nobody misses looks that are not wanted.
        return max(_FRESH_S, self.config.gate.empty_s + 1.0)

    @property
    def _stalled_s(self) -> float:
        """Network and USB cameras notice by themselves, also that they cannot be opened; this is for a reader that hangs."""
        first = KEY_S if self._frame_at == self._opened_at else 0.0
        return _STALLED_S + max(first, 2 * getattr(self._source, "stalled_s", 0.0))

    def _tell(self, result: FrameResult) -> None:
        for event, proof in zip(result.events, self._prove(result), strict=True):
            said = self._book.say(
                Seen(
                    phase=event.phase,
                    source=self._source_of(event),
                    sensor=self.config.name,
                    category=event.category,
                    started_at=self._wall(event.started_at),
                    at=self._wall(event.at),
                    count=event.count,
                    value=event.peak,
                    detail=event.detail,
                    evidence=proof,
                )
            )
            if self._recorder is not None and event.phase in {"start", "act"}:
                self._recorder.ask(said.observation_id)

    def _finish(self) -> None:
        """No more pictures come. Not where the camera is opened again: who is on his way may still be there then."""
        if self._pipeline is not None:
            self._tell(self._pipeline.finish(self._captured_at))

    def _source_of(self, event: SceneEvent) -> str:
        return f"scene:{self.config.name}:{event.scene}"

    def _prove(self, result: FrameResult) -> list[Evidence | None]:
        """Keep the pictures; for each event its own, or None."""
        severities: dict[Picture, int] = {}
        for event, picture in zip(result.events, result.pictures, strict=True):
            if picture is not None:
                severity = self._book.severity_of(self._source_of(event), event.category)
                severities[picture] = max(severities.get(picture, 1), severity)
        kept = {picture: self._keep(picture, severity) for picture, severity in severities.items()}
        return [None if picture is None else kept[picture] for picture in result.pictures]

    def _keep(self, picture: Picture, severity: int) -> Evidence | None:
        """Keep one; without room the observation goes without it."""
        try:
            sha256 = self._evidence.keep(picture.jpeg, "image/jpeg", severity)
        except DiskFullError as error:
            _log.error(error.code, message=error.message, hint=error.hint)
            return None
        at = self._wall(picture.captured_at)
        return Evidence(sha256, "image/jpeg", len(picture.jpeg), at, picture.width, picture.height)

    def _lose(self, error: DrumtowerError) -> None:
        """The camera cannot see: say so once, and try again later where that is of use."""
        # A reader that hangs ends by itself; the other cameras are not kept waiting for that.
        self._hang_up(_HANGS_S)
        self._unseen = True
        self.finished = not self._sight.lose(error)
        if self.finished:
            self._finish()
