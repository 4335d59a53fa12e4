"""All cameras of a box, watched by one thread that shares its detectors among them.

A camera that cannot see is itself an observation (``device.camera_blind``): "could not look" must never pass
for "nothing to see". The others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common.runtime.clock import Clock
from common.runtime.errors import DrumtowerError, TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.wire.categories import BY_CODE
from common.wire.messages import Evidence
from edge.camera.file import FileSource
from edge.camera.latest import LatestFrame
from edge.camera.source import CameraLostError
from edge.config import CameraConfig
from edge.database import DiskFullError
from edge.evidence import EvidenceStore
from edge.observations import ObservationBook, Seen
from edge.vision.detector import Detector, OnnxDetector
from edge.vision.helmets import open_judge
from edge.vision.pipeline import FrameResult, VisionCounters, VisionPipeline
from models.helmet import HelmetJudge
from models.store import open_model

BLIND: Final = "device.camera_blind"
_STALLED_S: Final = 10.0
_REOPEN_S: Final = 5.0
_NAP_S: Final = 0.25
_log = get_logger("cameras")


class Detectors:
    """One session a model, opened when the first camera asks.

    Args:
        directory: where models that do not ship lie.
        threads: of each session.
    """

    def __init__(self, directory: Path | None, threads: int) -> None:
        self._directory = directory
        self._threads = threads
        self._opened: dict[str, Detector] = {}
        self._judges: dict[str, HelmetJudge] = {}

    def get(self, model: str) -> Detector:
        """The detector of that model; raises InvalidError when its file is missing, changed or broken."""
        if model not in self._opened:
            self._opened[model] = OnnxDetector(open_model(model, self._directory), threads=self._threads)
        return self._opened[model]

    def judge(self, model: str) -> HelmetJudge:
        """The judge of helmets of that model; raises as ``get`` does."""
        if model not in self._judges:
            self._judges[model] = open_judge(model, self._directory, threads=1)
        return self._judges[model]


class Camera:
    """One camera: reads, looks, and says what it saw.

    Args:
        config: its configuration.
        path: the video it plays.
        detectors: shared with the box's other cameras.
        book: where observations go.
        evidence: where pictures go.
        clock: time.
    """

    def __init__(
        self,
        config: CameraConfig,
        path: Path,
        *,
        detectors: Detectors,
        book: ObservationBook,
        evidence: EvidenceStore,
        clock: Clock,
    ) -> None:
        self.config = config
        self.finished = False
        self._path = path
        self._detectors = detectors
        self._book = book
        self._evidence = evidence
        self._clock = clock
        self._pipeline: VisionPipeline | None = None
        self._reader: LatestFrame | None = None
        self._read = self._dropped = 0
        self._reopen_at = 0.0
        self._frame_at = clock.monotonic()
        self._blind = False

    @property
    def counters(self) -> VisionCounters:
        """What the vision path has counted."""
        return VisionCounters() if self._pipeline is None else self._pipeline.counters

    @property
    def blind(self) -> bool:
        """Whether it cannot see now."""
        return self._blind

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

    def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._read, self._dropped = self.read, self.dropped
            self._reader.stop()
            self._reader = None

    def _look(self, timeout: float) -> bool:
        now = self._clock.monotonic()
        if self.finished or now < self._reopen_at:
            return False
        pipeline = self._ready()
        if self._reader is None:
            source = FileSource(self._path, clock=self._clock, paced=self.config.paced, loop=self.config.loop)
            self._reader = LatestFrame(source, self.config.name, keep_all=not self.config.paced).start()
            self._frame_at = now
        frame = self._reader.take(timeout)
        if frame is None:
            self._notice_silence()
            return False
        self._frame_at = self._clock.monotonic()
        result = pipeline.process(frame)
        self._see()
        self._tell(result)
        return True

    def _ready(self) -> VisionPipeline:
        if self._pipeline is None:
            detector = self._detectors.get(self.config.model)
            pipeline = VisionPipeline(self.config, detector, open_judge=self._detectors.judge)
            for known in self._book.open_conditions():
                kind, _, rest = known.source.partition(":")
                name, _, scene = rest.partition(":")
                if kind != "scene" or name != self.config.name:
                    continue
                if pipeline.restore(scene, known.started_at):
                    _log.info(
                        "camera.condition_goes_on", source=known.source, observation=known.observation_id
                    )
                else:
                    self._book.end(known, "the scene is not configured any more")
            self._pipeline = pipeline
        return self._pipeline

    def _notice_silence(self) -> None:
        assert self._reader is not None
        if self._reader.ended:
            self.finished = True
            _log.info("camera.ended", camera=self.config.name, frames=self.read)
        elif self._clock.monotonic() - self._frame_at > _STALLED_S:
            raise CameraLostError(
                "camera.stalled",
                f"expected a frame of {self.config.name} every now and then, got none for {_STALLED_S:.0f} s",
                "check the camera's power and cable",
            )

    def _tell(self, result: FrameResult) -> None:
        proof = self._prove(result) if result.picture is not None else None
        for event in result.events:
            shown = proof if event.phase in self.config.evidence.phases else None
            self._book.say(
                Seen(
                    phase=event.phase,
                    source=f"scene:{self.config.name}:{event.scene}",
                    sensor=self.config.name,
                    category=event.category,
                    started_at=event.started_at,
                    at=event.at,
                    count=event.count,
                    value=event.peak,
                    detail=event.detail,
                    evidence=shown,
                )
            )

    def _prove(self, result: FrameResult) -> Evidence | None:
        """Keep the picture; without room the observation goes without it."""
        picture = result.picture
        assert picture is not None
        severity = max(BY_CODE[event.category].severity for event in result.events)
        try:
            sha256 = self._evidence.keep(picture.jpeg, "image/jpeg", severity)
        except DiskFullError as error:
            _log.error(error.code, message=error.message, hint=error.hint)
            return None
        return Evidence(
            sha256, "image/jpeg", len(picture.jpeg), picture.captured_at, picture.width, picture.height
        )

    def _lose(self, error: DrumtowerError) -> None:
        """The camera cannot see: say so once, and try again later where that is of use."""
        self.close()
        if isinstance(error, TransientError):
            self._reopen_at = self._clock.monotonic() + _REOPEN_S
        else:
            self.finished = True
        if not self._blind:
            self._blind = True
            _log.error(
                "camera.blind",
                camera=self.config.name,
                code=error.code,
                message=error.message,
                hint=error.hint,
            )
            self._say_blind("start", {"code": error.code, "message": _plain(error.message)})

    def _see(self) -> None:
        if self._blind or self._book.is_open(f"camera:{self.config.name}", BLIND):
            self._blind = False
            _log.info("camera.sees_again", camera=self.config.name)
            self._say_blind("end", {})

    def _say_blind(self, phase: str, detail: dict[str, str | float | int]) -> None:
        now = self._clock.now_ms()
        source = f"camera:{self.config.name}"
        seen = Seen(
            "end" if phase == "end" else "start", source, self.config.name, BLIND, now, now, detail=detail
        )
        self._book.say(seen)


class CameraLoop:
    """One thread for all cameras: whoever has a new frame is looked at in turn."""

    def __init__(self, cameras: Sequence[Camera], book: ObservationBook) -> None:
        self.cameras = tuple(cameras)
        self._book = book

    def run(self, stop: Stop) -> None:
        """Until stopped; a box without a seeing camera only waits."""
        try:
            while not stop.is_set():
                watching = [camera for camera in self.cameras if not camera.finished]
                # Alone, a camera may be waited for; of several, nobody keeps the others waiting.
                timeout = _NAP_S if len(watching) == 1 else 0.0
                looked = [camera.look(timeout) for camera in watching]
                self._book.flush()
                if not any(looked) and (not watching or len(watching) > 1):
                    stop.wait(_NAP_S if not watching else 0.01)
        finally:
            for camera in self.cameras:
                camera.close()


def _plain(text: str) -> str:
    return text.replace("\0", "\ufffd")[:400]
