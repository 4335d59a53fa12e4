"""Looks at riders' heads for the helmet scenes of one camera: the pixels' side of ``edge.vision.scenes.helmet``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.frame import Frame
from edge.vision.detections import Detections
from edge.vision.scenes.ballot import Bounds, Look, Verdict
from edge.vision.scenes.helmet import HelmetScene
from edge.vision.scenes.riders import head_of
from edge.vision.scenes.scene import Scene, SceneEvent
from edge.vision.tracker import Track
from models.helmet import HelmetJudge
from models.manifest import HelmetManifest
from models.store import open_as

#: Riders on their way of whom a camera keeps the best moment for evidence.
_MOMENTS: Final = 8
#: Of the pictures of these moments so many are kept as they are, 6 MB each in full HD; the older ones are packed.
_UNPACKED: Final = 2
#: Of a packed picture, as JPEG: what is told of it is made smaller and encoded once more.
_QUALITY: Final = 95
#: Pixels: larger heads are no better.
_LARGE: Final = 96.0
#: Variance of the Laplacian of a crop that is as sharp as it needs to be.
_SHARP: Final = 200.0


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """What evidence is made of."""

    frame: Frame
    found: Detections
    tracks: tuple[Track, ...]

    @property
    def at(self) -> int:
        """Stream time, milliseconds since the Unix epoch."""
        return self.frame.captured_at


class _Held:
    """A picture that is held, for one moment or several; it needs a tenth of the room when it is packed."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._packed: NDArray[np.uint8] | None = None

    @property
    def is_packed(self) -> bool:
        """Whether it is held as JPEG."""
        return self._packed is not None

    def pack(self) -> None:
        """Hold it as JPEG from now on."""
        done, encoded = cv2.imencode(".jpg", self._frame.image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        assert done, "OpenCV encodes every 8-bit picture"
        self._packed = np.asarray(encoded, np.uint8)
        self._frame = replace(self._frame, image=np.zeros((0, 0, 3), np.uint8))

    def frame(self) -> Frame:
        """The picture with its instant."""
        if self._packed is None:
            return self._frame
        image = cv2.imdecode(self._packed, cv2.IMREAD_COLOR)
        assert image is not None, "it was encoded here"
        return replace(self._frame, image=np.asarray(image, np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A moment whose picture may be packed."""

    held: _Held
    found: Detections
    tracks: tuple[Track, ...]


def open_judge(model: str, directory: Path | None = None, threads: int = 1) -> HelmetJudge:
    """The judge of that model; raises InvalidError when its file is missing, changed or broken."""
    return HelmetJudge(open_as(HelmetManifest, model, directory), threads)


class HelmetWatch:
    """Cuts out heads, judges those that would count, and keeps the best moment of who may be helmetless.

    Args:
        scenes: of one camera; the others than helmet scenes are left alone.
        open_judge: gives the judge of a model's name; asked once for each scene.
    """

    def __init__(self, scenes: Sequence[Scene], open_judge: Callable[[str], HelmetJudge]) -> None:
        self._pairs: list[tuple[HelmetScene, HelmetJudge]] = []
        self._moments: dict[tuple[str, int], _Kept] = {}
        self.looks = 0
        for scene in scenes:
            if isinstance(scene, HelmetScene):
                judge = open_judge(scene.config.model)
                thresholds = judge.manifest.thresholds
                scene.bounds = Bounds(thresholds.helmetless, thresholds.helmet)
                self._pairs.append((scene, judge))

    def look(self, frame: Frame, found: Detections, tracks: tuple[Track, ...]) -> None:
        """Look at every rider's head that is worth it in this picture."""
        self._let_go()
        kept = _Kept(_Held(frame), found, tracks)
        for scene, judge in self._pairs:
            for rider in scene.riders(tracks, frame.captured_at):
                head = head_of(rider.xyxy)
                size = head[2] - head[0]
                if size < judge.manifest.smallest:
                    continue
                crop = judge.crops(frame.image, np.array([head]))[0]
                quality = quality_of(crop, size)
                if not scene.wants(rider.id, quality, frame.captured_at):
                    continue
                self.looks += 1
                look = Look(frame.captured_at, quality, float(judge.of_crops([crop])[0]))
                if scene.look(rider.id, look):
                    self._keep((scene.id, rider.id), kept)

    def passed(self) -> list[Verdict]:
        """What was said of each who rode past since this was asked last."""
        return [said for scene, _ in self._pairs for said in scene.passed()]

    def finish(self, at_ms: int) -> tuple[SceneEvent, ...]:
        """Judge everybody who is still on his way; no more pictures come."""
        return tuple(event for scene, _ in self._pairs for event in scene.finish(at_ms))

    def watches(self, scene: str) -> bool:
        """Whether that is one of its scenes."""
        return any(one.id == scene for one, _ in self._pairs)

    def moment_of(self, event: SceneEvent) -> Moment | None:
        """The moment that shows best what an event is about; it is given away and not kept."""
        kept = self._moments.pop((event.scene, int(event.detail.get("track", -1))), None)
        return None if kept is None else Moment(kept.held.frame(), kept.found, kept.tracks)

    def forget(self) -> None:
        """Let go of all moments."""
        self._moments.clear()

    def _keep(self, name: tuple[str, int], kept: _Kept) -> None:
        self._moments.pop(name, None)
        self._moments[name] = kept
        while len(self._moments) > _MOMENTS:
            self._moments.pop(next(iter(self._moments)))
        unpacked = [held for held in self._held() if not held.is_packed]
        for held in unpacked[:-_UNPACKED]:
            held.pack()

    def _held(self) -> list[_Held]:
        """Every picture once, in the order in which their moments were kept."""
        return list(dict.fromkeys(kept.held for kept in self._moments.values()))

    def _let_go(self) -> None:
        """Of whoever has passed there is nothing more to tell: his place is another's."""
        followed = {(scene.id, rider) for scene, _ in self._pairs for rider in scene.followed}
        self._moments = {name: kept for name, kept in self._moments.items() if name in followed}


def quality_of(crop: NDArray[np.uint8], size: float) -> float:
    """Sharpness times size: pixels of a head that is as sharp as it needs to be, fewer of a blurred one."""
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var()) / _SHARP
    return min(size, _LARGE) * float(np.sqrt(np.clip(sharpness, 0.05, 1.0)))
