"""One camera's path from frame to events: gate, detector, tracker, scenes, evidence; no threads inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from common.runtime.config import Settings, Wrong
from common.runtime.settings import texts, twice
from edge.camera.frame import Frame, Image
from edge.vision.appearance import looks_of
from edge.vision.detections import Boxes, Detections
from edge.vision.detector import Detector
from edge.vision.evidence import EvidenceMaker, EvidenceSettings, Picture
from edge.vision.finder import PRIVACY, Finder
from edge.vision.fires import FireWatch, open_fire
from edge.vision.health import HealthSettings
from edge.vision.helmets import HelmetWatch, Moment, open_judge
from edge.vision.motion import MotionGate
from edge.vision.regions import CloserLooks, detect_in
from edge.vision.scenes.build import build_scene
from edge.vision.scenes.config import SceneConfig
from edge.vision.scenes.scene import Scene, SceneEvent
from edge.vision.tracker import Track, Tracker, TrackerSettings
from edge.vision.waters import WaterWatch, open_segmenter
from models.fire import FireSegmenter
from models.helmet import HelmetJudge
from models.manifest import Thresholds
from models.water import WaterSegmenter


class GateSettings(Settings):
    """When a frame is worth a look with the detector.

    While nothing moves there is still a look every ``idle_s``, so that whoever stands still is not lost, half as
    often again rarer when all who are followed are known for sure, and every ``empty_s`` when nobody is; after motion
    every frame is looked at for ``hold_s``. With ``rest`` only key frames are decoded while nothing moves and nobody
    is followed, where they come often enough.

    ``closer`` is how many more looks than pictures there may be: in part of the pictures the detector then looks at the
    one or two parts where something moves instead of the whole, which finds more of what is small. 0 never does.
    """

    enabled: bool = True
    rest: bool = True
    idle_s: Annotated[float, Field(gt=0, le=1)] = 0.5
    empty_s: Annotated[float, Field(gt=0, le=10)] = 2.0
    hold_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    closer: Annotated[float, Field(ge=0, le=1)] = 0.45


class VisionSettings(Settings):
    """How one camera is looked at.

    A box wider than ``widest`` of the picture is not believed: a small detector now and then takes a whole
    square for one object.
    """

    gate: GateSettings = GateSettings()
    widest: Annotated[float, Field(gt=0, le=1)] = 0.7
    health: HealthSettings = HealthSettings()
    scenes: tuple[SceneConfig, ...] = ()
    evidence: EvidenceSettings = EvidenceSettings()

    def cross_faults(self) -> Iterator[Wrong]:
        """A camera has each scene id once."""
        ids = texts(scene.id for scene in self.scenes)
        yield from twice((("scenes", number, "id"), name) for number, name in ids)


@dataclass(frozen=True, slots=True)
class VisionCounters:
    """Totals since the start.

    Attributes:
        frames: taken in.
        analysed: looked at with the detector; the others were let pass by the motion gate.
        detections: that scored at least the tracker's strong score.
        events: of all scenes.
        pictures: of evidence.
        resized: times that the size of the pictures changed midway.
        riders, helmetless, unknown: who rode past where helmets are looked for, and of whom that was said.
    """

    frames: int = 0
    analysed: int = 0
    detections: int = 0
    events: int = 0
    pictures: int = 0
    resized: int = 0
    riders: int = 0
    helmetless: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What one frame gave.

    Attributes:
        n, at: the frame's number and stream time.
        analysed: whether the detector looked at it; if not, the rest is empty.
        tracks: everything followed now.
        events: what the scenes say.
        pictures: evidence for each of the events, in their order; None where its phase asks for none, or where its
            best moment was not kept. Events of one moment share one.
    """

    n: int
    at: int
    analysed: bool
    tracks: tuple[Track, ...] = ()
    events: tuple[SceneEvent, ...] = ()
    pictures: tuple[Picture | None, ...] = ()

    @property
    def picture(self) -> Picture | None:
        """The first there is."""
        return next((picture for picture in self.pictures if picture is not None), None)


def tracker_settings(thresholds: Thresholds) -> TrackerSettings:
    """What the tracker goes by with a detector's finds: one detector's sure is another's hardly ever reached."""
    return TrackerSettings(
        birth_score=thresholds.begins,
        strong_score=thresholds.sure,
        weak_score=thresholds.weak,
        confirm_score=thresholds.confirms,
    )


class VisionPipeline:
    """Feed it one camera's frames in order.

    Args:
        settings: of this camera.
        detector: may be shared by cameras whose frames are taken in turn by one thread.
        make_tracker: called at the start and when the size of the pictures changes, with the scores that the detector's
            manifest has tracks begin from.
        open_judge: gives the judge of helmets by its model's name; asked when a scene wants one.
        open_segmenter: the same for water.
        open_fire: the same for fire and smoke.
        finder: finds the heads and plates that evidence hides.
    """

    def __init__(
        self,
        settings: VisionSettings,
        detector: Detector,
        make_tracker: Callable[[TrackerSettings], Tracker] = Tracker,
        open_judge: Callable[[str], HelmetJudge] = open_judge,
        open_segmenter: Callable[[str], WaterSegmenter] = open_segmenter,
        *,
        open_fire: Callable[[str], FireSegmenter] = open_fire,
        finder: Finder | None = PRIVACY,
    ) -> None:
        self.settings = settings
        self.detector = detector
        self.scenes: tuple[Scene, ...] = tuple(build_scene(config) for config in settings.scenes)
        self.counters = VisionCounters()
        self._helmets = HelmetWatch(self.scenes, open_judge)
        self._waters = WaterWatch(self.scenes, open_segmenter)
        self._fires = FireWatch(self.scenes, open_fire)
        self._make_tracker = make_tracker
        self._tracker = make_tracker(tracker_settings(detector.thresholds))
        self._gate = MotionGate() if settings.gate.enabled else None
        self._closer = CloserLooks(settings.gate.closer)
        self._moving: Boxes = np.zeros((0, 4), np.float32)
        self._evidence = EvidenceMaker(settings.evidence, detector, finder)
        self._size: tuple[int, int] | None = None
        self._moved_at: int | None = None
        self._looked_at: int | None = None
        self._held = True
        self._followed: tuple[Track, ...] = ()

    @property
    def resting(self) -> bool:
        """Whether key frames will do: nothing moves, and nobody is followed who could be lost."""
        return self.settings.gate.enabled and self.settings.gate.rest and not (self._held or self._followed)

    def restore(self, scene: str, started_at: int) -> bool:
        """Go on with a condition that was open when the box stopped.

        Returns:
            False when this camera has no scene of that id any more: whoever asks must end the condition.
        """
        for one in self.scenes:
            if one.id == scene:
                one.restore(started_at)
                return True
        return False

    def pause(self, at_ms: int) -> None:
        """Nobody could look since some time before ``at_ms``: who is gone for too long is let go, not taken for a newcomer."""
        self._followed = self._tracker.pause(self.detector.labels, at_ms)
        for scene in self.scenes:
            scene.pause()

    def process(self, frame: Frame, ahead: Detections | None = None) -> FrameResult:
        """Take one frame through the whole path.

        Args:
            frame: the next one.
            ahead: what was found in the whole of it, by the same detector, where somebody looked ahead; see ``LookAhead``.
        """
        self._fit(frame)
        self._count(frames=1)
        if not self._worth_a_look(frame):
            return FrameResult(frame.n, frame.captured_at, analysed=False)
        self._looked_at = frame.captured_at
        everything = self._detect(frame.image) if ahead is None else ahead
        found = self._believable(everything, frame)
        strong = found.score >= self._tracker.settings.strong_score
        looks = looks_of(frame.image, found.xyxy, strong)
        tracks = self._tracker.update(found, frame.captured_at, looks)
        self._followed = tracks
        self._helmets.look(frame, everything, tracks)
        self._waters.look(frame)
        self._fires.look(frame)
        events = tuple(event for scene in self.scenes for event in scene.step(tracks, frame.captured_at))
        self._count(analysed=1, detections=int(np.count_nonzero(strong)), events=len(events))
        self._count_riders()
        pictures = self._pictures(Moment(frame, everything, tracks), events)
        return FrameResult(frame.n, frame.captured_at, True, tracks, events, pictures)

    def process_hidden(self, frame: Frame) -> FrameResult:
        """Take a frame whose view something hides: nobody is judged by it, but what hides it may be smoke.

        Only the scenes of fire and smoke look, by their clock. What they do not see proves nothing.
        """
        self._fit(frame)
        self._count(frames=1)
        at = frame.captured_at
        if not self._fires.due(at):
            return FrameResult(frame.n, at, analysed=False)
        self._fires.look(frame, hidden=True)
        events = tuple(event for scene in self._fires.scenes for event in scene.step((), at))
        if not events:
            return FrameResult(frame.n, at, analysed=False)
        self._count(events=len(events))
        # Who stands before the smoke has a head to hide.
        present = Moment(frame, self.detector.detect(frame.image), ())
        return FrameResult(frame.n, at, False, (), events, self._pictures(present, events))

    def finish(self, at_ms: int) -> FrameResult:
        """No more pictures come: have everybody judged and counted who waits for it until he has gone.

        Only riders do: whoever goes the wrong way is judged on the way. A condition is left open: that nobody looks any
        more does not end it, and a box that is started anew goes on with it.
        """
        events = self._helmets.finish(at_ms)
        self._count(events=len(events))
        self._count_riders()
        return FrameResult(self.counters.frames, at_ms, False, (), events, self._pictures(None, events))

    def _count_riders(self) -> None:
        if passed := self._helmets.passed():
            self._count(
                riders=len(passed), helmetless=passed.count("helmetless"), unknown=passed.count("unknown")
            )

    def _fit(self, frame: Frame) -> None:
        """Notice a change of the picture's size: old boxes mean nothing in the new one."""
        height, width = frame.image.shape[:2]
        if self._size == (width, height):
            return
        if self._size is not None:
            self._tracker = self._make_tracker(tracker_settings(self.detector.thresholds))
            self._followed = ()
            self._helmets.forget()
            self._count(resized=1)
        self._size = (width, height)
        for scene in self.scenes:
            scene.resize(width, height)

    def _worth_a_look(self, frame: Frame) -> bool:
        if self._gate is None:
            return True
        # Water rises and smoke gathers without moving much: these looks go by the clock.
        wanted = self._waters.due(frame.captured_at) or self._fires.due(frame.captured_at)
        at, gate = frame.captured_at, self.settings.gate
        motion = self._gate.look(frame.image, at)
        self._moving = motion.boxes
        if motion.moving:
            self._moved_at = at
        held = self._moved_at is not None and at - self._moved_at <= gate.hold_s * 1000
        self._held = held
        due = self._looked_at is None or at - self._looked_at >= round(self._idle_s() * 1000)
        return held or due or wanted

    def _detect(self, image: Image) -> Detections:
        """Everything in the whole picture, or in the parts of it where something moves or is followed."""
        height, width = image.shape[:2]
        # Without the gate nobody knows where anything moves.
        crops = [] if self._gate is None else self._closer.crops(self._moving, self._followed, width, height)
        return detect_in(self.detector, image, crops) if crops else self.detector.detect(image)

    def _idle_s(self) -> float:
        """How far apart looks may be while nothing moves."""
        gate = self.settings.gate
        if not self._followed:
            return max(gate.empty_s, gate.idle_s)
        # Who was seen once has to be seen again soon, or is forgotten; who is sure can wait a little.
        return gate.idle_s * (1.5 if all(track.confirmed for track in self._followed) else 1.0)

    def _believable(self, found: Detections, frame: Frame) -> Detections:
        across = found.xyxy[:, 2] - found.xyxy[:, 0]
        fits = across <= self.settings.widest * frame.image.shape[1]
        return found if fits.all() else found.where(fits)

    def _pictures(self, now: Moment | None, events: Sequence[SceneEvent]) -> tuple[Picture | None, ...]:
        """One picture for each moment that the events are best shown by."""
        moments = [self._moment(event, now) for event in events]
        made: dict[int, Picture] = {}
        for moment in moments:
            if moment is None or moment.at in made:
                continue
            shown = [event for event, its in zip(events, moments, strict=True) if its and its.at == moment.at]
            concerned = {event.scene for event in shown}
            made[moment.at] = self._evidence.make(
                moment.frame,
                moment.found,
                moment.tracks,
                events=shown,
                scenes=[scene for scene in self.scenes if scene.id in concerned],
            )
        self._count(pictures=len(made))
        return tuple(None if moment is None else made[moment.at] for moment in moments)

    def _moment(self, event: SceneEvent, now: Moment | None) -> Moment | None:
        """What an event is shown by: now, but for a rider, who is judged when he has passed, when he was seen best.

        Where that was not kept there is nothing to show: a box where he was would lie over somebody else by now.
        """
        if event.phase not in self.settings.evidence.phases:
            return None
        return self._helmets.moment_of(event) if self._helmets.watches(event.scene) else now

    def _count(self, **more: int) -> None:
        counters = self.counters
        self.counters = replace(
            counters, **{name: getattr(counters, name) + value for name, value in more.items()}
        )
